/** The ranking page: binds cards, board and keys to one order, task after task. The form's fields are sent. */

import { enableAlike } from "./alike.js";
import { readAnswers, readRanks, writeAnswers } from "./answers.js";
import { enableDragging, showBoard } from "./board.js";
import { enableComparing } from "./compare.js";
import { enableFlagging } from "./flagging.js";
import { flash, flashNext } from "./flash.js";
import { actionOf } from "./keys.js";
import * as orders from "./order.js";
import { prepareReading } from "./reading.js";
import { connect } from "./server.js";
import { enableSubmitting } from "./submitting.js";
import { holdAhead } from "./tasks.js";
import { announce, placeText, showLease, showProblem, showState, staysText } from "./telling.js";
import { enableViews } from "./views.js";
import { say } from "./words.js";

// The second click of a double click is not meant for the next task.
const DOUBLE_CLICK = 500;
// What a key may do again while it is held down.
const REPEATABLE = ["focus", "shift"];

const one = (name, within = document) => within.querySelector(`[data-${name}]`);

// The task in hand; `begin` sets all of it.
let form, cards, aliases, board, history, current, busy, server, ahead, views, comparing, alike, warning;
let begunAt = -Infinity;

const rankField = (alias) => form.elements.namedItem(`rank_${alias}`);

function show() {
  const order = history.present;
  showBoard(board, order);
  for (const [alias, card] of cards) {
    const ties = orders.tiedWith(order, alias);
    rankField(alias).value = orders.rankOf(order, alias) ?? "";
    card.toggleAttribute("data-placed", alias in order.ranks);
    card.toggleAttribute("data-current", alias === current);
    one("tie", card).textContent = ties.length ? say("tied-with", { ties: ties.join(", ") }) : "";
  }
  const left = orders.unplaced(order).length;
  one("progress").textContent = left
    ? say("progress", { placed: aliases.length - left, count: aliases.length }) : say("all-placed");
  one("submit").disabled = left > 0 || busy;
  one("undo").disabled = !history.past.length;
  one("redo").disabled = !history.future.length;
  for (const part of form.querySelectorAll("[data-board], [data-source], select, fieldset")) part.inert = busy;
  comparing.shown();
  alike.shown();
}

function focusCard(alias) {
  current = alias;
  show();
  cards.get(alias).focus({ preventScroll: true });
  cards.get(alias).scrollIntoView({ block: "nearest" });
}

function change(alias, order, { advance = false } = {}) {
  if (busy) return;
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
  lifted: (alias) => announce(say("picked-up", { alias })),
  over: (_alias, rank) => announce(rank ? say("over", { rank }) : say("over-none")),
  dropped(alias, rank) {
    const before = history.present;
    if (rank !== undefined) move(alias, rank);
    if (history.present === before) announce(staysText(before, alias));
  },
};

/** Undo or redo, and go to the card concerned: the next key ranks that one. */
function travel(step, word) {
  const before = history.present;
  if (busy) return;
  history = step(history);
  const order = history.present;
  if (order === before) return;
  current = orders.moved(before, order, current);
  if (document.activeElement.closest("[data-card]")) focusCard(current);
  else show();
  announce(say(word, { what: placeText(order, current) }));
  server.changed();
}

function rate(alias, quality) {
  const pip = form.querySelector(`[name="quality_${alias}"][value="${quality}"]`);
  if (!pip || busy) return;
  pip.checked = !pip.checked;
  announce(say(pip.checked ? "rated" : "unrated", { alias, quality }));
  server.changed();
}

