// What every page has: switches, times, keys, palette, copying, live regions, rows that can be selected.
import { startCopying } from "./copying.js";
import { startKeys } from "./keys.js";
import { startLive } from "./live.js";
import { startPalette } from "./palette.js";
import { startRows } from "./rows.js";
import { startSwitches } from "./switches.js";
import { startTimes } from "./times.js";
import { dress } from "./dressing.js";

startSwitches();
startTimes();
startCopying();
startPalette();
startKeys();
startRows();
startLive();
dress(document.body);
document.addEventListener("petiole:morphed", (event) => dress(event.target));
document.addEventListener("htmx:afterSettle", () => document.dispatchEvent(new CustomEvent("petiole:changed")));
// Keys and buttons answer from here on.
document.documentElement.dataset.ready = "yes";
