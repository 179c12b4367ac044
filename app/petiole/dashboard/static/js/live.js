// Live regions: every element with data-live and an id is morphed into what the server shows now.
//
// The page itself is asked for again, with the ETag of what is shown: an unchanged page is answered by a few bytes. An
// event stream that a region names (data-events, with the kinds of its events) shortens the wait.
import { announce } from "./say.js";

const EVERY = 2000;
const LONGEST = 30000;
let timer = 0;
let wait = EVERY;
let etag = "";
let address = "";
let looking = null;
const written = new WeakSet(); // fields whose value is the reader's

export function startLive() {
  if (!document.querySelector("[data-live]")) return;
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : look()));
  document.addEventListener("petiole:look", look);
  document.addEventListener("input", (event) => written.add(event.target));
  listen();
  plan();
}

function plan() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(look, wait);
}

async function look() {
  if (looking) return looking;
  clearTimeout(timer);
  looking = ask();
  try {
    await looking;
  } finally {
    looking = null;
    plan();
  }
}

async function ask() {
  const here = location.href;
  if (here !== address) etag = "";
  address = here;
  try {
    const headers = { Accept: "text/html", "X-Petiole-Live": "1" };
    if (etag) headers["If-None-Match"] = etag;
    const answer = await fetch(here, { headers, credentials: "same-origin", cache: "no-store" });
    if (answer.status === 304) return found("live");
    const signedOut = answer.redirected && new URL(answer.url).pathname === "/login";
    if (signedOut || answer.status === 401) return found("signed out: load the page again", "off");
    if (!answer.ok) throw new Error(String(answer.status));
    const text = await answer.text();
    if (location.href !== here) return;
    etag = answer.headers.get("ETag") ?? "";
    found("live");
    replace(new DOMParser().parseFromString(text, "text/html"));
  } catch {
    wait = Math.min(wait * 2, LONGEST);
    mark("the server does not answer", "off");
  }
}

function found(text, state = "") {
  wait = EVERY;
  mark(text, state);
}

function mark(text, state) {
  for (const element of document.querySelectorAll("[data-live-mark]")) {
    element.classList.toggle("off", state === "off");
    const words = element.querySelector("[data-live-text]");
    if (words.textContent !== text) words.textContent = text;
  }
}

export function replace(fresh) {
  for (const region of document.querySelectorAll("[data-live][id]")) {
    const next = fresh.getElementById(region.id);
    if (!next) continue;
    if (next.dataset.say && next.dataset.say !== region.dataset.say) announce(next.dataset.say);
    morph(region, next);
    const now = document.getElementById(region.id);
    if (now) window.htmx?.process(now);
    now?.dispatchEvent(new CustomEvent("petiole:morphed", { bubbles: true }));
  }
  document.dispatchEvent(new CustomEvent("petiole:changed"));
  document.dispatchEvent(new CustomEvent("petiole:fresh"));
}

// What a reader has done to the page is his: ticks, open details, what he is writing, drawings that scripts made.
export function morph(region, next) {
  Idiomorph.morph(region, next, {
    morphStyle: "outerHTML",
    ignoreActiveValue: true,
    callbacks: {
      beforeNodeMorphed: (old, fresh) => {
        if (old.nodeType !== Node.ELEMENT_NODE) return true;
        if (old.hasAttribute("data-keep")) return false;
        if (old.matches("code[data-json]") && old.dataset.done === fresh.textContent) return false;
        return true;
      },
      beforeAttributeUpdated: (name, element) => !isReaders(name, element),
    },
  });
}

function isReaders(attribute, element) {
  switch (attribute) {
    case "value": // a browser fills in again what was written before a reload
      return written.has(element) || (element.matches("input, textarea") && element.value !== element.defaultValue);
    case "selected":
      return written.has(element.closest("select"));
    case "open":
      return element.matches("details, dialog");
    case "class":
      return element.matches("[data-row].cursor, [data-bulk-bar]");
    default:
      return ["checked", "disabled", "data-done", "data-titled"].includes(attribute);
  }
}

function listen() {
  const source = document.querySelector("[data-events]");
  if (!source || !window.EventSource) return;
  let stream = null;
  let pending = 0;
  const open = () => {
    if (stream || document.hidden) return;
    stream = new EventSource(source.dataset.events);
    const heard = () => {
      clearTimeout(pending);
      pending = setTimeout(look, 150);
    };
    // A stream that has come to its end would be begun again by the browser.
    for (const last of ["end", "error"]) {
      stream.addEventListener(last, (event) => {
        if (last === "error" && event.data === undefined && stream.readyState !== EventSource.CLOSED) return;
        stream.close();
        heard();
      });
    }
    for (const kind of (source.dataset.kinds ?? "").split(" ").filter(Boolean)) stream.addEventListener(kind, heard);
  };
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      stream?.close();
      stream = null;
    } else open();
  });
  open();
}
