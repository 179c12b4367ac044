// The graph of a run: laid out by dagre, drawn as SVG, moved and zoomed, its statuses kept as the server says.
import { layout } from "./layout.js";

const SVG = "http://www.w3.org/2000/svg";
const ICONS = { ready: "queued", claimed: "running", parked: "waiting", done: "succeeded" };
let folded = null;
let drawn = "";
let view = null;

export function startGraph() {
  const start = () => {
    draw();
    document.addEventListener("petiole:morphed", (event) => event.target.id === "graph" && draw());
  };
  if (document.readyState === "complete") start();
  else addEventListener("load", start);
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-zoom]");
    if (button && view) zoom(button.dataset.zoom);
  });
}

function draw() {
  const figure = document.getElementById("graph");
  const box = figure?.querySelector(".graph-view");
  if (!box) return;
  const shape = JSON.parse(figure.dataset.graph);
  if (!folded) folded = new Set(shape.boxes.length > 40 ? Object.keys(shape.groups).filter((id) => !id.includes(":")) : []);
  const placed = layout(shape, folded, box.clientWidth < 560 ? "TB" : "LR");
  const key = JSON.stringify([...placed.boxes.map((one) => [one.id, one.text ? 1 : 0]), ...folded]);
  if (key !== drawn || !box.firstChild) {
    drawn = key;
    paint(box, placed, shape);
  } else for (const one of placed.boxes) dress(box.querySelector(`[data-box="${CSS.escape(one.id)}"]`), one);
}

function paint(box, placed, shape) {
  const svg = make("svg", { role: "group", "aria-label": box.parentElement.dataset.label ?? "Graph of the run" });
  svg.append(arrowHead());
  const world = make("g", {});
  svg.append(world);
  for (const group of placed.groups) world.append(groupOf(group, shape.groups[group.id]));
  for (const arrow of placed.arrows) world.append(arrowOf(arrow));
  for (const one of placed.boxes) world.append(boxOf(one));
  box.replaceChildren(svg);
  box.classList.toggle("small", placed.height < 170 && placed.width > placed.height);
  move(svg, world, placed);
}

function boxOf(one) {
  const group = make("g", { "data-box": one.id, transform: `translate(${one.x - one.width / 2} ${one.y - one.height / 2})` });
  group.append(make("rect", { width: one.width, height: one.height, rx: 7 }));
  const icon = make("use", { x: 9, y: one.height / 2 - 7, width: 14, height: 14 });
  const label = make("text", { x: one.plain ? one.width / 2 : 30, y: one.height / 2 + 4, "text-anchor": one.plain ? "middle" : "start" });
  label.textContent = one.label;
  const text = make("text", { class: "box-text", x: 30, y: one.height / 2 + 14 });
  const title = make("title", {});
  if (!one.plain) group.append(icon, text);
  group.append(label, title);
  dress(group, one);
  const act = () => (one.folded ? unfold(one.id) : light(one.node));
  if (!one.plain) {
    group.setAttribute("tabindex", "0");
    group.setAttribute("role", "button");
    group.addEventListener("click", act);
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        event.stopPropagation();
        act();
      }
    });
  }
  return group;
}

function dress(group, one) {
  if (!group) return;
  group.setAttribute("class", `box ${one.kind} ${one.status || "none"}`);
  group.setAttribute("aria-label", `${one.label}: ${one.text || "not come to"}${one.folded ? ", a graph: unfold it" : ""}`);
  group.querySelector("use")?.setAttribute("href", `#i-${one.folded && !one.status ? "graphs" : ICONS[one.status] ?? (one.status || "queued")}`);
  const text = group.querySelector(".box-text");
  if (text) text.textContent = one.many ? one.text : "";
  if (!one.plain) group.querySelector("text:not(.box-text)").setAttribute("y", one.height / 2 + (one.many ? -1 : 4));
  const more = [one.failures && `${one.failures} tried again`, one.recovered && `${one.recovered} taken over`].filter(Boolean);
  group.querySelector("title").textContent = [one.id, one.text || "not come to", ...more].join("\n");
}

