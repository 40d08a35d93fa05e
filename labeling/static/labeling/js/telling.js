/** What the page tells: to screen readers, beside the button, above the answers. */

import { one } from "./dom.js";
import * as orders from "./order.js";
import { say } from "./words.js";

/** Say `text`, in the dialog too that hides the page from screen readers. */
export function announce(text) {
  for (const place of document.querySelectorAll("[data-announce], [data-heard]")) place.textContent = text;
}

/** Show `text` beside the button; with a level it is a fault, which is said once. */
export function showState(text, level = "") {
  const state = one("save-state");
  if (level && state.textContent !== text) announce(text);
  state.textContent = text;
  state.dataset.level = level;
}

export function showLease(seconds) {
  const lease = one("lease");
  lease.toggleAttribute("data-low", seconds < 60);
  one("lease-text").textContent = seconds < 1
    ? say("time-is-up") : say("minutes", { count: Math.ceil(seconds / 60) });
}

export function placeText(order, alias) {
  const rank = orders.rankOf(order, alias);
  if (rank === null) return say("taken-off", { alias });
  const ties = orders.tiedWith(order, alias).join(", ");
  const left = leftText(order);
  return say(ties ? "placed-tied" : "placed", { alias, rank, ties, left });
}

function leftText(order) {
  const count = orders.unplaced(order).length;
  return count ? say("left", { count }) : say("none-left");
}

export function staysText(order, alias) {
  const rank = orders.rankOf(order, alias);
  return rank ? say("stays", { alias, rank }) : say("stays-off", { alias });
}

/** Show a fault above the answers; `next` leads on. */
export function showProblem(form, text, next = false) {
  const banner = one("banner", form);
  const link = Object.assign(document.createElement("a"), {
    href: form.dataset.next, textContent: say("next-prompt"),
  });
  one("banner-text", form).replaceChildren(text, ...(next ? [" ", link] : []));
  banner.hidden = false;
  banner.scrollIntoView({ block: "center" });
}
