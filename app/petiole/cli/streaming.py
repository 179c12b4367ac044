"""``petiole run stream``: what a run does, chunk by chunk, while it does it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petiole.cli.options import Broker, Graphs, RunId, Store, Thread, Timeout
from petiole.cli.session import connected

if TYPE_CHECKING:
    from petiole_workers.streaming.following import StreamEvent


def stream(
    ctx: typer.Context,
    thread: Thread,
    mode: Annotated[
        list[str] | None,
        typer.Option(
            "--mode",
            metavar="MODE",
            help="values, updates (the default), checkpoints, tasks, debug, messages or custom; may be repeated.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document a line, with the id to go on from.")
    ] = False,
    after: Annotated[
        str | None, typer.Option("--after", metavar="ID", help="Only what came after the chunk with this id.")
    ] = None,
    subgraphs: Annotated[bool, typer.Option("--subgraphs", help="What happens in subgraphs, too.")] = False,
    run: RunId = None,
    timeout: Timeout = None,
    graphs: Graphs = None,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Print what a run does while workers execute it; the exit code is 0 only if it succeeded."""
    from petiole.client.handle import check_succeeded

    with connected(ctx, store, broker, graphs=graphs) as client:
        meant = client.run_of(thread, run)
        found = client.stream(
            meant.thread_id,
            meant.run_id,
            mode or "updates",  # type: ignore[arg-type]
            after=after,
            subgraphs=subgraphs,
            timeout=timeout,
        )
        for event in found:
            print(json.dumps(_document(event), ensure_ascii=False) if as_json else _line(event), flush=True)
        check_succeeded(found.run)


def _document(event: StreamEvent) -> dict[str, Any]:
    from petiole.documents import plain

    document: dict[str, Any] = {
        "id": event.id,
        "mode": event.mode,
        "ns": list(event.ns),
        "data": plain(event.data),
    }
    return document | ({"node": event.node, "attempt": event.attempt} if event.node else {})


def _line(event: StreamEvent) -> str:
    from petiole.documents import plain

    where = f" {'|'.join(event.ns)}" if event.ns else ""
    data = plain(event.data)
    return f"[{event.mode}{where}] {data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)}"
