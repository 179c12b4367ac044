// The reader's choices: theme and how times are shown. They are kept in the browser.
import { announce } from "./say.js";

const CHOICES = {
  theme: [["auto", "as the system"], ["light", "light"], ["dark", "dark"]],
  times: [["relative", "relative"], ["local", "local"], ["utc", "UTC"]],
};
const NAMES = { theme: "Theme", times: "Times" };

export function turn(which) {
  const root = document.documentElement;
  const keys = CHOICES[which].map(([key]) => key);
  const next = keys[(keys.indexOf(root.dataset[which]) + 1) % keys.length];
  root.dataset[which] = next;
  try {
    localStorage.setItem(`petiole.${which}`, next);
  } catch {
    // It holds for this page then.
  }
  label(which);
  announce(`${NAMES[which]}: ${wordOf(which)}`);
  document.dispatchEvent(new CustomEvent("petiole:switched", { detail: which }));
}

export function startSwitches() {
  for (const which of Object.keys(CHOICES)) label(which);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-switch]");
    if (button) turn(button.dataset.switch);
  });
}

function wordOf(which) {
  return CHOICES[which].find(([key]) => key === document.documentElement.dataset[which])[1];
}

function label(which) {
  for (const button of document.querySelectorAll(`[data-switch="${which}"]`)) {
    button.setAttribute("aria-label", `${NAMES[which]}: ${wordOf(which)}`);
    button.title = `${NAMES[which]}: ${wordOf(which)}`;
  }
}
