/** Flagging the prompt itself, without leaving the page. */

import { post } from "./api.js";
import { say } from "./words.js";

/** Let the prompt's form be sent; its fields belong to the ranking `form`. */
export function enableFlagging(form) {
  const fold = document.querySelector("[data-flagging]");
  const button = fold.querySelector("button");
  const fields = [...fold.querySelectorAll("input")];
  const tell = (text) => { fold.querySelector("[data-flag-state]").textContent = text; };

  button.addEventListener("click", async (event) => {
    event.preventDefault();
    const given = new FormData(form);
    const reason = given.get("flag_reason");
    if (!reason) {
      fields[0].focus();
      tell(say("flag-why"));
      return;
    }
    button.disabled = true;
    try {
      await post(button.dataset.flagUrl, { reason, detail: given.get("flag_detail") });
      for (const field of fields) field.checked = false;
      fields.at(-1).value = "";
      tell(say("flagged"));
    } catch (error) {
      tell(error.status ? error.message : say("flag-not-sent"));
    }
    button.disabled = false;
  });
}
