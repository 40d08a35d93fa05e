/** The task in hand and the one held ahead, which takes its place without a page load. */

import { post, readPage } from "./api.js";
import { all } from "./dom.js";

/** What of the page belongs to one task. */
const parts = (page) => new Map(all("part", page).map((p) => [p.dataset.part, p]));

/** Hold the task after `form`'s; not while a submitted one, which would count as the next, is under way. */
export function holdAhead(form, { isFree }) {
  const { assignment, pageUrl, aheadUrl, releaseUrl, version } = form.dataset;
  const addressed = (url, id) => url.replace(assignment, id);
  let held = null;
  let asking = null;
  let closed = false;

  async function ask() {
    const { assignment: id, lease_token: token, lease_seconds: seconds } = await post(aheadUrl, {});
    if (closed) return;
    if (!id) held = null;
    else if (held?.id !== id || !held.until) {
      const found = parts(await readPage(`${addressed(pageUrl, id)}?ahead`));
      const next = found.get("ranking")?.dataset;
      // What a newer server wrote needs its own scripts.
      held = next?.assignment === id && next.version === version ? { id, token, found } : null;
    }
    if (held) held.until = Date.now() + seconds * 1000;
    form.toggleAttribute("data-next-ready", Boolean(held));
  }

  /** Take a lease on the next task, or extend it; `again` reads its page anew. */
  function refresh({ again = false } = {}) {
    if (!aheadUrl || closed || !isFree()) return;
    if (again && held) held.until = 0;
    asking ??= ask().catch(() => {}).finally(() => { asking = null; });
  }

  function release() {
    if (!held) return;
    const { id, token } = held;
    held = null;
    post(addressed(releaseUrl, id), { lease_token: token }).catch(() => {});
  }

  /** Put the next task in the place of this one: its form, or null when none is the labeler's now. */
  function take() {
    if (!held || Date.now() > held.until) return null;
    closed = true;
    const { id, found } = held;
    for (const [name, part] of parts(document)) part.replaceWith(found.get(name));
    window.history.pushState(null, "", addressed(pageUrl, id));
    // The choice of a language leads back to the task in hand.
    document.querySelector(".languages [name=next]").value = location.pathname;
    scrollTo(0, 0);
    return found.get("ranking");
  }

  return { refresh, release, take };
}
