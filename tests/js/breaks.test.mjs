import assert from "node:assert/strict";
import test from "node:test";

import { counted } from "../../labeling/static/labeling/js/breaks.js";

const minute = 60_000;

test("only time at work counts", () => {
  let state = { worked: 0, active: 0, reminded: 0 };
  for (let at = 15_000; at <= 10 * minute; at += 15_000) state = counted(state, at);
  assert.equal(state.worked, 10 * minute);
});

test("a look away is neither work nor a break", () => {
  const state = counted({ worked: 30 * minute, active: 0, reminded: 0 }, 3 * minute);
  assert.equal(state.worked, 30 * minute);
  assert.equal(counted(state, 3.5 * minute).worked, 30.5 * minute);
});

test("five minutes away are a break, and counting starts anew", () => {
  const state = counted({ worked: 70 * minute, active: 0, reminded: 60 * minute }, 6 * minute);
  assert.deepEqual(state, { worked: 0, active: 6 * minute, reminded: 0 });
});

test("another tab's hand is not counted twice", () => {
  const once = counted({ worked: 0, active: 0, reminded: 0 }, 20_000);
  assert.equal(counted(once, 20_000), once);
  assert.equal(counted(once, 10_000), once);
});
