/** What becomes of submissions: of the task on the page, and of those left behind. */

import { flash, flashNext } from "./flash.js";
import { draftOf, forget, keep } from "./kept.js";
import { openOutbox } from "./outbox.js";
import { showProblem, showState } from "./telling.js";
import { say } from "./words.js";

// Refusals that no change of the ranking mends.
const FINAL = ["assignment_closed", "submission_conflict", "edit_closed", "not_found"];

/**
 * The outbox of the page. `onward(news)` is called when the task of `form()` is done, `reopened()` when
 * it was refused, `free()` when one left behind is done.
 */
export function enableSubmitting(labeler, { form, onward, reopened, free }) {
  const isOnPage = (entry) => entry.id === form().dataset.assignment;

  function sent(entry, { status }) {
    forget(draftOf(entry.id));
    const late = status === "late";
    const news = { level: late ? "warning" : "success", text: say(late ? "late" : "saved") };
    if (isOnPage(entry)) return onward(news);
    flash(news);
    return free();
  }

  function waiting(entry, error) {
    const text = error.status ? error.message : say("waits");
    if (!isOnPage(entry)) showState(text, "bad");
    // By the next try the reader is elsewhere on the page.
    else if (form().querySelector("[data-banner-text]").textContent !== text) showProblem(form(), text);
  }

  function refused(entry, error) {
    const isFinal = FINAL.includes(error.code);
    if (isOnPage(entry)) {
      reopened();
      showState("");
      showProblem(form(), error.message, isFinal);
    } else if (isFinal) {
      flash({ level: "warning", text: say("not-taken", { reason: error.message }) });
      free();
    } else {
      keep(draftOf(entry.id), { ...entry.body, at: Date.now() });
      flashNext({ level: "warning", text: say("brought-back", { reason: error.message }) });
      location.assign(entry.page);
    }
  }

  return openOutbox(labeler, { sent, waiting, refused });
}
