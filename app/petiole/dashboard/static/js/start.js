// The page of a graph: its drawing, and the command that starts the run that is being filled in.
import { startGraph } from "./graph.js";

const OPTIONS = [["thread_id", "--thread"], ["idempotency_key", "--idempotency-key"]];

if (document.getElementById("graph")) startGraph();

document.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-start]");
  if (form) tell(form, event.target.name === "json");
});

function tell(form, asJson) {
  const input = asJson || !form.querySelector('[name^="v."]') ? form.elements.json.value.trim() || "{}" : JSON.stringify(valuesOf(form));
  const words = ["petiole", "run", "start", quoted(form.dataset.start), "--input", quoted(input)];
  for (const [name, option] of OPTIONS) if (form.elements[name].value.trim()) words.push(option, quoted(form.elements[name].value.trim()));
  for (const tag of form.elements.tags.value.split(/[\s,]+/).filter(Boolean)) words.push("--tag", quoted(tag));
  const line = document.querySelector("#start-command .command");
  line.querySelector("code").textContent = words.join(" ");
  line.querySelector("[data-copy]").dataset.copy = words.join(" ");
}

function valuesOf(form) {
  const values = {};
  for (const field of form.querySelectorAll('[name^="v."]')) {
    if (!field.value && !(field.required && !field.dataset.kind)) continue;
    try {
      values[field.name.slice(2)] = field.dataset.kind ? JSON.parse(field.value) : field.value;
    } catch {
      // Not JSON yet: it comes into the command as soon as it is.
    }
  }
  return values;
}

function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\"'\"'")}'`;
}
