/** Calls to the server, and what it refuses. */

import { say } from "./words.js";

// A refusal that says nothing about what was sent: the same request may pass later.
const PASSING = new Set([401, 403, 408, 429]);

/** A refusal by the server: {error: {code, message, data}}. */
export class Refusal extends Error {
  constructor(status, { code, message, data } = {}) {
    super(status === 401 ? say("signed-out") : message ?? say("unknown-answer", { status }));
    Object.assign(this, { status, code: code ?? `http_${status}`, data: data ?? {} });
  }
}

/** Whether trying again may help: no connection, a server that restarts, a session that ended. */
export const passes = (error) =>
  !(error instanceof Refusal) || error.status >= 500 || PASSING.has(error.status);

const cookie = (name) => document.cookie.match(`(?:^|; )${name}=([^;]*)`)?.[1];

/** The answer of `url` to `body`. Throws a Refusal, or what fetch throws without a connection. */
export async function post(url, body, options = {}) {
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      // Signing in again in another tab changes the cookie, not the page.
      "X-CSRFToken": cookie("csrftoken") ?? document.querySelector("[name=csrfmiddlewaretoken]").value,
    },
    body: JSON.stringify(body),
    ...options,
  });
  const text = await response.text();
  const answer = text && response.headers.get("Content-Type")?.includes("json") ? JSON.parse(text) : {};
  if (!response.ok) throw new Refusal(response.status, answer.error);
  return answer;
}