const actions = {
  place(rank) {
    if (rank > aliases.length) return announce(say("ranks-go", { count: aliases.length }));
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
  compare: () => comparing.pick(),
  differ: () => comparing.differ(),
  unpick: () => comparing.unpick(),
  alike: () => alike.accept(),
  undo: () => travel(orders.undo, "undone"),
  redo: () => travel(orders.redo, "redone"),
  keys: () => one("keys").showModal(),
  submit: () => form.requestSubmit(),
};

const tell = {
  active: () => ahead.refresh(),
  saved: () => showState(say("draft-saved")),
  notSaved: (error) => showState(error.status ? error.message : say("not-saved"), "bad"),
  lease: showLease,
  leaseLost(error) {
    if (error.code === "lease_expired") warning = flash({ level: "warning", text: say("lease-lost") });
    else if (error.code === "not_found") location.assign(form.dataset.next);
    else if (error.code === "assignment_closed") showProblem(form, error.message, true);
  },
};

const outbox = enableSubmitting(one("ranking").dataset.labeler, {
  form: () => form,
  onward,
  reopened() {
    busy = false;
    server.resume();
    show();
  },
  free: () => ahead.refresh(),
});

function swap() {
  const next = ahead.take();
  if (!next) return false;
  server.close();
  warning?.remove();
  begin(next);
  begunAt = performance.now();
  const today = one("today");
  if (today) today.textContent = say("today", { count: ++today.dataset.today });
  document.querySelector("main").focus({ preventScroll: true });
  announce(say("next-here", { count: aliases.length }));
  return true;
}

function onward(...news) {
  if (swap()) return news.forEach(flash);
  news.forEach(flashNext);
  return location.assign(form.dataset.next);
}

function submit(event) {
  event.preventDefault();
  const left = orders.unplaced(history.present);
  if (busy || performance.now() - begunAt < DOUBLE_CLICK) return;
  if (left.length) {
    announce(say("still-without", { aliases: left.join(", ") }));
    focusCard(left[0]);
    return;
  }
  busy = true;
  const { assignment: id, pageUrl: page, submitUrl: url, heartbeatUrl } = form.dataset;
  const field = (name) => form.elements.namedItem(name).value;
  const body = {
    lease_token: field("lease_token"), submission_id: field("submission_id"), ...readAnswers(form, aliases),
  };
  outbox.add({ id, page, url, heartbeatUrl, body }, server.pause());
  if (swap()) return;
  show();
  showState(say("submitting"));
}

function begin(next) {
  form = next;
  cards = new Map([...form.querySelectorAll("[data-card]")].map((c) => [c.dataset.card, c]));
  aliases = [...cards.keys()];
  board = one("board", form);
  busy = outbox.holds(form.dataset.assignment);
  ahead = holdAhead(form, { isFree: () => !outbox.waits() });
  server = connect(form, { read: () => readAnswers(form, aliases), tell });
  const unsent = server.unsent();
  if (unsent) writeAnswers(form, aliases, unsent);
  history = orders.startHistory(orders.createOrder(aliases, readRanks(form, aliases)));
  current = orders.unplaced(history.present)[0] ?? aliases[0];
  bind();
  const page = {
    order: () => history.present, current: () => current, change, move, focus: focusCard,
    undo: actions.undo, redo: actions.redo, view: () => views.now(), against: (alias) => views.toggle(alias),
  };
  comparing = enableComparing(form, cards, page);
  alike = enableAlike(form, cards, page);
  const readAgain = prepareReading(form, cards);
  views = enableViews(form, {
    shown(name) {
      if (form !== next) return;
      readAgain();
      if (!cards.has(name)) announce(say(`shown-${name}`));
      comparing.viewed(name);
      ahead.refresh({ again: true });
    },
    failed: () => form === next && showState(say("view-failed"), "bad"),
  });
  show();
  if (busy) showState(say("submitting"));
  else if (unsent) server.changed();
  // After a draft it may be far down.
  if (current !== aliases[0]) cards.get(current).scrollIntoView({ block: "nearest" });
  enableFlagging(form);
  enableDragging(form, board, dragging);
}

function bind() {
  form.addEventListener("submit", submit);
  form.addEventListener("change", ({ target }) => {
    const alias = target.name?.match(/^rank_([A-I])$/)?.[1];
    if (alias) move(alias, Number(target.value));
  });
  form.addEventListener("input", ({ target }) => {
    if (!target.name?.startsWith("rank_")) server.changed();
  });
  form.addEventListener("focusin", ({ target }) => {
    const card = target.closest("[data-card]");
    if (!card || card.dataset.card === current) return;
    current = card.dataset.card;
    show();
  });
  board.addEventListener("click", ({ target }) => {
    const go = target.closest("[data-go]");
    if (go) focusCard(go.dataset.go);
  });
  one("undo", form).addEventListener("click", actions.undo);
  one("redo", form).addEventListener("click", actions.redo);
}

document.addEventListener("keydown", (event) => {
  const action = one("keys").open ? null : actionOf(event);
  if (!action) return;
  event.preventDefault();
  if (!event.repeat || REPEATABLE.includes(action[0])) actions[action[0]](action[1]);
});
one("keys-open").addEventListener("click", actions.keys);
addEventListener("pagehide", () => ahead.release());
// Another tab may have sent what waits here, and tells what became of it.
addEventListener("storage", () => { if (busy && !outbox.holds(form.dataset.assignment)) onward(); });
addEventListener("guidelines-read", () => ahead.refresh({ again: true }));
// Back to a task that was left without a page load; not to a place on this page.
addEventListener("popstate", async () => {
  if (location.pathname === form.dataset.pageUrl) return;
  await outbox.drain();
  location.reload();
});

begin(one("ranking"));
if (busy) server.pause().then(outbox.drain);
else outbox.drain();
