/** Comparing on the ranking page: two answers side by side, or all against one. */

import { readPage } from "./api.js";
import { all, one } from "./dom.js";
import { act } from "./keys.js";
import { rankOf } from "./order.js";
import { announce, showState } from "./telling.js";
import { say } from "./words.js";

/** Let one text scroll with the other, each as far through as the other is. */
function scrollTogether(dialog) {
  let led = null;
  dialog.addEventListener("scroll", ({ target }) => {
    const other = all("side-text", dialog).find((text) => text !== target);
    const room = (text) => text.scrollHeight - text.clientHeight;
    if (target === led || !other || !room(target)) led = null;
    else {
      const before = other.scrollTop;
      other.scrollTop = target.scrollTop / room(target) * room(other);
      if (other.scrollTop !== before) led = other;
    }
  }, true);
}

/** Bind what compares the `cards` of `form`; `page` has their order, and changes it. */
export function enableComparing(form, cards, page) {
  const dialog = one("beside", form);
  let picked = null;
  let against = null;
  let side = null;
  let back = null;

  function hint(name, alias) {
    const pill = one(name, form);
    const hadFocus = pill.contains(document.activeElement);
    pill.hidden = !alias;
    for (const [other, card] of cards) card.toggleAttribute(`data-is-${name}`, other === alias);
    if (hadFocus && !alias) page.focus(page.current());
    if (!alias) return;
    one("hint", pill).textContent = say(name, { alias });
    announce(say(name, { alias }));
  }

  function pick(alias) {
    const first = picked;
    picked = first ? null : alias;
    hint("picked", picked);
    if (!first) return;
    if (alias && alias !== first) open(`?a=${first}&b=${alias}&view=${page.views.now()}`);
    else announce(say("unpicked", { alias: first }));
  }

  function differ() {
    const alias = against ?? picked ?? page.current();
    if (picked) pick();
    page.views.toggle(alias);
  }

  const sides = () => all("side", dialog);
  const other = () => sides().map((part) => part.dataset.side).find((alias) => alias !== side);
  const turn = (index) => one("side-text", sides()[index]).focus();

  async function open(address) {
    const found = await readPage(form.dataset.compareUrl + address)
      .then((page) => one("comparison", page)).catch(() => null);
    if (!form.isConnected) return undefined;
    if (!found) return showState(say("view-failed"), "bad");
    const at = sides().findIndex((part) => part.dataset.side === side);
    // What was revealed on the page is revealed here.
    for (const veil of all("veil", found)) veil.open = one("veil", form).open;
    dialog.replaceChildren(found);
    for (const part of sides()) offerRanks(part);
    if (!dialog.open) {
      back = [page.current(), scrollY];
      dialog.showModal();
    }
    shown();
    return turn(Math.max(at, 0));
  }

  function offerRanks(part) {
    const field = form.elements.namedItem(`rank_${part.dataset.side}`).cloneNode(true);
    Object.assign(field, { id: "", name: "" });
    one("side-rank", part).append(field);
    field.addEventListener("change", () => page.move(part.dataset.side, Number(field.value)));
  }

  function shown() {
    for (const part of sides()) part.querySelector("select").value = rankOf(page.order(), part.dataset.side) ?? "";
  }

  const acts = {
    place(rank) {
      page.move(side, rank);
      if (!(other() in page.order().ranks)) turn(sides().findIndex((part) => part.dataset.side !== side));
    },
    /** This side beside the other; where only this one has a rank, the other beside it. */
    tie() {
      const { ranks } = page.order();
      const [moved, fixed] = other() in ranks ? [side, other()] : [other(), side];
      if (fixed in ranks) page.move(moved, ranks[fixed]);
      else announce(say("neither-ranked"));
    },
    unplace: () => page.move(side, 0),
    undo: page.undo,
    redo: page.redo,
    compare: () => dialog.close(),
    differ: () => one("pair", dialog).click(),
  };

  dialog.addEventListener("keydown", (event) => {
    if (event.target.matches("select")) return;
    const way = ["ArrowLeft", "ArrowRight"].indexOf(event.key);
    if (way >= 0) turn(way);
    act(event, acts, document.body);
  });
  dialog.addEventListener("focusin", ({ target }) => {
    const now = target.closest("[data-side]");
    if (!now) return;
    side = now.dataset.side;
    for (const part of sides()) part.toggleAttribute("data-current", part === now);
  });
  dialog.addEventListener("close", () => {
    dialog.replaceChildren();
    page.focus(back[0]);
    scrollTo(0, back[1]);
  });
  scrollTogether(dialog);

  const clicks = {
    compare: (link) => pick(link.dataset.compare),
    pair: (link) => open(link.search),
    close: acts.compare,
    "tie-both": acts.tie,
    differ,
    unpick: () => pick(),
  };
  form.addEventListener("click", (event) => {
    const name = Object.keys(clicks).find((key) => event.target.closest(`[data-${key}]`));
    if (!name || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    clicks[name](event.target.closest(`[data-${name}]`));
  });

  return {
    differ, shown,
    pick: () => pick(page.current()),
    unpick: () => picked && pick(),
    /** The texts are in the view `name`; an alias: marked against that answer. */
    viewed(name) {
      against = cards.has(name) ? name : null;
      hint("against", against);
    },
  };
}
