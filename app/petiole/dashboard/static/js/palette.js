// The palette: pages, what this page offers, and any run or thread by its id.
let shown = [];
let at = 0;
let before = null;

export function openDialog(id) {
  const dialog = document.getElementById(id);
  if (!dialog || dialog.open) return;
  before = document.activeElement;
  dialog.showModal();
  if (id === "palette") {
    const input = document.getElementById("palette-input");
    input.value = "";
    suggest();
  }
}

export function startPalette() {
  const dialog = document.getElementById("palette");
  const input = document.getElementById("palette-input");
  const list = document.getElementById("palette-list");
  input.addEventListener("input", suggest);
  input.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) {
      event.preventDefault();
      choose(at + by);
    } else if (event.key === "Enter") {
      event.preventDefault();
      take(at);
    }
  });
  list.addEventListener("click", (event) => {
    const item = event.target.closest("li");
    if (item) take([...list.children].indexOf(item));
  });
  for (const one of document.querySelectorAll("dialog")) {
    one.addEventListener("close", () => before?.focus?.());
    one.addEventListener("click", (event) => event.target === one && one.close());
  }
}

function suggest() {
  const text = document.getElementById("palette-input").value.trim();
  const wanted = text.toLowerCase();
  const links = [...document.querySelectorAll("[data-go], [data-offer]")].map((element) => ({
    label: element.dataset.offer || element.textContent.trim(),
    hint: element.dataset.go ? `g ${element.dataset.go}` : "on this page",
    act: () => element.click(),
  }));
  shown = links.filter((one) => one.label.toLowerCase().includes(wanted));
  if (text) {
    const go = (path) => () => location.assign(path);
    shown.push(
      { label: `Search runs for “${text}”`, hint: "", act: go(`/?text=${encodeURIComponent(text)}`) },
      { label: `Open run ${text}`, hint: "by id", act: go(`/runs/${encodeURIComponent(text)}`) },
      { label: `Open thread ${text}`, hint: "its newest run", act: go(`/threads/${encodeURIComponent(text)}`) },
    );
  }
  const list = document.getElementById("palette-list");
  list.replaceChildren(
    ...shown.map((one, index) => {
      const item = document.createElement("li");
      item.id = `palette-${index}`;
      item.setAttribute("role", "option");
      const hint = document.createElement("span");
      hint.className = "faint";
      hint.textContent = one.hint;
      item.append(one.label, hint);
      return item;
    }),
  );
  choose(0);
}

function choose(index) {
  const items = document.getElementById("palette-list").children;
  at = Math.max(0, Math.min(index, items.length - 1));
  [...items].forEach((item, number) => item.setAttribute("aria-selected", String(number === at)));
  items[at]?.scrollIntoView({ block: "nearest" });
  document.getElementById("palette-input").setAttribute("aria-activedescendant", items[at]?.id ?? "");
}

function take(index) {
  const one = shown[index];
  if (!one) return;
  before = null;
  document.getElementById("palette").close();
  one.act();
}
