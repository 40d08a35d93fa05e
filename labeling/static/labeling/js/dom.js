/** Parts of a page, by what names them: `data-…`. */

export const one = (name, within = document) => within.querySelector(`[data-${name}]`);

export const all = (name, within = document) => [...within.querySelectorAll(`[data-${name}]`)];
