// Buttons that copy: their own text (data-copy), or the block that they stand in.
import { toast } from "./say.js";

export function startCopying() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    event.preventDefault();
    const box = button.closest("[data-copy-box]");
    const text = button.dataset.copy || box?.querySelector("pre")?.textContent || "";
    toast((await write(text)) ? "Copied" : "This browser does not let pages copy");
  });
}

async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
