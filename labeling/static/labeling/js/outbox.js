/**
 * Submissions on their way wait in this browser until the server has answered. Their submission_id
 * makes it safe to send them again, from another tab too.
 */

import { passes, post } from "./api.js";
import { kept } from "./kept.js";

const FIRST_RETRY = 2_000;
const LONGEST_RETRY = 30_000;

/** Submit `body`. Only the number of its ranking says that it is stored. */
async function submit(url, body) {
  const answer = await post(url, body);
  if (!answer.ranking) throw new TypeError(url);
  return answer;
}

/** Submit an entry; an ended lease is taken anew first. */
async function send({ url, heartbeatUrl, body }) {
  try {
    return await submit(url, body);
  } catch (error) {
    if (error.code !== "lease_expired") throw error;
    // Where the place is gone the next answer says so: the ranking is kept as late.
    await post(heartbeatUrl, { lease_token: body.lease_token })
      .catch((lost) => { if (lost.code !== "lease_expired") throw lost; });
    return submit(url, body);
  }
}

/** The outbox of `labeler`. An entry is {id, page, url, heartbeatUrl, body}. */
export function openOutbox(labeler, { sent, refused, waiting }) {
  const key = `podium outbox ${labeler}`;
  let draining = null;
  let timer = 0;
  let delay = FIRST_RETRY;

  const entries = () => kept(key) ?? [];
  const store = (list) => localStorage.setItem(key, JSON.stringify(list));
  const remove = ({ body }) =>
    store(entries().filter((other) => other.body.submission_id !== body.submission_id));

  async function sendAll() {
    let again = false;
    for (const entry of entries()) {
      try {
        const answer = await send(entry);
        remove(entry);
        delay = FIRST_RETRY;
        sent(entry, answer);
      } catch (error) {
        again ||= passes(error);
        if (!passes(error)) {
          remove(entry);
          refused(entry, error);
        } else if (error.status >= 500) waiting(entry, error);
        else {
          // Without a connection, or signed out, none will pass.
          for (const other of entries()) waiting(other, error);
          break;
        }
      }
    }
    if (!again) return;
    timer = setTimeout(drain, delay);
    delay = Math.min(delay * 2, LONGEST_RETRY);
  }

  /** Send what waits, in order; one run at a time. */
  function drain() {
    clearTimeout(timer);
    draining ??= sendAll().finally(() => { draining = null; });
    return draining;
  }

  /** Keep `entry` at once, and send it when `settled` is. */
  async function add(entry, settled) {
    store([...entries(), entry]);
    await settled;
    await draining;
    return drain();
  }

  addEventListener("online", drain);
  return {
    add, drain, waits: () => entries().length > 0, holds: (id) => entries().some((entry) => entry.id === id),
  };
}
