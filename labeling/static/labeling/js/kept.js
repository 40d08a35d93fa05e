/** Unfinished work that the server does not have yet, kept in this browser. */

const key = (id) => `podium draft ${id}`;

export function keep(id, draft) {
  try {
    localStorage.setItem(key(id), JSON.stringify(draft));
  } catch {
    // A full or forbidden store: the server's draft is what there is.
  }
}

export const kept = (id) => JSON.parse(localStorage.getItem(key(id)));

export const forget = (id) => localStorage.removeItem(key(id));
