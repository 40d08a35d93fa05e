/** A task's order: cards, board, fields and keys show it and change it. */

import { enableDragging, showBoard } from "./board.js";
import { one } from "./dom.js";
import * as orders from "./order.js";
import { announce, placeText, staysText } from "./telling.js";
import { say } from "./words.js";

/**
 * Bind the `cards` of `form` to one order, which begins with `ranks`. `shown(order)` follows when it is shown,
 * `changed()` when it is another; while `busy()`, nothing changes.
 */
export function enableArranging(form, cards, ranks, { shown, changed, busy }) {
  const aliases = [...cards.keys()];
  const board = one("board", form);
  let history = orders.startHistory(orders.createOrder(aliases, ranks));
  let current = orders.unplaced(history.present)[0] ?? aliases[0];

  function show() {
    const order = history.present;
    showBoard(board, order);
    for (const [alias, card] of cards) {
      const ties = orders.tiedWith(order, alias).join(", ");
      form.elements.namedItem(`rank_${alias}`).value = orders.rankOf(order, alias) ?? "";
      card.toggleAttribute("data-placed", alias in order.ranks);
      card.toggleAttribute("data-current", alias === current);
      one("tie", card).textContent = ties ? say("tied-with", { ties }) : "";
    }
    const left = orders.unplaced(order).length;
    one("progress", form).textContent = left
      ? say("progress", { placed: aliases.length - left, count: aliases.length }) : say("all-placed");
    one("submit", form).disabled = left || busy();
    one("undo", form).disabled = !history.past.length;
    one("redo", form).disabled = !history.future.length;
    for (const part of form.querySelectorAll("[data-board], [data-source], select, fieldset")) part.inert = busy();
    shown(order);
  }

  function focus(alias) {
    current = alias;
    show();
    cards.get(alias).focus({ preventScroll: true });
    cards.get(alias).scrollIntoView({ block: "nearest" });
  }

  function change(alias, order, { advance = false } = {}) {
    if (busy()) return;
    const before = history.present;
    history = orders.record(history, order);
    show();
    if (order !== before) {
      announce(placeText(order, alias));
      changed();
    }
    if (advance) focus(orders.nextUnplaced(order, alias) ?? alias);
  }

  /** Put `alias` on `rank`, or off the board without one. */
  function move(alias, rank) {
    const order = history.present;
    current = alias;
    change(alias, rank ? orders.place(order, alias, rank) : orders.unplace(order, alias));
  }

  /** Undo or redo, and go to the card concerned, which the next key ranks. */
  function travel(step, word) {
    const before = history.present;
    if (busy()) return;
    history = step(history);
    const order = history.present;
    if (order === before) return;
    current = orders.moved(before, order, current);
    if (document.activeElement.closest("[data-card]")) focus(current);
    else show();
    announce(say(word, { what: placeText(order, current) }));
    changed();
  }

  const undo = () => travel(orders.undo, "undone");
  const redo = () => travel(orders.redo, "redone");
  const actions = {
    place(rank) {
      if (rank > aliases.length) return announce(say("ranks-go", { count: aliases.length }));
      return change(current, orders.place(history.present, current, rank), { advance: true });
    },
    tie: () => change(current, orders.tie(history.present, current), { advance: true }),
    unplace: () => change(current, orders.unplace(history.present, current)),
    shift: (step) => change(current, orders.shift(history.present, current, step)),
    focus(step) {
      const index = aliases.indexOf(current) + (cards.get(current).contains(document.activeElement) ? step : 0);
      focus(aliases[Math.min(Math.max(index, 0), aliases.length - 1)]);
    },
    open: () => one("more", cards.get(current)).click(),
    undo, redo,
    submit: () => form.requestSubmit(),
  };

  form.addEventListener("change", ({ target }) => {
    if (target.name?.startsWith("rank_")) move(target.name.at(-1), Number(target.value));
  });
  form.addEventListener("focusin", ({ target }) => {
    const alias = target.closest("[data-card]")?.dataset.card;
    if (!alias || alias === current) return;
    current = alias;
    show();
  });
  board.addEventListener("click", ({ target }) => {
    const go = target.closest("[data-go]");
    if (go) focus(go.dataset.go);
  });
  one("undo", form).addEventListener("click", undo);
  one("redo", form).addEventListener("click", redo);
  enableDragging(form, board, {
    lifted: (alias) => announce(say("picked-up", { alias })),
    over: (rank) => announce(rank ? say("over", { rank }) : say("over-none")),
    dropped(alias, rank) {
      const before = history.present;
      if (rank !== undefined) move(alias, rank);
      if (history.present === before) announce(staysText(before, alias));
    },
  });
  return { actions, order: () => history.present, current: () => current, show, change, move, focus, undo, redo };
}
