// Runs before the page is drawn, so that nothing flickers: the reader's theme, and that scripts work.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  try {
    root.dataset.theme = localStorage.getItem("petiole.theme") || "auto";
    root.dataset.times = localStorage.getItem("petiole.times") || "relative";
  } catch {
    // A browser that keeps nothing has the defaults.
  }
})();
