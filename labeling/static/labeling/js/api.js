/** Calls to the server, and what it refuses. */

import { say } from "./words.js";

// A refusal that says nothing about what was sent: the same request may pass later.
const PASSING = new Set([401, 403, 408, 429]);
const PATIENCE = 30_000;

/** A refusal by the server: {error: {code, message}}. */
export class Refusal extends Error {
  constructor(status, { code, message } = {}) {
    super(status === 401 ? say("signed-out") : message ?? say("unknown-answer", { status }));
    Object.assign(this, { status, code });
  }
}

/** Whether trying again may help: no connection, a restart, a session that ended. */
export const passes = (error) =>
  !(error instanceof Refusal) || error.status >= 500 || PASSING.has(error.status);

/** The page at `url`. */
export async function readPage(url) {
  const response = await fetch(url, { signal: AbortSignal.timeout(PATIENCE) });
  if (!response.ok || response.redirected) throw new Refusal(response.status);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

const cookie = (name) => document.cookie.match(`(?:^|; )${name}=([^;]*)`)?.[1];

/** The answer of `url` to `body`; throws a Refusal, or another error where none of ours came. */
export async function post(url, body) {
  const text = JSON.stringify(body);
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      // Signing in again in another tab changes the cookie, not the page.
      "X-CSRFToken": cookie("csrftoken") ?? document.querySelector("[name=csrfmiddlewaretoken]").value,
      // It changes the session too, perhaps to somebody else's.
      "X-Labeler": encodeURIComponent(document.querySelector("[data-labeler]").dataset.labeler),
    },
    body: text,
    // Outlives the page, for which browsers allow 64 KiB.
    keepalive: text.length < 20_000,
    signal: AbortSignal.timeout(PATIENCE),
  });
  const given = await response.text();
  const isOurs = response.headers.get("Content-Type")?.includes("json");
  const answer = given && isOurs ? JSON.parse(given) : {};
  if (!response.ok) throw new Refusal(response.status, answer.error);
  if (given && !isOurs) throw new TypeError(url);
  return answer;
}
