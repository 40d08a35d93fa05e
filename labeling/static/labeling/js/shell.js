/** On every page: the theme switch, menus that close, a word from the page before. */

import { showFlash } from "./flash.js";

const root = document.documentElement;

function switchTheme() {
  const dark = getComputedStyle(root).colorScheme === "dark"
    || (root.dataset.theme === "" && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = dark ? "light" : "dark";
  document.cookie = `theme=${root.dataset.theme};path=/;max-age=31536000;samesite=lax`;
}

function closeMenus(event) {
  for (const menu of document.querySelectorAll("[data-menu][open]")) {
    if (event.key === "Escape" || (event.type === "click" && !menu.contains(event.target))) {
      menu.open = false;
      if (event.key === "Escape") menu.querySelector("summary").focus();
    }
  }
}

document.querySelector("[data-theme-switch]")?.addEventListener("click", switchTheme);
document.addEventListener("click", closeMenus);
document.addEventListener("keydown", closeMenus);
showFlash();
