// What scripts add to parts of a page, also to those that came later: times, highlighted JSON.
import { highlight } from "./json.js";
import { showTimes } from "./times.js";

export function dress(part) {
  showTimes(part);
  for (const code of part.querySelectorAll("code[data-json]")) highlight(code);
}

document.addEventListener("petiole:changed", () => dress(document.body));
