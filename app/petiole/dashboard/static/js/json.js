// JSON in colours. The text is not touched, only wrapped.
const PART = /("(?:\\.|[^"\\])*")(\s*:)?|\b(?:true|false|null)\b|-?\b\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b/g;

export function highlight(code) {
  const text = code.textContent;
  if (code.dataset.done === text) return;
  const parts = [];
  let at = 0;
  for (const match of text.matchAll(PART)) {
    const kind = match[2] !== undefined ? "json-key" : match[1] !== undefined ? "json-text" : "json-word";
    const span = document.createElement("span");
    span.className = kind;
    span.textContent = match[1] ?? match[0];
    parts.push(text.slice(at, match.index), span);
    if (match[2] !== undefined) parts.push(match[2]);
    at = match.index + match[0].length;
  }
  parts.push(text.slice(at));
  code.replaceChildren(...parts);
  code.dataset.done = text;
}
