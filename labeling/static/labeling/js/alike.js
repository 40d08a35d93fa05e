/** Answers that say nearly the same: once one has a rank, the others may tie with it. */

import { all, one } from "./dom.js";
import { nextUnplaced, place } from "./order.js";

/** Bind the proposals on the `cards` of `form`; `page` has their order, and changes it. */
export function enableAlike(form, cards, page) {
  const dismissed = new Set();
  const rows = all("alike", form);
  const groupOf = (row) => row.dataset.alike.split(" ");
  const placed = (row) => page.order().trail.filter((alias) => groupOf(row).includes(alias));
  const isOpen = (row) => !dismissed.has(row.dataset.alike) && placed(row).length < groupOf(row).length;
  const offers = (row) => row && isOpen(row) && placed(row).length > 0;

  function shown() {
    for (const row of rows) {
      row.hidden = !isOpen(row);
      one("alike-tie", row).hidden = !offers(row);
    }
  }

  /** The rest of the group onto the rank of the one placed last: one step to undo. */
  function tie(row) {
    const before = page.order();
    const rank = before.ranks[placed(row).at(-1)];
    const rest = groupOf(row).filter((alias) => !(alias in before.ranks));
    page.change(rest[0], rest.reduce((order, alias) => place(order, alias, rank), before));
    const now = page.current();
    page.focus(now in page.order().ranks ? nextUnplaced(page.order(), now) ?? now : now);
  }

  form.addEventListener("click", ({ target }) => {
    const row = target.closest("[data-alike]");
    if (target.closest("[data-alike-tie]")) tie(row);
    if (!target.closest("[data-alike-dismiss]")) return;
    dismissed.add(row.dataset.alike);
    shown();
    page.focus(page.current());
  });
  return {
    shown,
    /** Tie what is like this card, or the one placed last. */
    accept() {
      const near = [page.current(), page.order().trail.at(-1)].filter(Boolean);
      const row = near.map((alias) => one("alike", cards.get(alias))).find(offers);
      if (row) tie(row);
    },
  };
}
