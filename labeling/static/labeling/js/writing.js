/** Writing a demonstration: every change is kept on the server, and here until it is there. */

import * as desk from "./writing-desk.js";

const DRAFT_AFTER = 800;
const RETRY_AFTER = 5_000;

const form = document.querySelector("[data-writing]");
const area = form.querySelector("[data-text]");
const choice = document.querySelector("[data-copy]");
const { handle, user, draftUrl, submitUrl } = form.dataset;
const copy = desk.localCopy(`${user}:${handle}`);
const field = (name) => form.elements.namedItem(name).value;
const { words } = desk;

/** What the server has. */
let saved = area.defaultValue;
let timer = 0;
let saving = null;
let closed = false;

function show() {
  desk.showCounts([area.value]);
  desk.grow(area);
}

function schedule(delay) {
  clearTimeout(timer);
  if (draftUrl) timer = setTimeout(save, delay);
}

function changed() {
  show();
  if (copy.keep({ text: area.value, base: saved }) && !draftUrl) desk.showState(words.keptHere);
  schedule(DRAFT_AFTER);
}

// One draft is under way at a time, so that an older one never lands on a newer one.
async function save() {
  if (closed || area.value === saved) return;
  if (saving) return schedule(DRAFT_AFTER);
  const text = area.value;
  saving = desk.post(draftUrl, { handle, text });
  try {
    await saving;
    // A page that is loading just now may have been made before this was saved: its copy stays.
    if (area.value === text) copy.keep({ text, base: saved, sent: true });
    else copy.keep({ text: area.value, base: text });
    saved = text;
    desk.showState(words.draftSaved);
  } catch (error) {
    if (error instanceof desk.Refusal) desk.showProblem(error.message);
    else desk.showState(words.offline, "bad");
    if (!(error instanceof desk.Refusal) || error.status >= 500) schedule(RETRY_AFTER);
  } finally {
    saving = null;
  }
}

async function submit() {
  if (closed) return;
  closed = true;
  clearTimeout(timer);
  desk.showProblem("");
  desk.showState(words.submitting);
  try {
    await saving?.catch(() => {});
    await desk.post(submitUrl, { handle, submission_id: field("submission_id"), text: area.value });
    copy.drop();
    desk.leave(form);
  } catch (error) {
    closed = false;
    desk.showState("");
    desk.showProblem(error instanceof desk.Refusal ? error.message : words.submitOffline);
    area.ariaInvalid = String(error.data?.field === "text");
    schedule(RETRY_AFTER);
  }
}

function take(text) {
  area.value = text;
  desk.showState(words.restored);
  changed();
}

/** What was never saved comes back; where the server has got something newer, the writer decides. */
function restore() {
  const kept = copy.read();
  if (!kept || kept.text === saved) return copy.drop();
  if (kept.base === saved) return take(kept.text);
  // It was saved, and another page went on from there.
  if (kept.sent) return copy.drop();
  choice.hidden = false;
  document.querySelector("[data-copy-use]").addEventListener("click", () => {
    choice.hidden = true;
    take(kept.text);
    area.focus();
  });
  document.querySelector("[data-copy-drop]").addEventListener("click", () => {
    choice.hidden = true;
    copy.drop();
    area.focus();
  });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  submit();
});
area.addEventListener("input", changed);
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  submit();
});
addEventListener("online", () => schedule(0));
addEventListener("pagehide", () => { if (draftUrl) save(); });
desk.enablePreview(form);
desk.enableViews(form);
restore();
show();
// On a phone the keyboard would cover the prompt, and the guidelines the way to the text.
if (matchMedia("(pointer: fine)").matches) area.focus({ preventScroll: true });
if (matchMedia("(max-width: 47.99rem)").matches) document.querySelector("[data-guidelines]")?.removeAttribute("open");
