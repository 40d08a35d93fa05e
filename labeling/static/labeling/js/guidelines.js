/** "I have read it" without leaving the page and what is not submitted yet. */

function takeAway(form) {
  const news = form.closest("[data-guideline-news]");
  const fold = news.nextElementSibling;
  fold.querySelector("[data-guidelines-new]")?.remove();
  if (news.contains(document.activeElement)) fold.querySelector("summary").focus();
  news.remove();
}

async function markRead(form) {
  form.querySelector("button").disabled = true;
  const answer = await fetch(form.action, { method: "POST", body: new FormData(form) })
    .catch(() => null);
  // The plain way tells what is wrong.
  if (!answer?.ok) return form.submit();
  takeAway(form);
  // The task that is held ahead still says that they are new.
  return dispatchEvent(new Event("guidelines-read"));
}

document.addEventListener("submit", (event) => {
  const form = event.target.closest("[data-read-guidelines]");
  if (!form) return;
  event.preventDefault();
  markRead(form);
});
