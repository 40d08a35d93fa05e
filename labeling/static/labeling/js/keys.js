/** Which key means what on the ranking page; what it does is the page's business. */

const ARROWS = { ArrowDown: 1, ArrowUp: -1 };
// In another alphabet, the key's place says which letter is meant.
const letterOf = (key, code) =>
  (key > "~" || key === "Process" ? code.replace("Key", "") : key).toLowerCase();
const LETTERS = {
  j: ["focus", 1], k: ["focus", -1], o: ["open"], f: ["flags"], m: ["view", "markdown"],
  r: ["view", "raw"], u: ["undo"], c: ["compare"], d: ["differ"], t: ["alike"], escape: ["unpick"],
};

/** The action of a key as [name, argument]; null where it keeps its own meaning. */
export function actionOf(event, target = event.target) {
  const { key, code, shiftKey: shift } = event;
  if (event.altKey) return null;
  if (event.ctrlKey || event.metaKey) return key === "Enter" ? ["submit"] : null;
  if (target.closest?.("textarea, select, dialog, input:not([type=radio], [type=checkbox])")) return null;
  if (key === "?") return ["keys"];
  if (key === "=") return ["tie"];
  // By place: on a French keyboard digits need Shift, on others Shift makes a sign.
  const digit = Number(/^(?:Digit|Numpad)([1-9])$/.exec(code)?.[1]);
  if (digit) return [shift ? "rate" : "place", digit];
  if (key in ARROWS && target.type !== "radio") return [shift ? "shift" : "focus", ARROWS[key]];
  if (key === "Backspace" || key === "Delete") return ["unplace"];
  const letter = letterOf(key, code);
  if (shift) return letter === "u" ? ["redo"] : null;
  return LETTERS[letter] ?? null;
}

/** Do what the key asks for, where it is one of `actions`. */
export function act(event, actions, target) {
  const [name, argument] = actionOf(event, target) ?? [];
  if (!actions[name]) return;
  event.preventDefault();
  // What a key may do again while it is held down.
  if (!event.repeat || name === "focus" || name === "shift") actions[name](argument);
}
