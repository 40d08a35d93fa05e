/** The ranking page, task after task. The form's fields are sent. */

import { enableAlike } from "./alike.js";
import { readAnswers, readRanks, writeAnswers } from "./answers.js";
import { enableArranging } from "./arranging.js";
import { enableComparing } from "./compare.js";
import { all, one } from "./dom.js";
import { enableFlagging } from "./flagging.js";
import { flash, flashNext } from "./flash.js";
import { act } from "./keys.js";
import { unplaced } from "./order.js";
import { prepareReading } from "./reading.js";
import { connect } from "./server.js";
import { enableSubmitting } from "./submitting.js";
import { holdAhead } from "./tasks.js";
import { announce, showLease, showProblem, showState } from "./telling.js";
import { enableViews } from "./views.js";
import { say } from "./words.js";

// The second click of a double click is not meant for the next task.
const DOUBLE_CLICK = 500;

// The task in hand; `begin` sets all of it.
let form, cards, aliases, desk, busy, server, ahead, comparing, alike, actions, warning;
let begunAt = -Infinity;

function shown() {
  comparing.shown();
  alike.shown();
}

function rate(quality) {
  const alias = desk.current();
  const pip = form.querySelector(`[name="quality_${alias}"][value="${quality}"]`);
  if (!pip || busy) return;
  pip.checked = !pip.checked;
  announce(say(pip.checked ? "rated" : "unrated", { alias, quality }));
  server.changed();
}

const flags = () => one("flags", cards.get(desk.current()))?.querySelector("summary").click();

const openKeys = () => one("keys").showModal();

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
    desk.show();
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
  const left = unplaced(desk.order());
  if (busy || performance.now() - begunAt < DOUBLE_CLICK) return;
  if (left.length) {
    announce(say("still-without", { aliases: left.join(", ") }));
    desk.focus(left[0]);
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
  desk.show();
  showState(say("submitting"));
}

function begin(next) {
  form = next;
  cards = new Map(all("card", form).map((c) => [c.dataset.card, c]));
  aliases = [...cards.keys()];
  busy = outbox.holds(form.dataset.assignment);
  ahead = holdAhead(form, { isFree: () => !outbox.waits() });
  server = connect(form, { read: () => readAnswers(form, aliases), tell });
  const unsent = server.unsent();
  if (unsent) writeAnswers(form, aliases, unsent);
  desk = enableArranging(form, cards, readRanks(form, aliases), {
    shown, changed: () => server.changed(), busy: () => busy,
  });
  form.addEventListener("submit", submit);
  form.addEventListener("input", ({ target }) => {
    if (!target.name?.startsWith("rank_")) server.changed();
  });
  const readAgain = prepareReading(form, cards);
  const views = enableViews(form, {
    shown(name) {
      if (form !== next) return;
      readAgain();
      if (!cards.has(name)) announce(say(`shown-${name}`));
      comparing.viewed(name);
      ahead.refresh({ again: true });
    },
    failed: () => form === next && showState(say("view-failed"), "bad"),
  });
  const page = { ...desk, views };
  comparing = enableComparing(form, cards, page);
  alike = enableAlike(form, cards, page);
  const { pick: compare, differ, unpick } = comparing;
  actions = {
    ...desk.actions, rate, flags, view: views.toggle, compare, differ, unpick, alike: alike.accept, keys: openKeys,
  };
  desk.show();
  if (busy) showState(say("submitting"));
  else if (unsent) server.changed();
  // After a draft it may be far down.
  const current = desk.current();
  if (current !== aliases[0]) cards.get(current).scrollIntoView({ block: "nearest" });
  enableFlagging(form);
}

document.addEventListener("keydown", (event) => {
  if (!one("keys").open) act(event, actions);
});
one("keys-open").addEventListener("click", openKeys);
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
