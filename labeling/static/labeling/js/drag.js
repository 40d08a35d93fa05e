/**
 * Carrying a thing by mouse, finger or pen: it is pressed, lifted, carried, then let go or given up.
 *
 * Nothing on the page is moved meanwhile: a copy follows the pointer, and whoever asked is told what
 * happens. Escape, a cancelled pointer and a lost capture all give up.
 */

// A press becomes a pull after so many pixels; a click of a shaking hand stays a click.
const PULL = 4;
// A finger that rests so long, in ms and pixels, does not want to scroll.
const REST = 250;
const STRAY = 8;

const GLIDE = { duration: 120, easing: "ease-out" };
const still = matchMedia("(prefers-reduced-motion: reduce)");

const at = (x, y) => `translate(${x}px, ${y}px)`;

/** A picture of `item`, as large as it is, to be moved by its transform alone. */
function copyOf(item, { width, height }) {
  const copy = item.cloneNode(true);
  copy.classList.add("carried");
  copy.inert = true;
  Object.assign(copy.style, { width: `${width}px`, height: `${height}px` });
  document.body.append(copy);
  return copy;
}

/** Let `copy` go home, and away. */
function glide(copy, home) {
  const { left, top, width } = home.getBoundingClientRect();
  if (!width || still.matches) return copy.remove();
  return copy.animate({ transform: at(left, top) }, GLIDE).finished.then(() => copy.remove());
}

/**
 * Let things on `page` be carried.
 *
 * `grab(event)` says what a press takes hold of: {item, rest}, or null; with `rest` it is lifted once
 * the finger has rested on it, and scrolling stays with the browser until then. `lifted(item)` and,
 * for every frame, `carried(item, x, y)` follow; `ended(item, place)` has {x, y} where it was let go,
 * undefined where it was given up, and returns the element that the copy goes home to.
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
    copy.style.transform = at(x + left, y + top);
    if (pulled) carried(item, x, y);
    load.frame = requestAnimationFrame(follow);
  }

  function end(place) {
    const { item, copy, pulled, frame, timer, listening } = load;
    load = null;
    listening.abort();
    clearTimeout(timer);
    cancelAnimationFrame(frame);
    // Where a finger only rested, the page may have opened a place beneath it.
    if (copy) glide(copy, ended(item, pulled ? place : undefined));
  }

  page.addEventListener("pointerdown", press);
  // What was lifted after a rest has no touch-action of its own: here the finger stops scrolling.
  const hold = (event) => { if (load?.copy && event.cancelable) event.preventDefault(); };
  for (const source of page.querySelectorAll("[data-source]")) {
    source.addEventListener("touchmove", hold, { passive: false });
  }
}
