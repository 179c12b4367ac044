"""The verbs of ``petiole run`` that change a state by hand, go back to an earlier one, or compare two: update, fork, diff."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from petiole.cli import parsing
from petiole.cli.options import Broker, Format, Graphs, Output, Store, Thread, Timeout, Wait
from petiole.cli.results import settle, warn_unserved
from petiole.cli.session import connected, tell

if TYPE_CHECKING:
    from petiole.client.comparing import Difference
    from petiole_stores.checkpoint import Checkpoint

AsNode = Annotated[
    str | None,
    typer.Option("--as-node", metavar="NODE", help="As if this node had written it. Default: the last one."),
]


def update(
    ctx: typer.Context,
    thread: Thread,
    values: Annotated[
        str, typer.Option("--values", metavar="JSON|@FILE|-", help="What is written to the state.")
    ],
    as_node: AsNode = None,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", metavar="ID", help="After this one. Default: the newest."),
    ] = None,
    graphs: Graphs = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Change a thread's state as if a node had written it; what follows from that node comes next."""
    from petiole.cli import output as out

    written = parsing.json_value("--values", values)
    with connected(ctx, store, broker, graphs=graphs) as client:
        thread_id = client.thread_of(thread)
        config = client.update_state(thread_id, written, as_node=as_node, checkpoint=checkpoint)
        made = client.load_checkpoint(config["configurable"]["checkpoint_id"])
    fields = {"thread_id": thread_id, "checkpoint_id": made.id, "next": list(made.next)}
    if output is not Format.text:
        out.write_json(fields, output)
        return
    out.write_fields(fields.items())
    if made.next:
        tell([f"`petiole run resume {thread_id}` lets it go on from there"])


def fork(
    ctx: typer.Context,
    thread: Thread,
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", metavar="ID", help="Where to go on from (see run history).")
    ],
    values: Annotated[
        str | None,
        typer.Option("--values", metavar="JSON|@FILE|-", help="What is written to the state there."),
    ] = None,
    as_node: AsNode = None,
    graphs: Graphs = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Let a thread go on from one of its checkpoints, with its state changed there if you like."""
    from petiole_workers.graph import MISSING

    written = MISSING if values is None else parsing.json_value("--values", values)
    with connected(ctx, store, broker, graphs=graphs) as client:
        handle = client.fork(client.thread_of(thread), checkpoint, written, as_node=as_node)
        warn_unserved(client, handle)
        settle(client, handle, wait, timeout, output)


def diff(
    ctx: typer.Context,
    before: Annotated[
        str,
        typer.Argument(metavar="A", help="A checkpoint's id, a thread's (its newest) or a run's (its last)."),
    ],
    after: Annotated[str, typer.Argument(metavar="B", help="As A.")],
    graphs: Graphs = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Show what is different between two states."""
    from petiole import documents
    from petiole.cli import output as out
    from petiole.client.comparing import differences

    with connected(ctx, store, broker, graphs=graphs) as client:
        first, second = client.named_checkpoint(before), client.named_checkpoint(after)
    found = differences(first.state, second.state)
    if output is Format.text:
        _write(first, second, found)
        return
    out.write_json(
        {
            "before": {"thread_id": first.thread_id, "checkpoint_id": first.id, "step": first.step},
            "after": {"thread_id": second.thread_id, "checkpoint_id": second.id, "step": second.step},
            "differences": [documents.difference_document(one) for one in found],
        },
        output,
    )


def _write(first: Checkpoint, second: Checkpoint, found: Sequence[Difference]) -> None:
    from rich.text import Text

    from petiole.cli.output import console
    from petiole.client.plain import shown

    page = console()
    for sign, point in (("---", first), ("+++", second)):
        page.print(
            Text(f"{sign} {point.id} (thread {point.thread_id}, step {point.step})", style="bold"),
            soft_wrap=True,
        )
    for one in found:
        if one.kind != "added":
            page.print(Text(f"- {one.path}: {shown(one.before)}", style="red"), soft_wrap=True)
        if one.kind != "removed":
            page.print(Text(f"+ {one.path}: {shown(one.after)}", style="green"), soft_wrap=True)
    if not found:
        tell(["the two states are the same"])
