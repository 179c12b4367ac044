// <time data-at> as relative, local or UTC, and durations that go on (data-since).
const STEPS = [[60, "s", 1], [3600, "m", 60], [86400, "h", 3600], [Infinity, "d", 86400]];

export function startTimes() {
  setInterval(() => showTimes(document.body), 1000);
  document.addEventListener("petiole:switched", () => showTimes(document.body));
}

export function showTimes(part) {
  const now = Date.now() / 1000;
  const how = document.documentElement.dataset.times;
  for (const time of part.querySelectorAll("time[data-at]")) {
    const at = Number(time.dataset.at);
    set(time, how === "relative" ? relative(at, now) : absolute(at, how));
    if (time.dataset.titled !== time.dataset.at) {
      time.title = `${absolute(at, "local")} local\n${absolute(at, "utc")}`;
      time.dataset.titled = time.dataset.at;
    }
  }
  for (const span of part.querySelectorAll("[data-since]")) {
    set(span, duration(Math.max(0, now - Number(span.dataset.since))));
  }
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function relative(at, now) {
  const past = now - at;
  const size = Math.abs(past);
  if (size < 1) return "now";
  const [, unit, divisor] = STEPS.find(([below]) => size < below);
  // What is to come in 89.99 days is in 90; what was 89.99 days ago is not 90 days old.
  const text = `${(past >= 0 ? Math.floor : Math.round)(size / divisor)} ${unit}`;
  return past >= 0 ? `${text} ago` : `in ${text}`;
}

export function absolute(at, how) {
  const date = new Date(at * 1000);
  if (how === "utc") return `${date.toISOString().slice(0, 19).replace("T", " ")} UTC`;
  const pad = (number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
}

export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const [size, unit, lower, lowerUnit] =
    seconds < 3600 ? [60, "m", 1, "s"] : seconds < 86400 ? [3600, "h", 60, "m"] : [86400, "d", 3600, "h"];
  const rest = Math.floor((seconds % size) / lower);
  return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${lowerUnit}` : ""}`;
}
