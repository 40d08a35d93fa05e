/** What the page tells: to screen readers, beside the button, above the answers. */

import * as orders from "./order.js";
import { say } from "./words.js";

const one = (name, within = document) => within.querySelector(`[data-${name}]`);

export const announce = (text) => { one("announce").textContent = text; };

export function showState(text, level = "") {
  one("save-state").textContent = text;
  one("save-state").dataset.level = level;
}

export function showLease(seconds) {
  const lease = one("lease");
  lease.hidden = false;
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

export function leftText(order) {
  const count = orders.unplaced(order).length;
  return count ? say("left", { count }) : say("none-left");
}

export function staysText(order, alias) {
  const rank = orders.rankOf(order, alias);
  return rank ? say("stays", { alias, rank }) : say("stays-off", { alias });
}

/** Show a fault above the answers and on the cards that `data` names. */
export function showProblem(form, text, { data = {}, next = false } = {}) {
  const banner = one("banner", form);
  const link = Object.assign(document.createElement("a"), {
    href: form.dataset.next, textContent: say("next-prompt"),
  });
  one("banner-text", form).replaceChildren(text, ...(next ? [" ", link] : []));
  banner.hidden = !text;
  for (const card of form.querySelectorAll("[data-card]")) {
    const isAtFault = Boolean(data.aliases?.includes(card.dataset.card));
    one("error", card).textContent = isAtFault ? text : "";
    one("error", card).hidden = !isAtFault;
  }
  if (text) banner.scrollIntoView({ block: "center" });
}
