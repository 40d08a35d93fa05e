/** Words to the labeler at the head of the page: now, or on the page that comes. */

import { one } from "./dom.js";

const messages = one("messages");
const coming = () => JSON.parse(sessionStorage.getItem("news")) ?? [];

/** Show a message; gives its element. A warning stays until it is closed. */
export function flash({ level, text }) {
  const { content } = one(`message="${level}"`);
  const message = content.firstElementChild.cloneNode(true);
  one("message-text", message).textContent = text;
  if (level === "success") messages.querySelector(".message-success")?.remove();
  messages.append(message);
  return message;
}

/** Leave a message for the next page. */
export const flashNext = (news) => sessionStorage.setItem("news", JSON.stringify([...coming(), news]));

export function showFlash() {
  coming().forEach(flash);
  sessionStorage.removeItem("news");
}

messages.addEventListener("click", ({ target }) => {
  if (!target.closest("[data-message-close]")) return;
  target.closest(".message").remove();
  document.querySelector("main").focus({ preventScroll: true });
});
