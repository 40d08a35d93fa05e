/** Texts as text, as Markdown or raw: rendered by the server, swapped in here. */

import { readPage } from "./api.js";
import { all, one } from "./dom.js";

const barHeight = () => document.querySelector(".bar").offsetHeight;

/** What is too wide for its card scrolls; the keyboard must reach it. */
function reachScrollers() {
  for (const part of document.querySelectorAll(".markdown :is(.formula, .table)")) {
    if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
  }
}

/** Change the page by `change` while what is being read stays where it is. */
function inPlace(page, change) {
  const isRead = (card) => card.getBoundingClientRect().bottom > barHeight() + 40;
  const card = all("card", page).find(isRead);
  const before = card?.getBoundingClientRect().top;
  change();
  if (card && before < barHeight()) scrollBy(0, card.getBoundingClientRect().top - before);
}

/**
 * Switch all texts between views; an answer's alias marks what differs from it. After a change
 * `shown(name)` is called, `failed()` where the server gave none.
 */
export function enableViews(page, { shown, failed }) {
  const nav = one("views", page);
  const places = new Map(all("text").map((p) => [p.dataset.text, p]));
  const kept = new Map();
  let now = nav.dataset.views;
  // What raw goes back to.
  let base = now === "raw" ? "text" : now;
  let wanted = now;

  async function fetched(name) {
    const { textsUrl, compareUrl } = page.dataset;
    const isView = nav.querySelector(`[data-view="${name}"]`);
    const shown = await readPage(isView ? `${textsUrl}?view=${name}` : `${compareUrl}?a=${name}`);
    const texts = all("text", shown);
    if (!texts.length) throw new TypeError(name);
    return new Map(texts.map((text) => [text.dataset.text, [...text.childNodes]]));
  }

  function place(name, texts) {
    kept.set(now, new Map([...places].map(([key, element]) => [key, [...element.childNodes]])));
    now = name;
    inPlace(page, () => {
      for (const [key, element] of places) if (texts.has(key)) element.replaceChildren(...texts.get(key));
      shown(name);
      reachScrollers();
    });
    nav.dataset.views = name;
    for (const link of nav.children) link.ariaCurrent = link.dataset.view === name ? "true" : null;
  }

  async function show(name) {
    wanted = name;
    if (name === "text" || name === "markdown") {
      base = name;
      document.cookie = `view=${name};path=/;max-age=31536000;samesite=lax`;
    }
    const texts = kept.get(name) ?? await fetched(name).catch(() => null);
    // Pressed twice in a row, the last one counts.
    if (wanted !== name || now === name) return;
    if (texts) return place(name, texts);
    wanted = now;
    failed();
  }

  nav.addEventListener("click", (event) => {
    const name = event.target.dataset.view;
    if (!name || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    show(name);
  });
  reachScrollers();
  const other = (name) => (name === "markdown" ? "text" : base);
  return { toggle: (name) => show(wanted === name ? other(name) : name), now: () => now };
}
