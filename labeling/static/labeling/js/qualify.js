/** An item of a qualification: the ranking page's board and keys on a plain form. */

import { readRanks } from "./answers.js";
import { enableArranging } from "./arranging.js";
import { all, one } from "./dom.js";
import { act } from "./keys.js";
import { unplaced } from "./order.js";
import { prepareReading } from "./reading.js";

const form = one("trial");
const cards = new Map(all("card", form).map((c) => [c.dataset.card, c]));
const kept = `trial ${form.dataset.trial}`;
let busy = false;

/** Ranks that were chosen before the page was loaded anew, in this tab. */
const keptRanks = () => JSON.parse(sessionStorage.getItem(kept) ?? "{}");

const desk = enableArranging(form, cards, { ...keptRanks(), ...readRanks(form, [...cards.keys()]) }, {
  shown: (order) => sessionStorage.setItem(kept, JSON.stringify(order.ranks)),
  changed() {},
  busy: () => busy,
});

form.addEventListener("submit", (event) => {
  if (busy || unplaced(desk.order()).length) {
    event.preventDefault();
    return;
  }
  busy = true;
  desk.show();
});
// Back from the next page, the form may be sent again: the server knows its submission.
addEventListener("pageshow", () => {
  busy = false;
  desk.show();
});
document.addEventListener("keydown", (event) => act(event, desk.actions));

prepareReading(form, cards);
desk.show();
