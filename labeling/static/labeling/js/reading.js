/** Reading comfort: long texts and panels fold, a rating can be taken back. */

import { one } from "./dom.js";
import { say } from "./words.js";

// A text that is only a little too long is not folded.
const SPARE = 1.3;

/** Fold a long answer; gives what folds it anew. */
function foldLongText(card) {
  const text = one("text", card);
  const more = one("more", card);
  const open = (isOpen) => {
    text.toggleAttribute("data-open", isOpen);
    more.setAttribute("aria-expanded", isOpen);
    more.querySelector("span").textContent = say(isOpen ? "show-less" : "show-all");
  };
  const fold = () => {
    const wasOpened = !more.hidden && text.hasAttribute("data-open");
    open(false);
    more.hidden = text.scrollHeight <= text.clientHeight * SPARE;
    open(more.hidden || wasOpened);
  };
  more.addEventListener("click", () => open(!text.hasAttribute("data-open")));
  fold();
  return fold;
}

/** A rating that was clicked by mistake goes away with a second click. */
function letRatingsClear(form) {
  let chosen = null;
  form.addEventListener("pointerdown", ({ target }) => {
    chosen = target.closest(".pip")?.querySelector("input:checked");
  });
  form.addEventListener("click", ({ target }) => {
    if (target !== chosen) return;
    target.checked = false;
    target.dispatchEvent(new Event("input", { bubbles: true }));
  });
}

function foldPanel(name) {
  const button = one(`${name}-fold`);
  button.addEventListener("click", () => {
    const isOpen = button.closest(`[data-${name}]`).toggleAttribute("data-open");
    button.setAttribute("aria-expanded", isOpen);
  });
}

/** Set all of it up; gives what folds the answers anew. */
export function prepareReading(form, cards) {
  const folds = [...cards.values()].map(foldLongText);
  letRatingsClear(form);
  foldPanel("prompt");
  foldPanel("board");
  return () => folds.forEach((fold) => fold());
}
