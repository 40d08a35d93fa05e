/** "I have read it" without leaving the page: what is not submitted yet stays where it is. */

const read = new Set();
const keyOf = (form) => `${form.getAttribute("action")} ${form.elements.version.value}`;

function takeAway(form) {
  const news = form.closest("[data-guideline-news]");
  const fold = news.nextElementSibling;
  fold.querySelector("[data-guidelines-new]")?.remove();
  if (news.contains(document.activeElement)) fold.querySelector("summary").focus();
  news.remove();
}

async function markRead(form) {
  const button = form.querySelector("button");
  button.disabled = true;
  const answer = await fetch(form.action, { method: "POST", body: new FormData(form) })
    .catch(() => null);
  button.disabled = false;
  if (!answer?.ok) {
    // The plain way tells what is wrong.
    form.dataset.plain = "yes";
    form.requestSubmit();
    return;
  }
  read.add(keyOf(form));
  takeAway(form);
}

document.addEventListener("submit", (event) => {
  const form = event.target.closest("[data-read-guidelines]");
  if (!form || form.dataset.plain) return;
  event.preventDefault();
  markRead(form);
});

// A task that was fetched ahead may still say that they are new.
new MutationObserver(() => {
  const form = document.querySelector("[data-read-guidelines]");
  if (form && read.has(keyOf(form))) takeAway(form);
}).observe(document.querySelector("main"), { childList: true, subtree: true });
