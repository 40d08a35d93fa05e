/** Carrying a copy of a thing by mouse, finger or pen. Escape and a lost pointer give up. */

// A press is a pull after so many pixels.
const PULL = 4;
// A finger that rests so (ms, pixels) does not scroll.
const REST = 250;
const STRAY = 8;

/** A picture of `item`, moved by its transform alone. */
function copyOf(item, { width, height }) {
  const copy = item.cloneNode(true);
  copy.classList.add("carried");
  copy.inert = true;
  Object.assign(copy.style, { width: `${width}px`, height: `${height}px` });
  document.body.append(copy);
  return copy;
}

/**
 * Let things on `page` be carried. `grab(event)` gives {item, rest} or null; with `rest` a finger must
 * rest on it first. `lifted(item)` and, each frame, `carried(item, x, y)` follow; then `ended(item, place)`,
 * without a place when given up.
 */
export function enableCarrying(page, { grab, lifted, carried, ended }) {
  let load = null;

  function press(event) {
    if (load || !event.isPrimary || event.button || event.ctrlKey) return;
    const grabbed = grab(event);
    if (!grabbed) return;
    const { pointerId: id, clientX: x, clientY: y } = event;
    load = { ...grabbed, id, x, y, from: { x, y }, listening: new AbortController() };
    listen({
      pointermove: move,
      pointerup: ({ clientX, clientY }) => end({ x: clientX, y: clientY }),
      pointercancel: () => end(),
      // The browser's own capture of a finger is lost when the page takes it over.
      lostpointercapture: ({ target }) => { if (target === page) end(); },
    });
    if (load.rest) load.timer = setTimeout(lift, REST);
  }

  function listen(reactions) {
    const { id, listening: { signal } } = load;
    for (const [kind, react] of Object.entries(reactions)) {
      addEventListener(kind, (event) => { if (event.pointerId === id) react(event); }, { signal });
    }
    addEventListener("contextmenu", (event) => event.preventDefault(), { signal });
    addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      end();
    }, { signal, capture: true });
  }

  function move({ clientX: x, clientY: y, buttons }) {
    // Let go where the page did not see it, outside the window.
    if (!(buttons & 1)) return end();
    Object.assign(load, { x, y });
    const way = Math.hypot(x - load.from.x, y - load.from.y);
    load.pulled ||= way > PULL;
    if (load.copy || way <= (load.rest ? STRAY : PULL)) return undefined;
    return load.rest ? end() : lift();
  }

  function lift() {
    const { item, id, from } = load;
    const box = item.getBoundingClientRect();
    page.setPointerCapture(id);
    Object.assign(load, { copy: copyOf(item, box), left: box.left - from.x, top: box.top - from.y });
    lifted(item);
    follow();
  }

  function follow() {
    const { item, copy, pulled, x, y, left, top } = load;
    copy.style.transform = `translate(${x + left}px, ${y + top}px)`;
    if (pulled) carried(item, x, y);
    load.frame = requestAnimationFrame(follow);
  }

  function end(place) {
    const { item, copy, pulled, frame, timer, listening } = load;
    load = null;
    listening.abort();
    clearTimeout(timer);
    cancelAnimationFrame(frame);
    // A finger that only rested may have a place opened beneath it.
    if (!copy) return;
    copy.remove();
    ended(item, pulled ? place : undefined);
  }

  page.addEventListener("pointerdown", press);
  // What was lifted after a rest has no touch-action: here the finger stops scrolling.
  const hold = (event) => { if (load?.copy && event.cancelable) event.preventDefault(); };
  for (const source of page.querySelectorAll("[data-source]")) {
    source.addEventListener("touchmove", hold, { passive: false });
  }
}
