// The page of a run: its graph, JSON fields that say what is wrong, commands that follow what is written.
import { startGraph } from "./graph.js";

startGraph();

document.addEventListener("input", (event) => {
  const field = event.target.closest("[data-json-field]");
  if (!field) return;
  const fault = faultOf(field.value);
  field.setAttribute("aria-invalid", String(Boolean(fault)));
  const said = field.form.querySelector(".fault");
  if (said) said.textContent = fault;
  const line = field.dataset.command && field.form.querySelector(".command");
  if (line && !fault) {
    const text = field.value.trim() ? `${field.dataset.command} --values ${quoted(JSON.stringify(JSON.parse(field.value)))}` : field.dataset.command;
    line.querySelector("code").textContent = text;
    line.querySelector("[data-copy]").dataset.copy = text;
  }
});

function faultOf(text) {
  if (!text.trim()) return "";
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    return `not JSON yet: ${error.message}`;
  }
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\"'\"'")}'`;
}

// A menu closes when something else is clicked, or by Escape.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});
