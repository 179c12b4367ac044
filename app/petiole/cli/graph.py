"""``petiole graph``: which graphs there are, and what they look like."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petiole.cli.options import Broker, Format, Graphs, Output, Store
from petiole.cli.session import connected, settings_of
from petiole.cli.variadic import VariadicCommand

if TYPE_CHECKING:
    from petiole_stores.records import Worker
    from petiole_workers.compiled import CompiledGraph


class Notation(enum.StrEnum):
    """How a drawing is written."""

    mermaid = "mermaid"
    dot = "dot"
    ascii = "ascii"


app = typer.Typer(no_args_is_help=True, help="See which graphs there are and what they look like.")


@app.command("list", cls=VariadicCommand)
def list_(
    ctx: typer.Context,
    graphs: Graphs = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """List the graphs that workers serve, and those that the settings name."""
    from petiole.cli import output as out

    with connected(ctx, store, broker, graphs=graphs) as client:
        known = [_described(graph) for graph in _load(client.settings.graphs)]
        alive = [worker for worker in client.workers() if worker.status == "alive"]
    found = _with_workers(known, alive)
    if output is not Format.text:
        out.write_json(found, output)
        return
    out.write_table(
        ("GRAPH", "VERSION", "FINGERPRINT", "NODES", "WORKERS"),
        ((g["graph"], g["version"], g["fingerprint"], len(g["nodes"]) or "", g["workers"]) for g in found),
        empty="no graph: name some with --graphs module:attribute, or start a worker",
    )


@app.command("check", cls=VariadicCommand, epilog="Example: petiole graph check --graphs shop.flows:order")
def check(
    ctx: typer.Context,
    graphs: Graphs = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """List the threads that a deployment of these graphs would block, before it is made. Ends with 1 if there are any."""
    import msgspec

    from petiole.cli import output as out
    from petiole.client.checking import blocked_by
    from petiole_stores.errors import ConfigurationError

    with connected(ctx, store, broker, graphs=graphs) as client:
        loaded = _load(client.settings.graphs)
        if not loaded:
            raise ConfigurationError(
                "no graph to check: name those of the deployment with --graphs module:attribute"
            )
        found = list(blocked_by(client.store, loaded))
    if output is not Format.text:
        out.write_json([msgspec.to_builtins(one) for one in found], output)
    else:
        out.write_table(
            ("THREAD", "RUN", "GRAPH", "VERSION", "STATUS", "WHY"),
            (
                (it.thread_id, it.run_id, it.graph, it.version, it.status, "; ".join(it.reasons))
                for it in found
            ),
            empty=f"no thread would be blocked by {', '.join(graph.name for graph in loaded)}",
        )
    if found:
        raise typer.Exit(1)


@app.command(
    "show", cls=VariadicCommand, epilog="Example: petiole graph show shop.flows:order --format ascii"
)
def show(
    ctx: typer.Context,
    graph: Annotated[
        str, typer.Argument(metavar="GRAPH", help="module:attribute, or the name of one in --graphs.")
    ],
    format: Annotated[
        Notation | None,
        typer.Option("--format", help="A drawing, as text: mermaid, dot (Graphviz) or ascii."),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="THREAD|RUN", help="With --format: how this run stands on it."),
    ] = None,
    graphs: Graphs = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Show one graph: its nodes, or a drawing of it and of a run on it."""
    from petiole.cli import output as out
    from petiole_stores.errors import InputError
    from petiole_workers.shown import statuses_of

    settings = settings_of(ctx, store=store, broker=broker, graphs=graphs)
    found = _find(graph, settings.graphs)
    if run is not None and format is None:
        raise InputError("--run is for drawings: give a --format, too")
    if format is not None:
        drawing = found.get_graph()
        if run is not None:
            with connected(ctx, store, broker, graphs=graphs) as client:
                handle = client.handle(run)
                if handle.run.graph != found.name:
                    raise InputError(
                        f"run {handle.run_id} is of graph {handle.run.graph!r}, not {found.name!r}"
                    )
                drawing = drawing.with_statuses(
                    statuses_of(handle.run, client.store.list_tasks(handle.run_id))
                )
        print(getattr(drawing, f"draw_{format.value}")(), end="")
        return
    document = _described(found)
    if output is Format.text:
        out.write_fields((key, value) for key, value in document.items())
    else:
        out.write_json(document, output)


def _load(references: list[str]) -> list[CompiledGraph]:
    if not references:
        return []
    from petiole_workers.registry import load_registry

    return list(load_registry(references))


def _find(text: str, references: list[str]) -> CompiledGraph:
    from petiole_stores.errors import NotFoundError
    from petiole_workers.registry import load_graph

    if ":" in text:
        return load_graph(text)
    found = {graph.name: graph for graph in _load(references)}
    if text not in found:
        raise NotFoundError(
            f"graph {text!r} is not among those named here ({', '.join(sorted(found)) or 'none'}): give module:attribute, or "
            "name its module with --graphs, PETIOLE_GRAPHS or [tool.petiole]"
        )
    return found[text]


def _described(graph: CompiledGraph) -> dict[str, Any]:
    definition = graph.definition
    return {
        "graph": graph.name,
        "version": definition.version,
        "fingerprint": definition.fingerprint,
        "nodes": list(definition.nodes),
    }


def _with_workers(known: list[dict[str, Any]], workers: list[Worker]) -> list[dict[str, Any]]:
    """The graphs named here and those served elsewhere, with the number of workers for each version."""
    found = {(g["graph"], g["version"] or "", g["fingerprint"]): g | {"workers": 0} for g in known}
    for worker in workers:
        for name, served in worker.graphs.items():
            version, _, fingerprint = served.partition("/")
            other: dict[str, Any] = {
                "graph": name,
                "version": version or None,
                "fingerprint": fingerprint,
                "nodes": [],
                "workers": 0,
            }
            found.setdefault((name, version, fingerprint), other)["workers"] += 1
    return [found[key] for key in sorted(found)]
