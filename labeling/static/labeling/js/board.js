/** The board on the page: chips on ranks, moved by hand through SortableJS. It holds no state. */

import { onRank, unplaced } from "./order.js";

/** Show `order` on `board`: every chip into the place of its rank, in the order of the aliases. */
export function showBoard(board, order) {
  for (const drop of board.querySelectorAll("[data-drop]")) {
    const rank = Number(drop.dataset.drop);
    const aliases = rank ? onRank(order, rank) : unplaced(order);
    const chips = aliases.map((alias) => board.querySelector(`.chip[data-alias="${alias}"]`));
    if (chips.some((chip, index) => drop.children[index] !== chip)) drop.append(...chips);
    drop.dataset.count = aliases.length;
  }
}

// Sortable looks where the pointer is every 50 ms; where it is let go is what counts.
function rankUnder(event) {
  const { clientX: x, clientY: y } = event?.changedTouches?.[0] ?? event ?? {};
  if (!Number.isFinite(x) || !Number.isFinite(y)) return undefined;
  const drop = document.elementFromPoint(x, y)?.closest(".rank, .tray")?.querySelector("[data-drop]");
  return drop ? Number(drop.dataset.drop) || null : undefined;
}

/**
 * Let chips, and the badges of the cards, be dragged onto ranks.
 *
 * `moved(alias, rank)` is called after a drop, with null for the tray and undefined for elsewhere. It
 * must show the order again: the page never takes its truth from where Sortable left the chips.
 */
export async function enableDragging(page, moved) {
  await import("../../vendor/sortablejs/Sortable.min.js");
  const { Sortable } = globalThis;
  const touch = matchMedia("(pointer: coarse)").matches;
  const shared = {
    animation: matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 120,
    forceFallback: true,
    fallbackOnBody: true,
    fallbackTolerance: 4,
    onStart: () => { document.body.dataset.dragging = ""; },
    onEnd: ({ item, from, originalEvent }) => {
      delete document.body.dataset.dragging;
      // A badge was pulled as a clone: put the badge itself back into its card.
      if (from.matches("[data-source]")) from.replaceChildren(item);
      moved(item.dataset.alias, rankUnder(originalEvent));
    },
  };
  for (const drop of page.querySelectorAll("[data-drop]")) {
    // By finger only the grip drags, so that scrolling never moves a chip.
    Sortable.create(drop, {
      ...shared, group: "board", sort: false, emptyInsertThreshold: 8,
      handle: touch ? ".grip" : ".chip",
    });
  }
  for (const source of page.querySelectorAll("[data-source]")) {
    Sortable.create(source, {
      ...shared, group: { name: "board", pull: "clone", put: false }, sort: false,
    });
  }
  page.dataset.draggable = "";
}
