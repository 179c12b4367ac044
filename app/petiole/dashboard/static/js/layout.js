// Where boxes and arrows are: dagre, with folded subgraphs as one box each.
const FIRST = ["failed", "claimed", "interrupted", "ready", "parked", "cancelled", "done"];

export function layout(shape, folded, direction = "LR") {
  const boxes = new Map();
  const place = new Map();
  for (const box of shape.boxes) {
    const outer = box.group.find((group) => folded.has(group));
    place.set(box.id, outer ?? box.id);
    if (!outer) boxes.set(box.id, sized(box));
    else if (!boxes.has(outer)) boxes.set(outer, sized(foldedBox(outer, shape, box.group)));
  }
  const graph = new dagre.graphlib.Graph({ compound: true, multigraph: false });
  graph.setGraph({ rankdir: direction, nodesep: 22, ranksep: direction === "LR" ? 46 : 30, edgesep: 14, marginx: 8, marginy: 8 });
  graph.setDefaultEdgeLabel(() => ({}));
  const groups = new Map();
  for (const box of boxes.values()) {
    graph.setNode(box.id, { width: box.width, height: box.height });
    box.group.forEach((group, depth) => {
      if (!groups.has(group)) {
        groups.set(group, { id: group, label: group.split(":").pop() });
        graph.setNode(group, {});
        if (depth) graph.setParent(group, box.group[depth - 1]);
      }
    });
    if (box.group.length) graph.setParent(box.id, box.group.at(-1));
  }
  const arrows = new Map();
  for (const arrow of shape.arrows) {
    const source = place.get(arrow.source);
    const target = place.get(arrow.target);
    if (!source || !target || (source === target && arrow.source !== arrow.target)) continue;
    const key = JSON.stringify([source, target]);
    const known = arrows.get(key);
    if (known) {
      known.maybe &&= arrow.maybe;
      known.label = known.label && arrow.label ? `${known.label}, ${arrow.label}` : known.label || arrow.label;
    } else arrows.set(key, { ...arrow, source, target });
  }
  for (const arrow of arrows.values()) graph.setEdge(arrow.source, arrow.target, { width: arrow.label ? arrow.label.length * 5 : 0, height: 10, labelpos: "c" });
  dagre.layout(graph);
  const { width, height } = graph.graph();
  for (const box of boxes.values()) Object.assign(box, position(graph.node(box.id)));
  for (const group of groups.values()) Object.assign(group, graph.node(group.id));
  for (const arrow of arrows.values()) arrow.points = graph.edge(arrow.source, arrow.target).points;
  return { boxes: [...boxes.values()], groups: [...groups.values()], arrows: [...arrows.values()], width: Math.max(width, 1), height: Math.max(height, 1) };
}

function position(node) {
  return { x: node.x, y: node.y };
}

function sized(box) {
  const plain = box.kind !== "node";
  const many = Object.values(box.counts).reduce((sum, number) => sum + number, 0) > 1;
  const width = plain ? Math.max(34, box.label.length * 7 + 16) : Math.max(box.label.length * 7.2, many ? box.text.length * 5.8 : 0) + 44;
  return { ...box, plain, many, width: Math.max(width, plain ? 34 : 84), height: plain ? 24 : many ? 40 : 32 };
}

function foldedBox(id, shape, group) {
  const inner = shape.boxes.filter((box) => box.group.includes(id));
  const counts = {};
  for (const box of inner) for (const [status, number] of Object.entries(box.counts)) counts[status] = (counts[status] ?? 0) + number;
  const status = shape.groups[id] || FIRST.find((one) => counts[one]) || "";
  return { id, label: id.split(":").pop(), kind: "node", group: group.slice(0, group.indexOf(id)), node: id, status, counts: {}, failures: 0, recovered: 0, text: status, folded: true };
}
