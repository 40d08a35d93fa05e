/** Reading comfort: long texts fold, chips and cards light each other, panels fold on a phone. */

// A text that is only a little too long is shown whole rather than folded.
const SPARE = 1.3;

/** Fold a long answer; gives what folds it anew when the card shows its text in another way. */
function foldLongText(card) {
  const text = card.querySelector("[data-text]");
  const more = card.querySelector("[data-more]");
  const open = (isOpen) => {
    text.toggleAttribute("data-open", isOpen);
    more.setAttribute("aria-expanded", isOpen);
    more.querySelector("span").textContent = isOpen ? "Show less" : "Show all";
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

function lightTogether(form, cards) {
  const light = ({ target, type }) => {
    const alias = target.closest("[data-alias]")?.dataset.alias ?? target.closest("[data-card]")?.dataset.card;
    for (const chip of form.querySelectorAll(".chip")) {
      chip.toggleAttribute("data-lit", type === "pointerover" && chip.dataset.alias === alias);
    }
    const onChip = type === "pointerover" && target.closest(".chip");
    for (const [name, card] of cards) card.toggleAttribute("data-lit", Boolean(onChip) && name === alias);
  };
  form.addEventListener("pointerover", light);
  form.addEventListener("pointerout", light);
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

function foldPanel(button, panel) {
  button?.addEventListener("click", () => {
    const open = panel.toggleAttribute("data-open");
    button.setAttribute("aria-expanded", open);
  });
}

/** Guidelines that this browser has not shown before are marked and open. */
function markNewGuidelines() {
  const fold = document.querySelector("[data-guidelines]");
  if (!fold) return;
  const seen = `guidelines ${fold.dataset.guidelines}`;
  if (localStorage.getItem(seen)) return;
  fold.querySelector("[data-guidelines-new]").hidden = false;
  fold.addEventListener("toggle", () => localStorage.setItem(seen, "seen"), { once: true });
}

/** Set up everything on the page that helps to read it; gives what folds the answers anew. */
export function prepareReading(form, cards) {
  const folds = [...cards.values()].map(foldLongText);
  lightTogether(form, cards);
  letRatingsClear(form);
  foldPanel(document.querySelector("[data-prompt-fold]"), document.querySelector("[data-prompt]"));
  foldPanel(form.querySelector("[data-board-fold]"), form.querySelector("[data-board]"));
  markNewGuidelines();
  return () => folds.forEach((fold) => fold());
}
