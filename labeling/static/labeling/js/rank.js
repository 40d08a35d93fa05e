/** The ranking page: binds cards, board and keys to one order. The form's fields stay what is sent. */

import { enableDragging, showBoard } from "./board.js";
import { actionOf } from "./keys.js";
import * as orders from "./order.js";
import { prepareReading } from "./reading.js";
import { connect } from "./server.js";
import { enableViews, VIEW_NAMES } from "./views.js";

const form = document.querySelector("[data-ranking]");
const one = (name, within = document) => within.querySelector(`[data-${name}]`);
const cards = new Map([...form.querySelectorAll("[data-card]")].map((c) => [c.dataset.card, c]));
const aliases = [...cards.keys()];
const rankField = (alias) => form.elements.namedItem(`rank_${alias}`);
const board = one("board");
const banner = one("banner");

let history = orders.startHistory(orders.createOrder(aliases, readRanks()));
let current = orders.unplaced(history.present)[0] ?? aliases[0];
let busy = false;

function readRanks() {
  const values = aliases.map((alias) => [alias, Number(rankField(alias).value)]);
  return Object.fromEntries(values.filter(([, rank]) => rank));
}

/** All that was entered so far, as the API takes it. */
function read() {
  const data = new FormData(form);
  const answers = (kind, value) => Object.fromEntries(
    aliases.filter((a) => data.has(`${kind}_${a}`)).map((a) => [a, value(`${kind}_${a}`)]),
  );
  return {
    ranks: readRanks(),
    ratings: answers("quality", (name) => Number(data.get(name))),
    flags: answers("flags", (name) => data.getAll(name)),
    note: data.get("note"),
  };
}

// --- showing ------------------------------------------------------------------------------------

const announce = (text) => { one("announce").textContent = text; };

function showState(text, level = "") {
  one("save-state").textContent = text;
  one("save-state").dataset.level = level;
}

function show() {
  const order = history.present;
  showBoard(board, order);
  for (const [alias, card] of cards) {
    const ties = orders.tiedWith(order, alias);
    rankField(alias).value = orders.rankOf(order, alias) ?? "";
    card.toggleAttribute("data-placed", alias in order.ranks);
    card.toggleAttribute("data-current", alias === current);
    one("tie", card).textContent = ties.length ? `tied with ${ties.join(", ")}` : "";
    showFlagCount(card);
  }
  const left = orders.unplaced(order).length;
  one("progress").textContent = left ? `${aliases.length - left} of ${aliases.length} placed` : "All placed";
  one("submit").disabled = left > 0 || busy;
  one("undo").disabled = !history.past.length;
  one("redo").disabled = !history.future.length;
}

function showFlagCount(card) {
  const count = card.querySelectorAll("[data-flags] input:checked").length;
  const badge = one("flag-count", card);
  if (badge) badge.textContent = count || "";
}

function showProblem(text, { data = {}, next = false } = {}) {
  const link = Object.assign(document.createElement("a"), { href: form.dataset.next, textContent: "Next prompt" });
  one("banner-text").replaceChildren(text, ...(next ? [" ", link] : []));
  banner.hidden = !text;
  for (const [alias, card] of cards) {
    one("error", card).textContent = data.aliases?.includes(alias) ? text : "";
    one("error", card).hidden = !data.aliases?.includes(alias);
  }
  if (text) banner.scrollIntoView({ block: "center" });
}

function focusCard(alias) {
  current = alias;
  show();
  cards.get(alias).focus({ preventScroll: true });
  cards.get(alias).scrollIntoView({ block: "nearest" });
}

// --- changing -----------------------------------------------------------------------------------

function placeText(order, alias) {
  const rank = orders.rankOf(order, alias);
  if (rank === null) return `${alias} taken off the board.`;
  const ties = orders.tiedWith(order, alias);
  const left = orders.unplaced(order).length;
  const tied = ties.length ? `, tied with ${ties.join(", ")}` : "";
  return `${alias} on rank ${rank}${tied}. ${left ? `${left} left.` : "All placed."}`;
}

function change(alias, order, { advance = false } = {}) {
  const before = history.present;
  history = orders.record(history, order);
  show();
  if (order !== before) {
    announce(placeText(order, alias));
    server.changed();
  }
  if (advance) focusCard(orders.nextUnplaced(order, alias) ?? alias);
}

/** Put `alias` on `rank`, or off the board without one. */
function move(alias, rank) {
  const order = history.present;
  current = alias;
  change(alias, rank ? orders.place(order, alias, rank) : orders.unplace(order, alias));
}

const dragging = {
  lifted: (alias) => announce(`${alias} picked up. Escape puts it back.`),
  over: (_alias, rank) => announce(rank ? `Rank ${rank}.` : "Off the board."),
  dropped(alias, rank) {
    const before = history.present;
    if (rank !== undefined) move(alias, rank);
    const stays = orders.rankOf(before, alias);
    if (history.present === before) announce(`${alias} stays ${stays ? `on rank ${stays}` : "off the board"}.`);
  },
};

