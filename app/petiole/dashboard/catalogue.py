"""The graphs that there are: those that living workers serve, and those that this server has itself."""

from __future__ import annotations

from typing import Any

import msgspec

from petiole.api.access import Principal
from petiole.client import Client
from petiole.dashboard.shape import Arrow, Box, Shape
from petiole_stores.errors import ConfigurationError, NotFoundError
from petiole_workers.compiled import CompiledGraph
from petiole_workers.graph import END, START
from petiole_workers.graph.drawing import Drawing


class Offer(msgspec.Struct):
    """A version of a graph, and the workers that serve it."""

    version: str
    fingerprint: str
    workers: list[tuple[str, str]]  #: ids and names
    nodes: list[str]


class Entry(msgspec.Struct, kw_only=True):
    """One graph. ``runs`` by status; ``loaded``: this server has the graph itself, with its schema and drawing."""

    name: str
    offers: list[Offer]
    nodes: list[str]
    runs: dict[str, int]
    loaded: bool

    @property
    def workers(self) -> int:
        return len({worker for offer in self.offers for worker, _ in offer.workers})


def catalogue(client: Client, reader: Principal) -> list[Entry]:
    """All graphs that somebody may see, by name."""
    offers = _offers(client)
    names = sorted(offers.keys() | client.loaded_graphs().keys())
    return [_entry(client, reader, name, offers.get(name, [])) for name in names if reader.sees(graph=name)]


def entry_of(client: Client, reader: Principal, name: str) -> Entry:
    """One graph, also one of which there are runs alone. Raises NotFoundError, also for what is not his to see."""
    if reader.sees(graph=name):
        found = _entry(client, reader, name, _offers(client).get(name, []))
        if found.offers or found.loaded or any(found.runs.values()):
            return found
    raise NotFoundError(
        f"no graph {name!r} is served here, and it has no runs: `petiole graph list` shows those there are"
    )


def graph_known(client: Client, name: str) -> CompiledGraph | None:
    """The graph itself, if this server has it."""
    try:
        return client.graph_of(name)
    except ConfigurationError:
        return None


def input_schema(graph: CompiledGraph | None) -> dict[str, Any] | None:
    """The JSON Schema of what a graph takes; ``None`` where it is not known, or has no fields."""
    if graph is None:
        return None
    try:
        schema = graph.get_input_jsonschema()
    except Exception:  # noqa: BLE001 - pydantic has many for a class that JSON Schema cannot describe
        return None
    properties = schema.get("properties")
    if not properties:
        return None
    definitions = schema.get("$defs", {})
    return schema | {"properties": {name: _plain(part, definitions) for name, part in properties.items()}}


def drawn(drawing: Drawing) -> Shape:
    """A graph without any run, for the browser to draw."""
    boxes = [
        Box(
            id=node.id,
            label={START: "start", END: "end"}.get(node.label, node.label),
            kind=node.kind,
            group=list(node.group),
            node=node.id,
            text=node.kind,
        )
        for node in drawing.nodes.values()
    ]
    arrows = [
        Arrow(
            source=edge.source,
            target=edge.target,
            maybe=edge.conditional,
            label=edge.label if edge.label and edge.label != edge.target else "",
        )
        for edge in drawing.edges
    ]
    groups = {":".join(box.group[: depth + 1]): "" for box in boxes for depth in range(len(box.group))}
    return Shape(boxes=boxes, arrows=arrows, groups=groups, guessed=False)


def _plain(part: Any, definitions: dict[str, Any]) -> Any:
    """A property's schema with a definition that it names in its place, and without the ``null`` that it may also be."""
    if not isinstance(part, dict):
        return part
    choices = [one for one in part.get("anyOf", ()) if one.get("type") != "null"]
    if len(choices) == 1:
        part = {key: value for key, value in part.items() if key != "anyOf"} | choices[0]
    target = definitions.get(str(part.get("$ref", "")).rpartition("/")[2])
    return part if target is None else {"title": part.get("title"), **target, **part}


def _entry(client: Client, reader: Principal, name: str, offers: list[Offer]) -> Entry:
    graph = client.loaded_graphs().get(name)
    nodes = (
        list(graph.definition.nodes) if graph else [*dict.fromkeys(n for one in offers for n in one.nodes)]
    )
    runs = client.count_runs(graph=name, graphs=reader.graphs, namespaces=reader.namespaces)
    return Entry(
        name=name,
        offers=offers,
        nodes=nodes,
        runs={str(status): number for status, number in runs.items()},
        loaded=graph is not None,
    )


def _offers(client: Client) -> dict[str, list[Offer]]:
    """By graph, the versions that living workers serve."""
    found: dict[str, dict[tuple[str, str], Offer]] = {}
    for worker in client.workers():
        if worker.status not in ("alive", "stopping"):
            continue
        for name, text in worker.graphs.items():
            version, _, fingerprint = text.partition("/")
            said = worker.offers.get(name)
            made = Offer(version, fingerprint, [], list(said.nodes) if said else [])
            one = found.setdefault(name, {}).setdefault((version, fingerprint), made)
            one.workers.append((worker.worker_id, worker.name))
    return {name: [versions[key] for key in sorted(versions)] for name, versions in found.items()}
