"""The verbs of ``petiole run`` that change something: start, replay, cancel, pause, unpause."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from petiole.cli import parsing
from petiole.cli.options import (
    Broker,
    Busy,
    Consistency,
    ErrorType,
    Format,
    GraphName,
    IdempotencyKey,
    MaybeThread,
    Output,
    Reason,
    RunId,
    Since,
    Statuses,
    Store,
    Tag,
    Text,
    Thread,
    Timeout,
    Until,
    Wait,
    Yes,
)
from petiole.cli.results import settle, warn_unserved
from petiole.cli.session import connected, handle_of
from petiole_stores.errors import InputError

if TYPE_CHECKING:
    from petiole.client import Treated
    from petiole_stores.records import Run


def start(
    ctx: typer.Context,
    graph: Annotated[
        str, typer.Argument(metavar="GRAPH", help="A graph's name, or module:attribute (input is checked).")
    ],
    input: Annotated[
        str, typer.Option("--input", metavar="JSON|@FILE|-", help="JSON, a file of it, or standard input.")
    ],
    thread: Annotated[
        str | None, typer.Option("--thread", metavar="ID", help="An existing or new thread.")
    ] = None,
    idempotency_key: IdempotencyKey = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TAG", help="To find it by; may be repeated.")
    ] = None,
    metadata: Annotated[
        str | None, typer.Option("--metadata", metavar="JSON", help="An object kept with the run.")
    ] = None,
    context: Annotated[
        str | None, typer.Option("--context", metavar="JSON", help="What nodes get as runtime.context.")
    ] = None,
    configurable: Annotated[
        str | None,
        typer.Option(
            "--configurable", metavar="JSON", help="An object of values for nodes that take config."
        ),
    ] = None,
    if_busy: Annotated[Busy, typer.Option("--if-busy", help="On a thread with an active run.")] = Busy.reject,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Not before this ISO 8601 time.")
    ] = None,
    after: Annotated[
        str | None, typer.Option("--in", metavar="DURATION", help="Not before 30s, 5m, 2h … from now.")
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            "--deadline",
            metavar="DURATION|TIME",
            help="Fail it unless it has ended by then; 10m: after its start.",
        ),
    ] = None,
    durability: Annotated[
        str | None,
        typer.Option(
            "--durability",
            metavar="MODE",
            help="sync, async, exit, adaptive or interval:SECONDS. Default: its graph's.",
        ),
    ] = None,
    consistency: Annotated[
        Consistency | None, typer.Option("--consistency", help="A preset in place of --durability.")
    ] = None,
    recursion_limit: Annotated[
        int | None, typer.Option("--recursion-limit", metavar="N", help="Supersteps that the run may take.")
    ] = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Submit a run. Once this returns, the run is stored and a worker will take it up."""
    value = parsing.json_value("--input", input)
    extra = parsing.json_object("--metadata", metadata)
    values = parsing.json_object("--configurable", configurable)
    shared = None if context is None else parsing.json_value("--context", context)
    when, until = parsing.start_time(at, after), parsing.deadline(deadline)
    with connected(ctx, store, broker, notes=True) as client:
        handle = client.submit(
            _graph(graph),
            value,
            thread_id=thread,
            idempotency_key=idempotency_key,
            tags=tag or (),
            metadata=extra,
            context=shared,
            configurable=values,
            at=when,
            deadline=until,
            if_busy=if_busy.value,
            recursion_limit=recursion_limit,
            durability=durability,
            consistency=consistency.value if consistency else None,
        )
        warn_unserved(client, handle)
        settle(client, handle, wait, timeout, output)


def replay(
    ctx: typer.Context,
    thread: MaybeThread = None,
    run: RunId = None,
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", metavar="ID", help="A new run from here.")
    ] = None,
    from_node: Annotated[
        str | None,
        typer.Option("--from", metavar="NODE", help="A new run from the newest checkpoint before NODE."),
    ] = None,
    wait: Wait = False,
    timeout: Timeout = None,
    status: Statuses = None,
    graph: GraphName = None,
    tag: Tag = None,
    error_type: ErrorType = None,
    text: Text = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Let a failed run go on from its failed nodes, or start anew from an earlier checkpoint.

    Without a THREAD, all failed runs that the filters leave go on.
    """
    from petiole.cli import bulk

    if set(status or ()) - {"failed"}:
        raise InputError(f"--status is {', '.join(status or ())}: only runs that are failed are replayed")
    filters = bulk.Filters(status or (), graph, tag, error_type, text, since, until)
    single = {"--run": run, "--checkpoint": checkpoint, "--from": from_node, "--wait": wait}
    if bulk.check_target(thread, filters, yes, single):
        with connected(ctx, store, broker) as client:
            found = replace(filters, status=["failed"]).find(client)
            bulk.treat(bulk.REPLAY, found, client.replay_all, yes=yes, format=output)
        return
    assert thread is not None
    with connected(ctx, store, broker) as client:
        handle = client.replay(thread, run=run, checkpoint=checkpoint, from_node=from_node)
        warn_unserved(client, handle)
        settle(client, handle, wait, timeout, output)


def cancel(
    ctx: typer.Context,
    thread: MaybeThread = None,
    run: RunId = None,
    reason: Reason = "",
    status: Statuses = None,
    graph: GraphName = None,
    tag: Tag = None,
    text: Text = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Cancel a run; the outputs of nodes that still run are dropped.

    Without a THREAD, all runs that have not ended and that the filters leave are cancelled.
    """
    from petiole.cli import bulk
    from petiole_workers.active import OPEN

    parsing.statuses(status or ())
    if ended := set(status or ()) - set(OPEN):
        raise InputError(f"--status is {', '.join(ended)}: runs that have ended are not cancelled")
    filters = bulk.Filters(status or (), graph, tag, None, text, since, until)
    if bulk.check_target(thread, filters, yes, {"--run": run}):
        with connected(ctx, store, broker) as client:
            found = replace(filters, status=status or OPEN).find(client)

            def act(runs: Iterable[Run]) -> Iterator[Treated]:
                return client.cancel_all(runs, reason=reason)

            bulk.treat(bulk.CANCEL, found, act, yes=yes, format=output)
        return
    assert thread is not None
    with connected(ctx, store, broker) as client:
        client.cancel(thread, run=run, reason=reason)
        settle(client, handle_of(client, thread, run), False, None, output)


def pause(
    ctx: typer.Context,
    thread: Thread,
    run: RunId = None,
    reason: Reason = "",
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Hold a run back: nodes that run finish, nothing further starts until it is unpaused."""
    with connected(ctx, store, broker) as client:
        client.pause(thread, run=run, reason=reason)
        settle(client, handle_of(client, thread, run), False, None, output)


def unpause(
    ctx: typer.Context,
    thread: Thread,
    run: RunId = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Let a paused run go on."""
    with connected(ctx, store, broker) as client:
        client.unpause(thread, run=run)
        settle(client, handle_of(client, thread, run), False, None, output)


def _graph(text: str) -> Any:
    if ":" not in text:
        return text
    from petiole_workers.registry import load_graph

    return load_graph(text)