function travel(step, word) {
  const before = history.present;
  history = step(history);
  if (history.present === before) return;
  show();
  announce(`${word}. ${orders.unplaced(history.present).length} left.`);
  server.changed();
}

function rate(alias, quality) {
  const pip = form.querySelector(`[name="quality_${alias}"][value="${quality}"]`);
  if (!pip) return;
  pip.checked = true;
  announce(`${alias} quality ${quality}.`);
  server.changed();
}

const actions = {
  place(rank) {
    if (rank > aliases.length) return announce(`Ranks go from 1 to ${aliases.length}.`);
    return change(current, orders.place(history.present, current, rank), { advance: true });
  },
  tie: () => change(current, orders.tie(history.present, current), { advance: true }),
  unplace: () => change(current, orders.unplace(history.present, current)),
  shift: (step) => change(current, orders.shift(history.present, current, step)),
  rate: (quality) => rate(current, quality),
  focus(step) {
    const index = aliases.indexOf(current) + (cards.get(current).contains(document.activeElement) ? step : 0);
    focusCard(aliases[Math.min(Math.max(index, 0), aliases.length - 1)]);
  },
  open: () => one("more", cards.get(current)).click(),
  flags: () => one("flags", cards.get(current))?.querySelector("summary").click(),
  view: (name) => views.toggle(name),
  undo: () => travel(orders.undo, "Undone"),
  redo: () => travel(orders.redo, "Redone"),
  keys: () => one("keys").showModal(),
  submit: () => form.requestSubmit(),
};

// --- the server ---------------------------------------------------------------------------------

const server = connect(form, {
  read,
  tell: {
    saved: () => showState("Draft saved"),
    notSaved: (error) => (error.status
      ? showState(error.message, "bad")
      : showState("No connection: not saved yet. Trying again…", "bad")),
    lease(seconds) {
      one("lease").hidden = false;
      one("lease").toggleAttribute("data-low", seconds < 60);
      one("lease-text").textContent = seconds < 1 ? "time is up" : `${Math.ceil(seconds / 60)} min`;
    },
    leaseLost(error) {
      if (error.code === "lease_expired") {
        showState("Your time ran out and somebody else has this prompt. You can still submit: it is kept.", "warn");
      } else if (error.code === "assignment_closed") showProblem(error.message, { next: true });
    },
  },
});

async function submit(event) {
  event.preventDefault();
  const left = orders.unplaced(history.present);
  if (busy) return;
  if (left.length) {
    announce(`${left.join(", ")} still without a rank.`);
    focusCard(left[0]);
    return;
  }
  busy = true;
  show();
  showState("Submitting…");
  try {
    const { status } = await server.submit();
    const late = status === "late";
    const flash = { level: late ? "warning" : "success", text: late ? form.dataset.late : form.dataset.saved };
    sessionStorage.setItem("flash", JSON.stringify(flash));
    location.assign(form.dataset.next);
  } catch (error) {
    busy = false;
    show();
    showState("");
    showProblem(error.status ? error.message : "No connection. Nothing is lost: submit again when it is back.", {
      data: error.data, next: ["assignment_closed", "submission_conflict"].includes(error.code),
    });
  }
}

// --- binding ------------------------------------------------------------------------------------

form.addEventListener("submit", submit);
form.addEventListener("change", ({ target }) => {
  const alias = target.name?.match(/^rank_([A-I])$/)?.[1];
  if (!alias) return;
  move(alias, Number(target.value));
});
form.addEventListener("input", ({ target }) => {
  if (target.name?.startsWith("rank_")) return;
  const card = target.closest("[data-card]");
  if (card) showFlagCount(card);
  server.changed();
});
form.addEventListener("focusin", ({ target }) => {
  const card = target.closest("[data-card]");
  if (!card || card.dataset.card === current) return;
  current = card.dataset.card;
  show();
});
document.addEventListener("keydown", (event) => {
  const action = one("keys").open ? null : actionOf(event);
  if (!action) return;
  event.preventDefault();
  actions[action[0]](action[1]);
});
board.addEventListener("click", ({ target }) => {
  const go = target.closest("[data-go]");
  if (go) focusCard(go.dataset.go);
});
one("undo").addEventListener("click", actions.undo);
one("redo").addEventListener("click", actions.redo);
one("keys-open").addEventListener("click", actions.keys);

const readAgain = prepareReading(form, cards);
const views = enableViews(form, {
  shown(name) {
    readAgain();
    announce(`Texts are shown ${VIEW_NAMES[name]}.`);
  },
  failed: (text) => showState(text, "bad"),
});
show();
// With a draft restored, the card that the keys speak of may be far down.
if (current !== aliases[0]) cards.get(current).scrollIntoView({ block: "nearest" });
enableDragging(form, board, dragging);
