/** Sensitive texts: whoever reveals one text of a prompt has decided about all of them. */

document.addEventListener("toggle", ({ target }) => {
  if (!target.matches?.("[data-veil]")) return;
  for (const veil of document.querySelectorAll("main [data-veil]")) veil.open = target.open;
}, true);
