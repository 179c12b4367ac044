// Rows that can be ticked, and the bar that acts on them.
export function startRows() {
  document.addEventListener("change", (event) => {
    const form = event.target.closest("[data-bulk]");
    if (!form) return;
    if (event.target.matches("[data-tick-all]")) {
      for (const box of boxes(form)) box.checked = event.target.checked;
    }
    show(form);
  });
  document.addEventListener("click", (event) => {
    const row = event.target.closest("[data-row]");
    if (!row || event.target.closest("a, button, input, label, summary") || String(getSelection())) return;
    row.querySelector(".row-link")?.click();
  });
  document.addEventListener("petiole:changed", showAll);
  showAll();
}

function showAll() {
  document.querySelectorAll("[data-bulk]").forEach(show);
}

function boxes(form) {
  return [...form.querySelectorAll("tbody input[type=checkbox]")];
}

function show(form) {
  const bar = form.querySelector("[data-bulk-bar]");
  if (!bar) return;
  const all = form.querySelector("[data-bulk-all]")?.checked;
  const ticked = boxes(form).filter((box) => box.checked).length;
  bar.classList.toggle("busy", Boolean(all || ticked));
  bar.classList.toggle("idle", !all && !ticked);
  for (const button of bar.querySelectorAll("button")) button.disabled = !all && !ticked;
  form.querySelector("[data-bulk-count]").textContent = (all ? "all that match" : ticked ? `${ticked} selected` : "none selected: tick rows") + (form.querySelector("[data-bulk-all]") ? ", or" : "");
}
