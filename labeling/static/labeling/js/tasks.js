/** The task in hand and the one held ahead, which takes its place without a page load. */

import { post } from "./api.js";

/** What of the page belongs to one task. */
const parts = (page) => new Map([...page.querySelectorAll("[data-part]")].map((p) => [p.dataset.part, p]));

/** Hold the task after `form`'s ready. While a submission is on its way, `isFree()` is false: its task
 * would count as the next. */
export function holdAhead(form, { isFree }) {
  const { assignment, pageUrl, aheadUrl, releaseUrl } = form.dataset;
  const addressed = (url, id) => url.replace(assignment, id);
  let held = null;
  let asking = null;
  let closed = false;

  async function readPage(id) {
    const response = await fetch(`${addressed(pageUrl, id)}?ahead`);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const fits = response.ok && page.querySelector(`[data-assignment="${id}"]`);
    return fits ? parts(page) : null;
  }

  async function ask(again) {
    const answer = await post(aheadUrl, {});
    if (closed) return;
    if (!answer.assignment) held = null;
    else if (again || held?.id !== answer.assignment) {
      const found = await readPage(answer.assignment);
      held = found && { id: answer.assignment, token: answer.lease_token, found };
    }
    form.toggleAttribute("data-next-ready", Boolean(held));
  }

  /** Take a lease on the next task, or extend it; `again` reads its page anew. */
  function refresh({ again = false } = {}) {
    if (!aheadUrl || closed || !isFree()) return;
    asking ??= ask(again).catch(() => {}).finally(() => { asking = null; });
  }

  function release() {
    if (!held) return;
    const { id, token } = held;
    held = null;
    post(addressed(releaseUrl, id), { lease_token: token }, { keepalive: true }).catch(() => {});
  }

  /** Put the next task in the place of this one: its form, or null when none is ready. */
  function take() {
    if (!held) return null;
    closed = true;
    const { id, found } = held;
    for (const [name, part] of parts(document)) part.replaceWith(found.get(name));
    window.history.pushState(null, "", addressed(pageUrl, id));
    scrollTo(0, 0);
    return found.get("ranking");
  }

  return { refresh, release, take };
}
