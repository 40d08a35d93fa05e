import assert from "node:assert/strict";
import { test } from "node:test";

import {
  createOrder, moved, nextUnplaced, onRank, place, rankOf, record, redo, shift, startHistory,
  tie, tiedWith, undo, unplace, unplaced,
} from "../../labeling/static/labeling/js/order.js";

const four = () => createOrder(["A", "B", "C", "D"]);
const placing = (order, ranks) =>
  Object.entries(ranks).reduce((now, [alias, rank]) => place(now, alias, rank), order);

test("nothing is ranked to begin with", () => {
  assert.deepEqual(unplaced(four()), ["A", "B", "C", "D"]);
  assert.equal(unplaced(four()).length, 4);
});

test("a draft is restored, and what does not fit in it is left out", () => {
  const order = createOrder(["A", "B"], { A: 2, B: 3, C: 1 });
  assert.deepEqual(order.ranks, { A: 2 });
  assert.deepEqual(createOrder(["A", "B"], { A: "1", B: 1.5 }).ranks, {});
});

test("a complete order has every alias on a rank, ties and gaps allowed", () => {
  const order = placing(four(), { A: 1, B: 1, C: 3, D: 3 });
  assert.deepEqual(unplaced(order), []);
  assert.deepEqual(onRank(order, 1), ["A", "B"]);
  assert.deepEqual(onRank(order, 2), []);
});

test("placing again moves, placing on the same rank changes nothing", () => {
  const order = place(four(), "B", 2);
  assert.equal(rankOf(place(order, "B", 4), "B"), 4);
  assert.equal(place(order, "B", 2), order);
});

test("an unknown alias or a rank outside 1..K changes nothing", () => {
  const order = four();
  for (const [alias, rank] of [["Z", 1], ["A", 0], ["A", 5], ["A", 1.5], ["A", Number.NaN]]) {
    assert.equal(place(order, alias, rank), order);
  }
});

test("orders are never changed in place", () => {
  const order = place(four(), "A", 1);
  assert.throws(() => { "use strict"; order.ranks.A = 2; }, TypeError);
  place(order, "A", 2);
  assert.equal(rankOf(order, "A"), 1);
});

test("tie joins the card that was placed last", () => {
  const order = tie(placing(four(), { A: 3, B: 1 }), "C");
  assert.equal(rankOf(order, "C"), 1);
  assert.deepEqual(tiedWith(order, "C"), ["B"]);
});

test("a card that was placed last ties with the one before it", () => {
  assert.equal(rankOf(tie(placing(four(), { A: 3, B: 1 }), "B"), "B"), 3);
});

test("tie with nobody placed changes nothing", () => {
  const order = four();
  assert.equal(tie(order, "A"), order);
  const alone = place(order, "A", 1);
  assert.equal(tie(alone, "A"), alone);
});

test("unplace takes a card off and out of the ties to come", () => {
  const order = unplace(placing(four(), { A: 2, B: 1 }), "B");
  assert.equal(rankOf(order, "B"), null);
  assert.equal(rankOf(tie(order, "C"), "C"), 2);
  assert.equal(unplace(order, "D"), order);
});

test("a card that moves alone changes places with those it meets", () => {
  const order = shift(placing(four(), { A: 1, B: 2, C: 2 }), "A", 1);
  assert.deepEqual(order.ranks, { A: 2, B: 1, C: 1 });
});

test("a card leaves its tie without pulling the others along", () => {
  const order = shift(placing(four(), { A: 1, B: 1, C: 2 }), "B", 1);
  assert.deepEqual(order.ranks, { A: 1, B: 2, C: 2 });
});

test("no card moves off the board's ends, and an unplaced card does not move", () => {
  const order = placing(four(), { A: 1, D: 4 });
  assert.equal(shift(order, "A", -1), order);
  assert.equal(shift(order, "D", 1), order);
  assert.equal(shift(order, "B", 1), order);
});

test("the next unplaced card is the following one, round the end", () => {
  const order = placing(four(), { C: 1 });
  assert.equal(nextUnplaced(order, "B"), "D");
  assert.equal(nextUnplaced(order, "D"), "A");
  assert.equal(nextUnplaced(placing(order, { A: 1, B: 1, D: 1 }), "A"), null);
});

test("undo and redo walk through every change", () => {
  let history = startHistory(four());
  history = record(history, place(history.present, "A", 1));
  history = record(history, place(history.present, "B", 2));
  history = undo(history);
  assert.deepEqual(history.present.ranks, { A: 1 });
  history = undo(undo(history));
  assert.deepEqual(history.present.ranks, {});
  history = redo(redo(redo(history)));
  assert.deepEqual(history.present.ranks, { A: 1, B: 2 });
});

test("a new change forgets what was undone, no change forgets nothing", () => {
  let history = record(startHistory(four()), place(four(), "A", 1));
  history = undo(history);
  assert.equal(record(history, history.present), history);
  history = record(history, place(history.present, "B", 1));
  assert.equal(redo(history).present, history.present);
});

test("what an undo concerns is the one that moved; of several, the one in hand", () => {
  const before = placing(four(), { A: 1, B: 2 });
  assert.equal(moved(before, place(before, "C", 1), "A"), "C");
  assert.equal(moved(place(before, "C", 1), before, "A"), "C");
  assert.equal(moved(before, shift(before, "B", -1), "B"), "B");
  assert.equal(moved(before, shift(before, "B", -1), "D"), "A");
});
