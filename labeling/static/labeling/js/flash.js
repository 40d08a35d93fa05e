/** Words to the labeler at the head of the page: now, or on the page that comes. */

const NEXT = "news";

const messages = document.querySelector("[data-messages]");
const coming = () => JSON.parse(sessionStorage.getItem(NEXT)) ?? [];

/**
 * Show a message and give its element. A success takes the place of the one before and passes by
 * itself; a warning stays until it is closed, however much goes well meanwhile.
 */
export function flash({ level, text }) {
  const { content } = document.querySelector(`[data-message="${level}"]`);
  const message = content.firstElementChild.cloneNode(true);
  message.querySelector("[data-message-text]").textContent = text;
  if (level === "success") messages.querySelector(".message-success")?.remove();
  messages.append(message);
  return message;
}

/** Leave a message for the next page. */
export const flashNext = (news) => sessionStorage.setItem(NEXT, JSON.stringify([...coming(), news]));

export function showFlash() {
  coming().forEach(flash);
  sessionStorage.removeItem(NEXT);
}

messages.addEventListener("click", ({ target }) => {
  if (!target.closest("[data-message-close]")) return;
  target.closest(".message").remove();
  document.querySelector("main").focus({ preventScroll: true });
});
