/** Writing a prompt, or editing one before it is accepted: turns and examples come and go. */

import * as desk from "./writing-desk.js";

const form = document.querySelector("[data-proposal], [data-editing]");
const isNew = "proposal" in form.dataset;
const { words } = desk;
const value = (name) => form.elements.namedItem(name)?.value ?? "";
const announce = (text) => { document.querySelector("[data-announce]").textContent = text; };

// --- rows -----------------------------------------------------------------------------------------

/** Rows of one kind, made from the page's own template. */
function rowsOf(kind, names) {
  const template = form.querySelector(`template[data-${kind}-template]`);
  const all = () => [...form.querySelectorAll(`fieldset[data-${kind}]`)];
  const fields = (row) => names.map((name) => row.querySelector(`[name=${name}]`));

  function number() {
    all().forEach((row, place) => {
      row.querySelector("[data-number]").textContent = place + 1;
      row.querySelector("[data-remove]").value = `remove-${kind}:${place}`;
    });
  }

  return {
    all,
    read: () => all().map((row) => Object.fromEntries(fields(row).map((f) => [f.name, f.value]))),
    add(content, { first = false } = {}) {
      const row = template.content.firstElementChild.cloneNode(true);
      for (const f of fields(row)) f.value = content[f.name] ?? "";
      if (first && all().length) all()[0].before(row);
      else template.before(row);
      number();
      return row;
    },
    remove(row) {
      const next = row.nextElementSibling?.matches("fieldset") ? row.nextElementSibling : null;
      const near = next ?? row.previousElementSibling;
      row.remove();
      number();
      near?.querySelector("textarea")?.focus();
    },
    replace(rows) {
      for (const row of all()) row.remove();
      for (const content of rows) this.add(content);
    },
  };
}

const turns = rowsOf("turn", ["role", "content"]);
const examples = form.querySelector("[data-few-shot]") && rowsOf("example", ["query", "response"]);

const actions = {
  "add-turn"() {
    const after = turns.read().at(-1)?.role;
    return turns.add({ role: after === "user" ? "assistant" : "user" });
  },
  "add-system": () => turns.add({ role: "system" }, { first: true }),
  "add-example": () => examples.add({}),
};

function act(button) {
  const row = button.closest("fieldset");
  if (actions[button.value]) {
    actions[button.value]().querySelector("textarea").focus();
    announce(words.added);
  } else if (button.matches("[data-remove]")) {
    (row.matches("[data-turn]") ? turns : examples).remove(row);
    announce(words.removed);
  } else return false;
  changed();
  return true;
}

form.addEventListener("click", (event) => {
  const button = event.target.closest("button[name=do]");
  if (button && act(button)) event.preventDefault();
});

function show() {
  const hasSystem = turns.read().some((turn) => turn.role === "system");
  form.querySelector("[data-add-system]").hidden = hasSystem;
  for (const area of form.querySelectorAll("textarea")) desk.grow(area);
  if (isNew) desk.showCounts(textsShown());
}

const textsShown = () => (value("kind") === "few-shot"
  ? [...form.querySelectorAll("[data-few-shot] textarea")].map((area) => area.value)
  : turns.read().map((turn) => turn.content));

let changed = show;

// --- a new prompt ---------------------------------------------------------------------------------

function fewShot() {
  return { instruction: value("instruction"), examples: examples.read(), query: value("last_query") };
}

function startWriting() {
  const asked = new URLSearchParams(location.search).get("from") ?? "";
  const copy = desk.localCopy(`${form.dataset.user}:prompt:${asked}`);
  const settings = ["pool", "use_case", "kind"];
  let busy = false;

  changed = () => {
    show();
    const chosen = Object.fromEntries(settings.map((name) => [name, value(name)]));
    const given = { id: value("application"), text: applicationText().textContent };
    if (copy.keep({ ...chosen, given, turns: turns.read(), fewShot: fewShot() })) desk.showState(words.keptHere);
  };

  const applicationText = () => form.querySelector("[data-application-text]");

  function giveApplication({ id, text }) {
    form.elements.namedItem("application").value = id;
    applicationText().textContent = text;
  }

  function restore() {
    const kept = copy.read();
    if (!kept) return;
    for (const name of settings) {
      const control = form.elements.namedItem(name);
      const known = control.options ? [...control.options].some((o) => o.value === kept[name]) : true;
      if (known) control.value = kept[name];
    }
    if (kept.given?.id && kept.pool === value("pool")) giveApplication(kept.given);
    turns.replace(kept.turns);
    examples.replace(kept.fewShot.examples);
    form.elements.namedItem("instruction").value = kept.fewShot.instruction;
    form.elements.namedItem("last_query").value = kept.fewShot.query;
    desk.showState(words.restored);
  }

  async function anotherApplication(after) {
    try {
      const answer = await desk.post(form.dataset.applicationUrl, { pool: value("pool"), after });
      giveApplication(answer ? { id: answer.application, text: answer.text } : { id: "", text: words.noApplication });
      changed();
    } catch (error) {
      desk.showState(error instanceof desk.Refusal ? error.message : words.trouble, "bad");
    }
  }

  function body() {
    const kind = value("kind");
    return {
      submission_id: value("submission_id"), pool: value("pool"), kind, use_case: value("use_case"),
      messages: kind === "few-shot" ? [] : turns.read(),
      few_shot: kind === "few-shot" ? fewShot() : null,
      application: kind === "user-based" && value("application") ? value("application") : null,
    };
  }

  function areaAt({ turn, part }) {
    if (turn !== undefined) return turns.all()[turn]?.querySelector("textarea");
    const [, place, name] = part?.match(/^examples\[(\d+)\]\.(\w+)$/) ?? [];
    if (place) return examples.all()[place]?.querySelector(`[name=${name}]`);
    return form.elements.namedItem(part === "query" ? "last_query" : part ?? "") ?? null;
  }

  function refuse(text, control) {
    desk.showState("");
    desk.showProblem(text);
    if (!control) return;
    control.ariaInvalid = "true";
    control.focus();
  }

  async function submit() {
    if (busy) return;
    for (const area of form.querySelectorAll("[aria-invalid]")) area.ariaInvalid = null;
    if (!value("use_case")) return refuse(words.chooseUseCase, form.elements.namedItem("use_case"));
    busy = true;
    desk.showProblem("");
    desk.showState(words.submitting);
    try {
      await desk.post(form.dataset.submitUrl, body());
      copy.drop();
      desk.leave(form);
    } catch (error) {
      busy = false;
      if (error instanceof desk.Refusal) refuse(error.message, areaAt(error.data));
      else refuse(words.submitOffline);
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (event.submitter?.value === "submit") submit();
  });
  form.addEventListener("click", (event) => {
    if (event.target.closest("button")?.value !== "other-use-case") return;
    event.preventDefault();
    anotherApplication(value("application") || null);
  });
  form.elements.namedItem("pool").addEventListener("change", () => anotherApplication(null));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    submit();
  });
  desk.enablePreview(form);
  restore();
}

if (isNew) startWriting();
form.addEventListener("input", () => changed());
show();
