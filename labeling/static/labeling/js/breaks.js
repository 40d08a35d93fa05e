/** A reminder of breaks: it counts minutes at work, in all tabs together, and waits in a corner. */

const KEY = "at-work";
const TICK = 15_000;
// So long without a hand on it, a page is not being worked on; so long a pause was a break.
const IDLE = 60_000;
const BREAK = 5 * 60_000;

/**
 * What stands once a hand was on a page at `active`: milliseconds at work, when the last hand was on
 * one, and at how many milliseconds was reminded last. All in all tabs together.
 */
export function counted(state, active) {
  const pause = active - state.active;
  if (pause <= 0) return state;
  if (pause > BREAK) return { worked: 0, active, reminded: 0 };
  return { ...state, worked: state.worked + (pause > IDLE ? 0 : pause), active };
}

function stored(now) {
  try {
    const state = JSON.parse(localStorage.getItem(KEY));
    if (Number.isFinite(state?.worked + state?.active + state?.reminded)) return state;
  } catch { /* another version's, or storage is off */ }
  return { worked: 0, active: now, reminded: 0 };
}

function keep(state) {
  try {
    localStorage.setItem(KEY, JSON.stringify(state));
  } catch { /* storage is off: the page counts for itself alone */ }
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
    keep(state);
  };
  place.addEventListener("click", ({ target }) => {
    if (target.closest("[data-break-later]")) place.querySelector(".break-words").remove();
  });
  setInterval(tick, TICK);
  tick();
}

const place = globalThis.document?.querySelector("[data-breaks]");
if (place) start(place);
