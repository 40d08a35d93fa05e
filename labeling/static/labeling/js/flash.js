/** Words to the labeler at the head of the page: now, or on the page that comes. */

const messages = document.querySelector("[data-messages]");

/** Show a message; `level` is success, which passes by itself, or warning. */
export function flash({ level, text }) {
  const message = document.createElement("p");
  message.className = `message message-${level}`;
  const icon = document.querySelector(`template[data-icon="${level}"]`);
  message.append(icon?.content.cloneNode(true) ?? "", text);
  messages?.replaceChildren(message);
}

/** Leave a message for the next page. */
export const flashNext = (news) => sessionStorage.setItem("flash", JSON.stringify(news));

export function showFlash() {
  const news = JSON.parse(sessionStorage.getItem("flash"));
  if (!news) return;
  sessionStorage.removeItem("flash");
  flash(news);
}