function groupOf(group, status) {
  const part = make("g", { class: `group ${status ?? ""}` });
  part.append(make("rect", { x: group.x - group.width / 2, y: group.y - group.height / 2, width: group.width, height: group.height, rx: 9 }));
  const text = make("text", { x: group.x - group.width / 2 + 9, y: group.y - group.height / 2 + 15, tabindex: 0, role: "button", "aria-label": `Fold ${group.label}` });
  text.textContent = `▾ ${group.label}`;
  const fold = () => {
    folded.add(group.id);
    draw();
  };
  text.addEventListener("click", fold);
  text.addEventListener("keydown", (event) => event.key === "Enter" && fold());
  part.append(text);
  return part;
}

function unfold(id) {
  folded.delete(id);
  draw();
}

function arrowOf(arrow) {
  const part = make("g", { class: `arrow${arrow.maybe ? " maybe" : ""}` });
  const [first, ...rest] = arrow.points;
  let path = `M${first.x} ${first.y}`;
  for (let at = 0; at < rest.length - 1; at += 1) {
    const end = at === rest.length - 2 ? rest[at + 1] : { x: (rest[at].x + rest[at + 1].x) / 2, y: (rest[at].y + rest[at + 1].y) / 2 };
    path += ` Q${rest[at].x} ${rest[at].y} ${end.x} ${end.y}`;
  }
  if (rest.length === 1) path += ` L${rest[0].x} ${rest[0].y}`;
  part.append(make("path", { d: path, "marker-end": "url(#arrow-head)" }));
  if (arrow.label && arrow.points.length) {
    const middle = arrow.points[Math.floor(arrow.points.length / 2)];
    const text = make("text", { x: middle.x, y: middle.y + 3, "text-anchor": "middle" });
    text.textContent = arrow.label;
    part.append(text);
  }
  return part;
}

function arrowHead() {
  const defs = make("defs", {});
  const marker = make("marker", { id: "arrow-head", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" });
  marker.append(make("path", { d: "M0 0 8 4 0 8Z", class: "arrow-head" }));
  defs.append(marker);
  return defs;
}

function move(svg, world, placed) {
  view = { svg, world, placed, x: 0, y: 0, size: 1 };
  fit();
  let from = null;
  svg.addEventListener("pointerdown", (event) => {
    if (event.target.closest("[role=button]")) return;
    from = { x: event.clientX - view.x, y: event.clientY - view.y };
    svg.setPointerCapture(event.pointerId);
    svg.classList.add("moving");
  });
  svg.addEventListener("pointermove", (event) => {
    if (!from) return;
    view.x = event.clientX - from.x;
    view.y = event.clientY - from.y;
    show();
  });
  for (const end of ["pointerup", "pointercancel"]) {
    svg.addEventListener(end, () => {
      from = null;
      svg.classList.remove("moving");
    });
  }
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // the page scrolls
    event.preventDefault();
    const area = svg.getBoundingClientRect();
    scale(Math.exp(-event.deltaY / 300), event.clientX - area.left, event.clientY - area.top);
  }, { passive: false });
}

function zoom(how) {
  if (how === "fit") return fit();
  const area = view.svg.getBoundingClientRect();
  return scale(how === "in" ? 1.25 : 0.8, area.width / 2, area.height / 2);
}

function scale(by, x, y) {
  const size = Math.min(Math.max(view.size * by, 0.1), 4);
  const real = size / view.size;
  view.x = x - (x - view.x) * real;
  view.y = y - (y - view.y) * real;
  view.size = size;
  show();
}

function fit() {
  const area = view.svg.getBoundingClientRect();
  const { width, height } = view.placed;
  view.size = Math.min((area.width - 24) / width, (area.height - 24) / height, 1.15);
  view.x = (area.width - width * view.size) / 2;
  view.y = (area.height - height * view.size) / 2;
  show();
}

function show() {
  view.world.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.size})`);
}

// The waterfall's rows of a node.
function light(node) {
  const rows = [...document.querySelectorAll("#waterfall .bar-row")];
  for (const row of rows) row.classList.toggle("lit", row.dataset.node === node);
  rows.find((row) => row.dataset.node === node)?.scrollIntoView({ block: "center", behavior: "smooth" });
}

function make(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
