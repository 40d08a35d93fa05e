/** An item of a qualification: the ranking page's board and keys on a plain form. */

import { readRanks } from "./answers.js";
import { enableDragging, showBoard } from "./board.js";
import { actionOf } from "./keys.js";
import * as orders from "./order.js";
import { prepareReading } from "./reading.js";
import { announce, placeText, staysText } from "./telling.js";
import { say } from "./words.js";

const form = document.querySelector("[data-trial]");
const one = (name, within = form) => within.querySelector(`[data-${name}]`);
const board = one("board");
const cards = new Map([...form.querySelectorAll("[data-card]")].map((c) => [c.dataset.card, c]));
const aliases = [...cards.keys()];
const kept = `trial ${form.dataset.trial}`;

/** Ranks that were chosen before the page was loaded anew, in this tab. */
const keptRanks = () => JSON.parse(sessionStorage.getItem(kept) ?? "{}");

let history = orders.startHistory(
  orders.createOrder(aliases, { ...keptRanks(), ...readRanks(form, aliases) }),
);
let current = orders.unplaced(history.present)[0] ?? aliases[0];
let busy = false;

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
  const placed = aliases.length - orders.unplaced(order).length;
  one("progress").textContent = placed < aliases.length
    ? say("progress", { placed, count: aliases.length }) : say("all-placed");
  one("submit").disabled = placed < aliases.length || busy;
  one("undo").disabled = !history.past.length;
  one("redo").disabled = !history.future.length;
  sessionStorage.setItem(kept, JSON.stringify(order.ranks));
}

function focusCard(alias) {
  current = alias;
  show();
  cards.get(alias).focus({ preventScroll: true });
  cards.get(alias).scrollIntoView({ block: "nearest" });
}

function change(alias, order, { advance = false } = {}) {
  const before = history.present;
  history = orders.record(history, order);
  current = alias;
  show();
  if (order !== before) announce(placeText(order, alias));
  if (advance) focusCard(orders.nextUnplaced(order, alias) ?? alias);
}

/** Put `alias` on `rank`, or off the board without one. */
const move = (alias, rank) => change(
  alias, rank ? orders.place(history.present, alias, rank) : orders.unplace(history.present, alias),
);

function travel(step, word) {
  const before = history.present;
  history = step(history);
  const order = history.present;
  if (order === before) return;
  current = orders.moved(before, order, current);
  if (document.activeElement.closest("[data-card]")) focusCard(current);
  else show();
  announce(say(word, { what: placeText(order, current) }));
}

const actions = {
  place(rank) {
    if (rank > aliases.length) return announce(say("ranks-go", { count: aliases.length }));
    return change(current, orders.place(history.present, current, rank), { advance: true });
  },
  tie: () => change(current, orders.tie(history.present, current), { advance: true }),
  unplace: () => change(current, orders.unplace(history.present, current)),
  shift: (step) => change(current, orders.shift(history.present, current, step)),
  focus(step) {
    const isIn = cards.get(current).contains(document.activeElement);
    const index = aliases.indexOf(current) + (isIn ? step : 0);
    focusCard(aliases[Math.min(Math.max(index, 0), aliases.length - 1)]);
  },
  open: () => one("more", cards.get(current)).click(),
  undo: () => travel(orders.undo, "undone"),
  redo: () => travel(orders.redo, "redone"),
  submit: () => form.requestSubmit(),
};

form.addEventListener("submit", (event) => {
  if (busy || orders.unplaced(history.present).length) {
    event.preventDefault();
    return;
  }
  busy = true;
  show();
});
// Back from the next page, the form may be sent again: the server knows its submission.
addEventListener("pageshow", () => { busy = false; show(); });
form.addEventListener("change", ({ target }) => {
  const alias = target.name?.match(/^rank_([A-I])$/)?.[1];
  if (alias) move(alias, Number(target.value));
});
form.addEventListener("focusin", ({ target }) => {
  const alias = target.closest("[data-card]")?.dataset.card;
  if (!alias || alias === current) return;
  current = alias;
  show();
});
document.addEventListener("keydown", (event) => {
  const [name, argument] = actionOf(event) ?? [];
  if (!(name in actions)) return;
  event.preventDefault();
  if (!event.repeat || name === "focus" || name === "shift") actions[name](argument);
});
board.addEventListener("click", ({ target }) => {
  const go = target.closest("[data-go]");
  if (go) focusCard(go.dataset.go);
});
one("undo").addEventListener("click", actions.undo);
one("redo").addEventListener("click", actions.redo);

prepareReading(form, cards);
show();
enableDragging(form, board, {
  lifted: (alias) => announce(say("picked-up", { alias })),
  over: (_alias, rank) => announce(rank ? say("over", { rank }) : say("over-none")),
  dropped(alias, rank) {
    const before = history.present;
    if (rank !== undefined) move(alias, rank);
    if (history.present === before) announce(staysText(before, alias));
  },
});
