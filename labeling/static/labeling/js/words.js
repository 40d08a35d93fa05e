/** The page's words in the reader's language, from its template. */

const list = document.querySelector("template[data-words]")?.content.children ?? [];
const words = new Map([...list].map((word) => [word.dataset.word, word.textContent]));

/** The words called `name`, with `values` in the places that are named for them. */
export const say = (name, values = {}) =>
  words.get(name).replace(/\{(\w+)\}/g, (_place, key) => values[key]);
