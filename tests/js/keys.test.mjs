import assert from "node:assert/strict";
import { test } from "node:test";

import { actionOf } from "../../labeling/static/labeling/js/keys.js";

const press = (key, code, more = {}) => actionOf({ key, code, ...more }, {});

test("a letter means the same with Caps Lock, in Hangul and in Cyrillic", () => {
  for (const key of ["j", "J", "ㅓ", "о", "Process"]) {
    assert.deepEqual(press(key, "KeyJ"), ["focus", 1], key);
  }
});

test("where letters are Latin, what is printed on the key counts, not its place", () => {
  assert.deepEqual(press("j", "KeyC"), ["focus", 1]);
  assert.equal(press(",", "KeyM"), null);
  assert.equal(press("é", "Digit2")[0], "place");
});

test("with Shift a letter means nothing, but for redo", () => {
  assert.equal(press("J", "KeyJ", { shiftKey: true }), null);
  assert.deepEqual(press("U", "KeyU", { shiftKey: true }), ["redo"]);
  assert.deepEqual(press("ㅕ", "KeyU", { shiftKey: true }), ["redo"]);
  assert.deepEqual(press("u", "KeyU", { shiftKey: true }), ["redo"]);
});

test("what is typed into a field, or held with Alt, keeps its meaning", () => {
  assert.equal(actionOf({ key: "j", code: "KeyJ" }, { closest: () => ({}) }), null);
  assert.equal(press("j", "KeyJ", { altKey: true }), null);
  assert.deepEqual(press("Escape", "Escape"), ["unpick"]);
});
