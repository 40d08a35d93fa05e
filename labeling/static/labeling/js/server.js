/** The page's side of one assignment: drafts, lease and submission. It knows addresses, not cards. */

const DRAFT_AFTER = 500;
const RETRY_AFTER = 5_000;
const IDLE_AFTER = 10 * 60_000;

const SIGNED_OUT = "You are signed out. Sign in in another tab and go on here: nothing is lost.";

/** A refusal by the server: {error: {code, message, data}}. */
export class Refusal extends Error {
  constructor(status, { code, message, data } = {}) {
    const unknown = `The server answered with ${status}. Please try again in a minute.`;
    super(status === 401 ? SIGNED_OUT : message ?? unknown);
    Object.assign(this, { status, code: code ?? `http_${status}`, data: data ?? {} });
  }
}

const cookie = (name) => document.cookie.match(`(?:^|; )${name}=([^;]*)`)?.[1];

/** Talk for `form`; `read` gives the answer so far, `tell` is called with what happens. */
export function connect(form, { read, tell }) {
  const field = (name) => form.elements.namedItem(name).value;
  let timer = 0;
  let saving = null;
  let dirty = false;
  let closed = false;
  let leaseEnds = performance.now() + form.dataset.leaseSeconds * 1000;
  let active = performance.now();

  async function post(url, body, options = {}) {
    const response = await fetch(url, {
      method: "POST",
      headers: {
        "Content-Type": "application/json",
        // Signing in again in another tab changes the cookie, not the page.
        "X-CSRFToken": cookie("csrftoken") ?? field("csrfmiddlewaretoken"),
      },
      body: JSON.stringify({ lease_token: field("lease_token"), ...body }),
      ...options,
    });
    const text = await response.text();
    const answer = response.headers.get("Content-Type")?.includes("json") ? JSON.parse(text) : {};
    if (!response.ok) throw new Refusal(response.status, answer.error);
    return answer;
  }

  /** Something changed: keep it soon. */
  function changed() {
    dirty = true;
    active = performance.now();
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
    saving = post(form.dataset.draftUrl, { draft: read() });
    try {
      await saving;
      tell.saved();
    } catch (error) {
      dirty = true;
      tell.notSaved(error);
      if (!(error instanceof Refusal)) schedule(RETRY_AFTER);
    } finally {
      saving = null;
    }
  }

  async function beat() {
    const { lease_seconds: seconds } = await post(form.dataset.heartbeatUrl, {});
    leaseEnds = performance.now() + seconds * 1000;
    tell.lease(seconds);
  }

  function watch() {
    if (closed || document.hidden) return;
    tell.lease(Math.max(0, (leaseEnds - performance.now()) / 1000));
    if (performance.now() - active < IDLE_AFTER) beat().catch(tell.leaseLost);
  }

  /** Submit; an ended lease is taken anew first. Safe to call again: the server knows the id. */
  async function submit() {
    clearTimeout(timer);
    closed = true;
    const body = { submission_id: field("submission_id"), ...read() };
    try {
      await saving?.catch(() => {});
      return await post(form.dataset.submitUrl, body).catch(async (error) => {
        if (error.code !== "lease_expired") throw error;
        // Where the place is gone the next answer says so: the ranking is kept as late.
        await beat().catch((lost) => { if (lost.code !== "lease_expired") throw lost; });
        return post(form.dataset.submitUrl, body);
      });
    } catch (error) {
      closed = false;
      throw error;
    }
  }

  function leave() {
    if (!dirty || closed) return;
    post(form.dataset.draftUrl, { draft: read() }, { keepalive: true }).catch(() => {});
  }

  setInterval(watch, form.dataset.heartbeatEvery * 1000);
  watch();
  addEventListener("visibilitychange", () => (document.hidden ? leave() : watch()));
  addEventListener("pagehide", leave);
  for (const kind of ["pointerdown", "keydown", "wheel", "touchmove"]) {
    addEventListener(kind, () => { active = performance.now(); }, { passive: true });
  }
  return { changed, submit };
}
