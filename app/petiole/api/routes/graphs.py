"""``/graphs``: which there are, who serves them, what they take and what they look like."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path

from petiole.api.access import Acting, Operator, Principal, Reader
from petiole.api.answers import errors
from petiole.api.encoding import Json
from petiole.api.models.states import ClearedOut
from petiole.api.models.threads import ClearCacheBody, GraphFullOut, GraphsOut, MermaidOut, SchemaOut
from petiole.api.seeing import check_text, graph_seen, narrowed
from petiole.client import Client
from petiole_stores.errors import ConfigurationError, NotFoundError
from petiole_workers.compiled import CompiledGraph

router = APIRouter(prefix="/api/v1/graphs", tags=["graphs"])

GraphPath = Annotated[str, Path(description="The graph's name.", examples=["shop.order"])]


@router.get(
    "",
    operation_id="listGraphs",
    summary="List graphs",
    response_model=None,
    responses={200: {"model": GraphsOut, "description": "The graphs"}},
)
def list_(principal: Reader, client: Acting) -> Json:
    """The graphs that living workers serve, and those that this server has itself."""
    found = _served(client)
    names = sorted(name for name in found.keys() | set(client.loaded_graphs()) if principal.sees(graph=name))
    return Json({"items": [_document(client, name, found.get(name, [])) for name in names]})


@router.get(
    "/{graph}/schema",
    operation_id="getGraphSchema",
    summary="Get a graph's JSON Schemas",
    response_model=None,
    responses={200: {"model": SchemaOut, "description": "Of input, output and context"}, **errors(404)},
)
def schema(graph: GraphPath, principal: Reader, client: Acting) -> Json:
    """What the graph takes and gives. The server needs the graph itself (the setting `graphs`)."""
    found = _loaded(client, principal, graph)
    try:
        document = {
            "graph": graph,
            "input": found.get_input_jsonschema(),
            "output": found.get_output_jsonschema(),
            "context": found.get_context_jsonschema(),
        }
    except Exception as error:  # noqa: BLE001 - pydantic has many for a class that JSON Schema cannot describe
        raise NotFoundError(f"graph {graph!r} has no JSON Schema: {error}") from None
    return Json(document)


@router.get(
    "/{graph}/mermaid",
    operation_id="getGraphMermaid",
    summary="Get a graph as a Mermaid drawing",
    response_model=None,
    responses={200: {"model": MermaidOut, "description": "The drawing"}, **errors(404)},
)
def mermaid(graph: GraphPath, principal: Reader, client: Acting) -> Json:
    """The graph as Mermaid text. The server needs the graph itself (the setting `graphs`)."""
    found = _loaded(client, principal, graph)
    return Json({"graph": graph, "mermaid": found.get_graph().draw_mermaid()})


@router.get(
    "/{graph}",
    operation_id="getGraph",
    summary="Look at a graph",
    response_model=None,
    responses={200: {"model": GraphFullOut, "description": "The graph"}, **errors(404)},
)
def get(graph: GraphPath, principal: Reader, client: Acting) -> Json:
    """Which workers serve it at which versions, its nodes, and its runs by status."""
    graph_seen(principal, graph)
    served = _served(client).get(graph, [])
    runs = client.store.count_runs(narrowed(principal, graph=graph))
    if not served and graph not in client.loaded_graphs() and not any(runs.values()):
        raise NotFoundError(f"graph {graph!r} does not exist: no worker serves it, and it has no runs")
    return Json(_document(client, graph, served) | {"runs": runs})


@router.post(
    "/{graph}/cache/clear",
    operation_id="clearCache",
    summary="Forget a graph's cached results",
    response_model=None,
    responses={200: {"model": ClearedOut, "description": "They are gone"}, **errors(404)},
)
def clear_cache(
    graph: GraphPath, principal: Operator, client: Acting, body: ClearCacheBody | None = None
) -> Json:
    """Forget the cached results of these nodes, or of all, whatever the graph's version. They are of no namespace: who is
    limited to some may not."""
    graph_seen(principal, graph)
    if principal.namespaces:
        raise HTTPException(
            403, "cached results are shared by all namespaces, and your key is limited to some"
        )
    nodes = body.nodes if body else None
    for name in nodes or ():
        check_text("nodes", name)
    client.clear_cache(graph, nodes)
    return Json({"cleared": True})


def _loaded(client: Client, principal: Principal, name: str) -> CompiledGraph:
    """The graph itself. Raises NotFoundError with what to do where this server does not have it."""
    graph_seen(principal, name)
    try:
        return client.graph_of(name)
    except ConfigurationError:
        raise NotFoundError(
            f"this server does not have graph {name!r} itself: start it with --graphs module:attribute, or set PETIOLE_GRAPHS"
        ) from None


def _served(client: Client) -> dict[str, list[dict[str, Any]]]:
    """By graph, the versions that living workers serve."""
    found: dict[str, dict[tuple[str, str], dict[str, Any]]] = {}
    for worker in client.workers():
        if worker.status not in ("alive", "stopping"):
            continue
        for name, text in worker.graphs.items():
            version, _, fingerprint = text.partition("/")
            offer = worker.offers.get(name)
            one = found.setdefault(name, {}).setdefault(
                (version, fingerprint),
                {
                    "version": version or None,
                    "fingerprint": fingerprint,
                    "workers": [],
                    "nodes": list(offer.nodes) if offer else [],
                },
            )
            one["workers"].append(worker.worker_id)
    return {name: [versions[key] for key in sorted(versions)] for name, versions in found.items()}


def _document(client: Client, name: str, served: list[dict[str, Any]]) -> dict[str, Any]:
    graph = client.loaded_graphs().get(name)
    nodes = (
        list(graph.definition.nodes) if graph else [*dict.fromkeys(n for it in served for n in it["nodes"])]
    )
    return {"graph": name, "loaded": graph is not None, "served": served, "nodes": nodes}
