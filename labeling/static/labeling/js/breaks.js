/** A reminder of breaks: it counts the minutes at work of all tabs together. */

import { keep, kept } from "./kept.js";

const KEY = "at-work";
const TICK = 15_000;
// So long without a hand, nobody works; so long, it was a break.
const IDLE = 60_000;
const BREAK = 5 * 60_000;

/** The state after a hand at `active`: milliseconds at work, the last hand, the last reminder. */
export function counted(state, active) {
  const pause = active - state.active;
  if (pause <= 0) return state;
  if (pause > BREAK) return { worked: 0, active, reminded: 0 };
  return { ...state, worked: state.worked + (pause > IDLE ? 0 : pause), active };
}

function stored(now) {
  const state = kept(KEY);
  const isOurs = Number.isFinite(state?.worked + state?.active + state?.reminded);
  return isOurs ? state : { worked: 0, active: now, reminded: 0 };
}

function start(place) {
  const every = Number(place.dataset.breaks) * 60_000;
  let lastActive = Date.now();
  for (const sign of ["pointerdown", "pointermove", "keydown", "wheel", "scroll"]) {
    addEventListener(sign, () => { lastActive = Date.now(); }, { passive: true, capture: true });
  }
  const tick = () => {
    const state = counted(stored(lastActive), lastActive);
    if (state.worked - state.reminded >= every && !place.querySelector(".break-words")) {
      state.reminded = state.worked;
      place.append(place.querySelector("template").content.cloneNode(true));
    }
    keep(KEY, state);
  };
  place.addEventListener("click", ({ target }) => {
    if (target.closest("[data-break-later]")) place.querySelector(".break-words").remove();
  });
  setInterval(tick, TICK);
  tick();
}

const place = globalThis.document?.querySelector("[data-breaks]");
if (place) start(place);
