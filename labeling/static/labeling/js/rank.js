/**
 * The ranking page: binds cards, board and keys to one order, task after task. The form's fields stay
 * what is sent; the submission travels while the next task is shown.
 */

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
import { announce, leftText, placeText, showLease, showProblem, showState, staysText } from "./telling.js";
import { enableViews } from "./views.js";
import { say } from "./words.js";

// The second click of a double click is not meant for the next task.
const DOUBLE_CLICK = 500;
// What a key that is held down may do again and again.
const REPEATABLE = ["focus", "shift"];

const one = (name, within = document) => within.querySelector(`[data-${name}]`);

// The task in hand; `begin` sets all of it.
let form, cards, aliases, board, history, current, busy, server, ahead, views, comparing, alike;
let begunAt = -Infinity;

const rankField = (alias) => form.elements.namedItem(`rank_${alias}`);

// --- showing ---

function show() {
  const order = history.present;
  showBoard(board, order);
  for (const [alias, card] of cards) {
    const ties = orders.tiedWith(order, alias);
    rankField(alias).value = orders.rankOf(order, alias) ?? "";
    card.toggleAttribute("data-placed", alias in order.ranks);
    card.toggleAttribute("data-current", alias === current);
    one("tie", card).textContent = ties.length ? say("tied-with", { ties: ties.join(", ") }) : "";
    showFlagCount(card);
  }
  const left = orders.unplaced(order).length;
  one("progress").textContent = left
    ? say("progress", { placed: aliases.length - left, count: aliases.length }) : say("all-placed");
  one("submit").disabled = left > 0 || busy;
  one("undo").disabled = !history.past.length;
  one("redo").disabled = !history.future.length;
  comparing.shown();
  alike.shown();
}

function showFlagCount(card) {
  const count = card.querySelectorAll("[data-flags] input:checked").length;
  const badge = one("flag-count", card);
  if (badge) badge.textContent = count || "";
}

function focusCard(alias) {
  current = alias;
  show();
  cards.get(alias).focus({ preventScroll: true });
  cards.get(alias).scrollIntoView({ block: "nearest" });
}

// --- changing ---

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
  lifted: (alias) => announce(say("picked-up", { alias })),
  over: (_alias, rank) => announce(rank ? say("over", { rank }) : say("over-none")),
  dropped(alias, rank) {
    const before = history.present;
    if (rank !== undefined) move(alias, rank);
    if (history.present === before) announce(staysText(before, alias));
  },
};

function travel(step, word) {
  const before = history.present;
  history = step(history);
  if (history.present === before) return;
  show();
  announce(say(word, { left: leftText(history.present) }));
  server.changed();
}

function rate(alias, quality) {
  const pip = form.querySelector(`[name="quality_${alias}"][value="${quality}"]`);
  if (!pip) return;
  pip.checked = true;
  announce(say("rated", { alias, quality }));
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

// --- handing in ---

const tell = {
  active: () => ahead.refresh(),
  saved: () => showState(say("draft-saved")),
  notSaved: (error) => showState(error.status ? error.message : say("not-saved"), "bad"),
  lease: showLease,
  leaseLost(error) {
    if (error.code === "lease_expired") showState(say("lease-lost"), "warn");
    else if (error.code === "not_found") location.assign(form.dataset.next);
    else if (error.code === "assignment_closed") showProblem(form, error.message, { next: true });
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
  begin(next);
  begunAt = performance.now();
  const today = one("today");
  if (today) today.textContent = say("today", { count: ++today.dataset.today });
  document.querySelector("main").focus({ preventScroll: true });
  announce(say("next-here", { count: aliases.length }));
  return true;
}

function onward(news) {
  if (swap()) return flash(news);
  flashNext(news);
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

// --- binding ---

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
      readAgain();
      if (!cards.has(name)) announce(say(`shown-${name}`));
      comparing.viewed(name);
      ahead.refresh({ again: true });
    },
    failed: () => showState(say("view-failed"), "bad"),
  });
  show();
  if (busy) showState(say("submitting"));
  else if (unsent) server.changed();
  // With a draft restored, the card that the keys speak of may be far down.
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
// Back to a task that was left without a page load: the server knows what has become of it.
addEventListener("popstate", async () => {
  await outbox.drain();
  location.reload();
});

begin(one("ranking"));
if (busy) server.pause().then(outbox.drain);
else outbox.drain();
