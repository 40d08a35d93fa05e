/** What the pages for writing share: talking to the server, copies in the browser, counts, preview. */

import { one } from "./dom.js";
import { flashNext } from "./flash.js";

const COPY_PREFIX = "podium:writing:";
const COPY_DAYS = 30;
const SLOW_COUNT = 20_000;

const cookie = (name) => document.cookie.match(`(?:^|; )${name}=([^;]*)`)?.[1];

/** The page's sentences, in the reader's language. */
export const words = one("words-said").dataset;

/** A refusal by the server: {error: {code, message, data}}. */
export class Refusal extends Error {
  constructor(status, { code, message, data } = {}) {
    super(status === 401 ? words.signedOut : message ?? words.trouble);
    Object.assign(this, { status, code: code ?? "", data: data ?? {} });
  }
}

/** The answer's content, or null where it has none. Throws Refusal, or TypeError without a network. */
export async function post(url, body) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": cookie("csrftoken") ?? "" },
    body: JSON.stringify(body),
  });
  const isJson = response.headers.get("Content-Type")?.includes("json");
  const answer = isJson ? await response.json() : null;
  if (!response.ok) throw new Refusal(response.status, answer?.error);
  return answer;
}

export function showProblem(text) {
  one("banner-text").textContent = text;
  one("banner").hidden = !text;
  if (text) one("banner").scrollIntoView({ block: "nearest" });
}

export function showState(text, level = "") {
  one("save-state").textContent = text;
  one("save-state").dataset.level = level;
}

/** On to the next page, which says that it is done. */
export function leave(form) {
  flashNext({ level: "success", text: form.dataset.saved });
  location.assign(form.dataset.next);
}

// --- a copy in this browser -----------------------------------------------------------------------

function dropOldCopies() {
  const now = Date.now();
  for (const key of Object.keys(localStorage).filter((name) => name.startsWith(COPY_PREFIX))) {
    const { at = 0 } = JSON.parse(localStorage.getItem(key)) ?? {};
    if (now - at > COPY_DAYS * 86_400_000) localStorage.removeItem(key);
  }
}

/** A copy that outlives the page, under a name with the person's: another one never sees it. */
export function localCopy(name) {
  const key = COPY_PREFIX + name;
  // A browser may forbid or be out of storage: then there is no copy, and the work goes on.
  const attempt = (action) => { try { return action(); } catch { return null; } };
  attempt(dropOldCopies);
  return {
    read: () => attempt(() => JSON.parse(localStorage.getItem(key))),
    keep: (copy) => attempt(() => {
      localStorage.setItem(key, JSON.stringify({ ...copy, at: Date.now() }));
      return true;
    }),
    drop: () => attempt(() => localStorage.removeItem(key)),
  };
}

// --- texts ----------------------------------------------------------------------------------------

function wordCount(text) {
  if (text.length > SLOW_COUNT || !Intl.Segmenter) return text.split(/\s+/u).filter(Boolean).length;
  const segments = new Intl.Segmenter(undefined, { granularity: "word" }).segment(text);
  return [...segments].filter((segment) => segment.isWordLike).length;
}

/** Characters as the server counts them: a surrogate pair is one. */
const characterCount = (text) => text.length - (text.match(/[\uD800-\uDBFF][\uDC00-\uDFFF]/g)?.length ?? 0);

export function showCounts(texts) {
  const sum = (count) => texts.reduce((total, text) => total + count(text), 0).toLocaleString();
  one("characters").textContent = sum(characterCount);
  one("words").textContent = sum(wordCount);
}

/** A text area as high as its text, where the browser does not do that by itself. */
export function grow(area) {
  if (CSS.supports("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}

// --- the page's own buttons, answered in place ----------------------------------------------------

/** The page that the form's button `action` leads to, as a document. */
async function answered(form, action) {
  const body = new FormData(form);
  body.set("do", action);
  const token = cookie("csrftoken");
  if (token) body.set("csrfmiddlewaretoken", token);
  const response = await fetch(location.href, { method: "POST", body });
  if (!response.ok || response.redirected) throw new Error(response.status);
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

const fill = (target, source) => target.replaceChildren(...source.childNodes);

/** Switch between writing and reading what was written, as the server renders it. */
export function enablePreview(form) {
  const [write, show] = [one("write"), one("show-preview")];
  const [sheet, preview] = [one("sheet"), one("preview")];

  function turn(shows) {
    sheet.hidden = shows;
    preview.hidden = !shows;
    write.ariaPressed = String(!shows);
    show.ariaPressed = String(shows);
  }

  show.addEventListener("click", async (event) => {
    event.preventDefault();
    try {
      const page = await answered(form, "preview");
      fill(preview, page.querySelector("[data-preview]"));
      turn(true);
      preview.focus();
    } catch {
      showState(words.noPreview, "bad");
    }
  });
  write.addEventListener("click", (event) => {
    event.preventDefault();
    turn(false);
    sheet.querySelector("textarea").focus();
  });
  turn(false);
}

/** Show the prompt as text, Markdown or raw, without leaving what is being written. */
export function enableViews(form) {
  const nav = one("views");
  nav.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    event.preventDefault();
    try {
      fill(one("brief"), (await answered(form, button.value)).querySelector("[data-brief]"));
      for (const other of nav.children) other.ariaCurrent = other === button ? "true" : null;
    } catch {
      showState(words.noPreview, "bad");
    }
  });
}
