/**
 * Who stands on which rank: pure functions on frozen orders of aliases as shown, ranks (1 is best,
 * equal ones tie) and the trail of placing. A change returns a new order, or the same when nothing changed.
 */

const make = (aliases, ranks, trail) =>
  Object.freeze({ aliases, ranks: Object.freeze(ranks), trail: Object.freeze(trail) });

/** An order of `aliases` with the valid ones of `ranks` placed. */
export function createOrder(aliases, ranks = {}) {
  const placed = aliases.filter((alias) => fits(ranks[alias], aliases));
  return make(
    aliases,
    Object.fromEntries(placed.map((alias) => [alias, ranks[alias]])),
    placed,
  );
}

const fits = (rank, aliases) => Number.isInteger(rank) && rank >= 1 && rank <= aliases.length;

export const rankOf = (order, alias) => order.ranks[alias] ?? null;

export const onRank = (order, rank) =>
  order.aliases.filter((alias) => order.ranks[alias] === rank);

export const unplaced = (order) => order.aliases.filter((alias) => !(alias in order.ranks));

export const tiedWith = (order, alias) =>
  alias in order.ranks ? onRank(order, order.ranks[alias]).filter((other) => other !== alias) : [];

/** Put `alias` on `rank`, beside whoever stands there. */
export function place(order, alias, rank) {
  if (!order.aliases.includes(alias) || !fits(rank, order.aliases)) return order;
  if (order.ranks[alias] === rank) return order;
  const trail = [...order.trail.filter((other) => other !== alias), alias];
  return make(order.aliases, { ...order.ranks, [alias]: rank }, trail);
}

/** Put `alias` beside the one that was placed last before it. */
export function tie(order, alias) {
  const before = order.trail.filter((other) => other !== alias).at(-1);
  return before === undefined ? order : place(order, alias, order.ranks[before]);
}

export function unplace(order, alias) {
  if (!(alias in order.ranks)) return order;
  const { [alias]: _gone, ...ranks } = order.ranks;
  return make(order.aliases, ranks, order.trail.filter((other) => other !== alias));
}

/** Move `alias` by `step` ranks; one that stood alone changes places with those it meets. */
export function shift(order, alias, step) {
  const from = order.ranks[alias];
  const to = from + step;
  if (from === undefined || !fits(to, order.aliases)) return order;
  const met = tiedWith(order, alias).length ? [] : onRank(order, to);
  const swapped = met.reduce((ranks, other) => ({ ...ranks, [other]: from }), order.ranks);
  return make(order.aliases, { ...swapped, [alias]: to }, order.trail);
}

/** The unplaced alias that follows `alias` as shown, or null. */
export function nextUnplaced(order, alias) {
  const start = order.aliases.indexOf(alias) + 1;
  const round = [...order.aliases.slice(start), ...order.aliases.slice(0, start)];
  return round.find((other) => !(other in order.ranks)) ?? null;
}

/** The alias whose rank differs between two orders; of several `favourite`, where it is one. */
export function moved(before, after, favourite) {
  const all = after.aliases.filter((alias) => before.ranks[alias] !== after.ranks[alias]);
  return all.includes(favourite) ? favourite : all[0];
}

export const startHistory = (order) => ({ past: [], present: order, future: [] });

export function record(history, order) {
  if (order === history.present) return history;
  return { past: [...history.past, history.present], present: order, future: [] };
}

export function undo({ past, present, future }) {
  if (!past.length) return { past, present, future };
  return { past: past.slice(0, -1), present: past.at(-1), future: [present, ...future] };
}

export function redo({ past, present, future }) {
  if (!future.length) return { past, present, future };
  return { past: [...past, present], present: future[0], future: future.slice(1) };
}
