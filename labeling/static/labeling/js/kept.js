/** What this browser keeps; where its store is full or forbidden, nothing. */

/** The name of unfinished work that the server does not have. */
export const draftOf = (id) => `podium draft ${id}`;

export function keep(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch { /* the server has its own */ }
}

export function kept(key) {
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

export const forget = (key) => localStorage.removeItem(key);
