/** The board on the page: chips on ranks, moved by hand. */

import { enableCarrying } from "./drag.js";
import { onRank, unplaced } from "./order.js";

// It scrolls so near to its edge (pixels), at most so fast (pixels a frame).
const EDGE = 56;
const PACE = 10;

/** Show `order` on `board`: every chip in the place of its rank. */
export function showBoard(board, order) {
  for (const drop of board.querySelectorAll("[data-drop]")) {
    const rank = Number(drop.dataset.drop);
    const aliases = rank ? onRank(order, rank) : unplaced(order);
    const chips = aliases.map((alias) => board.querySelector(`.chip[data-alias="${alias}"]`));
    if (chips.some((chip, index) => drop.children[index] !== chip)) drop.append(...chips);
    drop.dataset.count = aliases.length;
  }
}

/** What a press takes hold of. By finger it is the grip, so that scrolling never moves a chip. */
function grab({ target, pointerType }) {
  const finger = pointerType !== "mouse";
  const handle = target.closest(finger ? ".grip, [data-source]" : ".chip, [data-source]");
  if (!handle) return null;
  const rest = finger && handle.matches("[data-source]");
  return { item: handle.closest(".chip") ?? handle.querySelector("[data-alias]"), rest };
}

const placeAt = (x, y) => document.elementFromPoint(x, y)?.closest(".rank, .tray") ?? null;

const rankOf = (place) => Number(place.querySelector("[data-drop]").dataset.drop) || null;

/** Scroll while a chip is held over the upper or lower edge of what shows of the ranks. */
function reach(board, x, y) {
  const { left, right, top, bottom } = board.getBoundingClientRect();
  if (x < left || x > right) return;
  const end = board.querySelector(".board-end").getBoundingClientRect().top;
  const above = y - Math.max(top, 0);
  const below = Math.min(bottom, end, innerHeight) - y;
  const near = Math.min(above, below);
  if (near >= EDGE) return;
  const step = Math.ceil(PACE * Math.min(1, 1 - near / EDGE)) * (above < below ? -1 : 1);
  board.scrollBy(0, step);
  if (step > 0 ? bottom > innerHeight : top < 0) scrollBy(0, step);
}

/** Let chips and badges be dragged onto ranks (null: the tray; undefined: given up). */
export function enableDragging(page, board, { lifted, over, dropped }) {
  let lit = null;

  function light(place) {
    if (place === lit) return;
    lit?.removeAttribute("data-over");
    place?.setAttribute("data-over", "");
    lit = place;
    if (place) over(rankOf(place));
  }

  enableCarrying(page, {
    grab,
    lifted(item) {
      item.setAttribute("data-away", "");
      document.body.dataset.dragging = "";
      lit = item.closest(".rank, .tray");
      lifted(item.dataset.alias);
    },
    carried(item, x, y) {
      reach(board, x, y);
      light(placeAt(x, y));
    },
    ended(item, at) {
      const place = at && placeAt(at.x, at.y);
      light(null);
      item.removeAttribute("data-away");
      delete document.body.dataset.dragging;
      dropped(item.dataset.alias, place ? rankOf(place) : undefined);
    },
  });
  page.dataset.draggable = "";
}
