// Telling people something: on the screen for a while, and to screen readers.
export function toast(text) {
  const box = document.createElement("div");
  box.className = "toast";
  box.textContent = text;
  document.getElementById("toasts").append(box);
  setTimeout(() => box.remove(), 3000);
  announce(text);
}

export function announce(text) {
  document.getElementById("announcer").textContent = text;
}
