"""A run's graph as the browser draws it: boxes, arrows, and how many tasks of each box are where."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from petiole.client import Client
from petiole.client.naming import graphs_of
from petiole_stores.errors import ConfigurationError
from petiole_stores.records import Run, Task, TaskCount, TaskFilter
from petiole_workers.graph import END, START
from petiole_workers.graph.drawing import Drawing
from petiole_workers.graph.drawing.drawing import DrawnEdge, DrawnNode

#: Of the tasks of one box, the status that the box has.
FIRST = ("failed", "claimed", "interrupted", "ready", "parked", "cancelled", "done")
#: Tasks that are looked at where the graph itself is not known here.
LOOKED_AT = 500
TIMES = "\N{MULTIPLICATION SIGN}"


class Box(msgspec.Struct, kw_only=True):
    """One box. ``counts``: its tasks by status, those that a replay has replaced left out."""

    id: str
    label: str
    kind: str
    group: list[str]
    node: str
    status: str = ""
    counts: dict[str, int] = {}
    failures: int = 0  #: attempts that failed and were tried again
    recovered: int = 0  #: tasks that were taken over from a lost worker
    text: str = ""  #: what stands below the label


class Arrow(msgspec.Struct, kw_only=True):
    """One arrow; ``maybe`` where a router or a Command decides."""

    source: str
    target: str
    maybe: bool = False
    label: str = ""


class Shape(msgspec.Struct, kw_only=True):
    """The drawing. ``guessed``: the graph is not known here, and this is what its tasks tell of it."""

    boxes: list[Box]
    arrows: list[Arrow]
    groups: dict[str, str]  #: how nodes that are graphs stand, by the ids of their groups
    guessed: bool

    @property
    def document(self) -> str:
        return msgspec.json.encode(self).decode()


def shape_of(client: Client, run: Run, counts: Sequence[TaskCount]) -> Shape:
    """The run on its graph: the graph that this server knows, else what its tasks tell of it."""
    drawing, guessed = _known(client, run.graph), False
    if drawing is None:
        page = client.store.tasks_page(
            run.run_id, TaskFilter(kind="node", ns="", limit=LOOKED_AT, brief=True)
        )
        drawing, guessed = guess(page.tasks), True
    found = by_box(counts)
    boxes = [_box(node, found, run) for node in drawing.nodes.values()]
    known = {box.id for box in boxes}
    # Of another version of the graph, or of subgraphs that cannot be seen into.
    known |= {group for node in drawing.nodes.values() for group in node.group}
    others = [key for key in found if key not in known and ":" not in key]
    boxes += [_box(DrawnNode(key, key), found, run) for key in others]
    arrows = [
        Arrow(
            source=edge.source,
            target=edge.target,
            maybe=edge.conditional,
            label=edge.label if edge.label and edge.label != edge.target else "",
        )
        for edge in drawing.edges
    ]
    inner = {group for box in boxes for group in box.group}
    standing = {group: _status(totals(found.get(group, []))) for group in sorted(inner)}
    return Shape(boxes=boxes, arrows=arrows, groups=standing, guessed=guessed)


def by_box(counts: Iterable[TaskCount]) -> Mapping[str, list[TaskCount]]:
    """Counts of nodes by the ids of their boxes: ``outer:inner``."""
    found: dict[str, list[TaskCount]] = defaultdict(list)
    for count in counts:
        if count.kind == "node":
            above = graphs_of(count.ns).replace("/", ":")
            found[f"{above}:{count.node}" if above else count.node].append(count)
    return found


def totals(counts: Iterable[TaskCount]) -> Counter[str]:
    """How many tasks are in which status, those replaced left out."""
    found: Counter[str] = Counter()
    for count in counts:
        found[count.status] += count.count - count.replaced
    return +found


def words(found: Mapping[str, int]) -> str:
    """A number of tasks and how many of them are where, failed ones last; the status alone where it is one task."""
    total = sum(found.values())
    parts = [status if total == 1 else f"{found[status]:,} {status}" for status in FIRST if found.get(status)]
    return (f"{TIMES}{total:,}: " if total > 1 else "") + " ".join(reversed(parts))


def guess(tasks: Sequence[Task]) -> Drawing:
    """What tasks of a graph's root tell of it: each superstep's nodes lead to the next one's."""
    steps: dict[str | None, dict[str, None]] = {}
    for task in tasks:
        steps.setdefault(task.checkpoint_id, {})[task.node] = None
    nodes = {START: DrawnNode(START, START, "start")}
    edges: dict[tuple[str, str], DrawnEdge] = {}
    before = [START]
    for step in steps.values():
        for node in step:
            nodes.setdefault(node, DrawnNode(node, node))
            for source in before:
                edges.setdefault((source, node), DrawnEdge(source, node, conditional=True))
        before = [*step]
    return Drawing(nodes, tuple(edges.values()))


def _status(counts: Mapping[str, int]) -> str:
    return next((one for one in FIRST if counts.get(one)), "")


def _known(client: Client, name: str) -> Drawing | None:
    try:
        return client.graph_of(name).get_graph(xray=True)
    except ConfigurationError:
        return None


def _box(node: DrawnNode, found: Mapping[str, list[TaskCount]], run: Run) -> Box:
    mine = found.get(node.id, [])
    counts = totals(mine)
    status = _status(counts)
    around = _status(totals(found.get(node.group[-1], []))) if node.group else ""
    if node.kind == "start" and (around if node.group else run.started_at is not None):
        status = "done"
    if node.kind == "end" and (around == "done" if node.group else run.status == "succeeded"):
        status = "done"
    return Box(
        id=node.id,
        label={START: "start", END: "end"}.get(node.label, node.label),
        kind=node.kind,
        group=list(node.group),
        node=node.id.rpartition(":")[2] if node.group else node.id,
        status=status,
        counts=dict(counts),
        failures=sum(count.failures for count in mine),
        recovered=sum(count.recovered for count in mine),
        text=words(counts),
    )
