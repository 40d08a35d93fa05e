/** The page's side of one assignment: drafts and lease. */

import { post, Refusal } from "./api.js";
import { draftOf, forget, keep, kept } from "./kept.js";

const DRAFT_AFTER = 500;
const RETRY_AFTER = 5_000;
const IDLE_AFTER = 10 * 60_000;

/**
 * Talk for `form`; `read` gives the answers, `tell` hears what happens. A change is kept here at once,
 * on the server soon. A ranking that is changed later has neither lease nor draft.
 */
export function connect(form, { read, tell }) {
  const { assignment, draftUrl, heartbeatUrl, draftAt } = form.dataset;
  const copy = draftOf(assignment);
  const field = (name) => form.elements.namedItem(name).value;
  const listening = new AbortController();
  let timer = 0;
  let saving = null;
  let dirty = false;
  let beating = null;
  let closed = false;
  let lost = false;
  // By the clock on the wall: while a machine sleeps, others do not.
  let leaseEnds = Date.now() + form.dataset.leaseSeconds * 1000;
  let active = Date.now();

  const draft = () => ({ ...read(), at: Date.now() });
  const send = () => post(draftUrl, { lease_token: field("lease_token"), draft: draft() });

  function changed() {
    dirty = true;
    if (!draftUrl) return;
    keep(copy, draft());
    schedule(DRAFT_AFTER);
  }

  function schedule(delay) {
    clearTimeout(timer);
    timer = setTimeout(save, delay);
  }

  // One draft at a time, so that an older one never lands on a newer one.
  async function save() {
    if (saving && !closed) schedule(DRAFT_AFTER);
    if (saving || closed) return;
    dirty = false;
    saving = send();
    try {
      await saving;
      if (!dirty && !closed) forget(copy);
      tell.saved();
    } catch (error) {
      dirty = true;
      if (closed) return;
      tell.notSaved(error);
      if (!(error instanceof Refusal) || error.status >= 500) schedule(RETRY_AFTER);
    } finally {
      saving = null;
    }
  }

  async function beat() {
    const { lease_seconds: seconds } = await post(heartbeatUrl, { lease_token: field("lease_token") });
    if (closed) return;
    leaseEnds = Date.now() + seconds * 1000;
    tell.lease(seconds);
  }

  function leaseLost(error) {
    if (closed) return;
    lost = error.code === "lease_expired";
    if (lost) tell.lease(leaseEnds = 0);
    tell.leaseLost(error);
  }

  function watch() {
    if (!heartbeatUrl || closed || document.hidden) return;
    tell.lease(Math.max(0, (leaseEnds - Date.now()) / 1000));
    if (lost || Date.now() - active >= IDLE_AFTER) return;
    beating = beat().catch(leaseLost);
    tell.active();
  }

  function leave() {
    if (!dirty || closed || !draftUrl) return;
    send().catch(() => {});
  }

  /** Send nothing more for now; resolves when nothing is under way. */
  function pause() {
    closed = true;
    clearTimeout(timer);
    return Promise.allSettled([saving, beating]);
  }

  function close() {
    pause();
    clearInterval(ticking);
    listening.abort();
  }

  /** Work that this machine kept and the server does not have, or null. */
  function unsent() {
    const here = draftUrl ? kept(copy) : null;
    if (here && !(draftAt && Number(draftAt) >= here.at)) return here;
    forget(copy);
    return null;
  }

  const act = () => { active = Date.now(); };

  const { signal } = listening;
  const ticking = heartbeatUrl && setInterval(watch, form.dataset.heartbeatEvery * 1000);
  watch();
  addEventListener("visibilitychange", () => {
    if (document.hidden) return leave();
    act();
    return watch();
  }, { signal });
  addEventListener("online", () => { if (dirty) schedule(0); }, { signal });
  addEventListener("pagehide", leave, { signal });
  for (const kind of ["pointerdown", "keydown", "wheel", "touchmove"]) {
    addEventListener(kind, act, { passive: true, signal });
  }
  return { changed, pause, resume: () => { closed = false; }, close, unsent };
}
