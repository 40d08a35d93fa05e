/** The page's side of one assignment: drafts and lease. It knows addresses, not cards. */

import { post, Refusal } from "./api.js";
import { forget, keep, kept } from "./kept.js";

const DRAFT_AFTER = 500;
const RETRY_AFTER = 5_000;
const IDLE_AFTER = 10 * 60_000;

/**
 * Talk for `form`; `read` gives the answers, `tell` hears what happens. A change is kept here at once,
 * and on the server soon. A ranking that is being changed has neither lease nor draft.
 */
export function connect(form, { read, tell }) {
  const { assignment: id, draftUrl, heartbeatUrl, draftAt } = form.dataset;
  const field = (name) => form.elements.namedItem(name).value;
  const listening = new AbortController();
  let timer = 0;
  let saving = null;
  let dirty = false;
  let beating = null;
  let closed = false;
  let leaseEnds = performance.now() + form.dataset.leaseSeconds * 1000;
  let active = performance.now();

  const draft = () => ({ ...read(), at: Date.now() });
  const send = (content, options) =>
    post(draftUrl, { lease_token: field("lease_token"), draft: content }, options);

  function changed() {
    dirty = true;
    active = performance.now();
    if (!draftUrl) return;
    keep(id, draft());
    schedule(DRAFT_AFTER);
  }

  function schedule(delay) {
    clearTimeout(timer);
    timer = setTimeout(save, delay);
  }

  // One draft is under way at a time, so that an older one never lands on a newer one.
  async function save() {
    if (saving && !closed) schedule(DRAFT_AFTER);
    if (saving || closed) return;
    dirty = false;
    saving = send(draft());
    try {
      await saving;
      if (!dirty && !closed) forget(id);
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
    leaseEnds = performance.now() + seconds * 1000;
    tell.lease(seconds);
  }

  function watch() {
    if (closed || document.hidden) return;
    tell.lease(Math.max(0, (leaseEnds - performance.now()) / 1000));
    if (performance.now() - active >= IDLE_AFTER) return;
    beating = beat().catch((error) => { if (!closed) tell.leaseLost(error); });
    tell.active();
  }

  function leave() {
    if (!dirty || closed || !draftUrl) return;
    send(draft(), { keepalive: true }).catch(() => {});
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
    const here = draftUrl ? kept(id) : null;
    if (here && !(draftAt && Number(draftAt) >= here.at)) return here;
    forget(id);
    return null;
  }

  const { signal } = listening;
  const ticking = setInterval(heartbeatUrl ? watch : () => {}, form.dataset.heartbeatEvery * 1000);
  if (heartbeatUrl) watch();
  addEventListener("visibilitychange", () => (document.hidden ? leave() : heartbeatUrl && watch()), { signal });
  addEventListener("online", () => { if (dirty) schedule(0); }, { signal });
  addEventListener("pagehide", leave, { signal });
  for (const kind of ["pointerdown", "keydown", "wheel", "touchmove"]) {
    addEventListener(kind, () => { active = performance.now(); }, { passive: true, signal });
  }
  return { changed, pause, resume: () => { closed = false; }, close, unsent };
}
