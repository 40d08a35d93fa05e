/** What was answered: in the form's fields, and as the API takes it. */

const rankField = (form, alias) => form.elements.namedItem(`rank_${alias}`);

/** Alias → rank of those that have one. */
export function readRanks(form, aliases) {
  const values = aliases.map((alias) => [alias, Number(rankField(form, alias).value)]);
  return Object.fromEntries(values.filter(([, rank]) => rank));
}

export function readAnswers(form, aliases) {
  const data = new FormData(form);
  const answers = (kind, value) => Object.fromEntries(
    aliases.filter((a) => data.has(`${kind}_${a}`)).map((a) => [a, value(`${kind}_${a}`)]),
  );
  return {
    ranks: readRanks(form, aliases),
    ratings: answers("quality", (name) => Number(data.get(name))),
    flags: answers("flags", (name) => data.getAll(name)),
    note: data.get("note"),
  };
}

/** Fill the form; what the answers lack is cleared. */
export function writeAnswers(form, aliases, { ranks = {}, ratings = {}, flags = {}, note = "" }) {
  for (const alias of aliases) {
    rankField(form, alias).value = ranks[alias] ?? "";
    for (const pip of form.querySelectorAll(`[name="quality_${alias}"]`)) {
      pip.checked = Number(pip.value) === ratings[alias];
    }
    for (const box of form.querySelectorAll(`[name="flags_${alias}"]`)) {
      box.checked = Boolean(flags[alias]?.includes(box.value));
    }
  }
  form.elements.namedItem("note").value = note;
}
