// The keyboard: j/k and Enter on rows, / to search, g and a letter to go somewhere, ? for help.
import { openDialog } from "./palette.js";
import { turn } from "./switches.js";

let went = 0;

export function startKeys() {
  if (/Mac|iPhone|iPad/.test(navigator.platform)) {
    for (const it of document.querySelectorAll("[data-chord]")) it.textContent = `⌘${it.dataset.chord}`;
  }
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-open]");
    if (opener) openDialog(opener.dataset.open);
  });
  document.addEventListener("keydown", (event) => {
    if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      openDialog("palette");
      return;
    }
    if (event.metaKey || event.ctrlKey || event.altKey || isTyping(event.target) || document.querySelector("dialog[open]")) return;
    if (press(event)) event.preventDefault();
  });
}

function press(event) {
  const key = event.key;
  if (Date.now() - went < 1500) {
    went = 0;
    const place = document.querySelector(`[data-go="${CSS.escape(key)}"]`);
    if (place) place.click();
    return Boolean(place);
  }
  switch (key) {
    case "g": went = Date.now(); return true;
    case "j": return move(1);
    case "k": return move(-1);
    case "Enter": return open();
    case "x": return tick();
    case "/": return search();
    case "?": openDialog("help"); return true;
    case "t": turn("times"); return true;
    case "d": turn("theme"); return true;
    default: return false;
  }
}

function isTyping(target) {
  return target instanceof Element && (target.matches("input:not([type=checkbox], [type=radio]), textarea, select") || target.isContentEditable);
}

function rows() {
  return [...document.querySelectorAll("[data-row]")].filter((row) => row.offsetParent !== null);
}

function current(all) {
  const focused = document.activeElement?.closest("[data-row]");
  return all.indexOf(focused ?? all.find((row) => row.classList.contains("cursor")));
}

function move(by) {
  const all = rows();
  if (!all.length) return false;
  const at = current(all);
  const next = all[Math.min(Math.max(at + by, 0), all.length - 1)];
  for (const row of all) row.classList.toggle("cursor", row === next);
  const link = next.querySelector(".row-link") ?? next;
  link.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
  return true;
}

function open() {
  if (document.activeElement?.matches("a, button, summary, input")) return false;
  const link = rows().find((row) => row.classList.contains("cursor"))?.querySelector(".row-link");
  link?.click();
  return Boolean(link);
}

function tick() {
  const all = rows();
  const box = all[current(all)]?.querySelector("input[type=checkbox]");
  box?.click();
  return Boolean(box);
}

function search() {
  const field = document.querySelector("[data-search]");
  field?.focus();
  field?.select();
  return Boolean(field);
}
