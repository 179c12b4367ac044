"""The verbs of ``petiole run`` for a run that waits for somebody or something: interrupts, resume, signal."""

from __future__ import annotations

from typing import Annotated

import typer

from petiole.cli import parsing
from petiole.cli.options import Broker, Format, Graphs, Output, RunId, Store, Thread, Timeout, Wait
from petiole.cli.results import settle
from petiole.cli.session import connected


def interrupts(
    ctx: typer.Context,
    thread: Thread,
    run: RunId = None,
    graphs: Graphs = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """List what a run waits for somebody to answer, each with the command that does so."""
    from petiole import documents
    from petiole.cli import output as out
    from petiole.client.naming import label_of
    from petiole.client.plain import shown

    with connected(ctx, store, broker, graphs=graphs) as client:
        found = client.questions(client.asking_run(thread, run))
    if output is not Format.text:
        out.write_json([documents.question_document(one) for one in found], output)
        return
    out.write_table(
        ("NODE", "ASKS", "SINCE", "ID", "COMMAND"),
        (
            (
                label_of(one.task),
                one.trouble or (shown(one.value) if one.id else ""),
                out.ago(one.task.ended_at or one.task.created_at),
                one.id,
                one.command,
            )
            for one in found
        ),
        empty="nothing waits for an answer",
    )


def resume(
    ctx: typer.Context,
    thread: Thread,
    value: Annotated[
        str | None,
        typer.Option("--value", metavar="JSON|@FILE|-", help="The answer to the interrupt that waits."),
    ] = None,
    id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="The interrupt that is answered, if several wait."),
    ] = None,
    run: RunId = None,
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", metavar="ID", help="Go on from here instead.")
    ] = None,
    nodes: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="NODE", help="A node that is to come next; may be repeated."),
    ] = None,
    graphs: Graphs = None,
    wait: Wait = False,
    timeout: Timeout = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Let an interrupted run go on, with the answer to its question or past a stop (interrupt_before, interrupt_after)."""
    from petiole_workers.graph import MISSING

    answer = MISSING if value is None else parsing.json_value("--value", value)
    with connected(ctx, store, broker, graphs=graphs) as client:
        handle = client.resume(thread, answer, id=id, run=run, checkpoint=checkpoint, resume_from=nodes or ())
        settle(client, handle, wait, timeout, output)


def signal(
    ctx: typer.Context,
    thread: Thread,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the node waits for by this name.")],
    payload: Annotated[
        str, typer.Option("--payload", metavar="JSON|@FILE|-", help="What the node gets.")
    ] = "null",
    id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Sent again under it, it is the same signal.")
    ] = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Send a signal to a thread, for a node that waits for it now or later (runtime.wait_signal)."""
    from petiole.cli import output as out

    value = parsing.json_value("--payload", payload)
    with connected(ctx, store, broker) as client:
        run = client.store.get_run(thread)
        thread_id = run.thread_id if run else thread
        sent = client.signal(thread_id, name, value, id=id)
    fields = {"thread_id": thread_id, "name": name, "id": sent}
    if output is Format.text:
        out.write_fields(fields.items())
    else:
        out.write_json(fields, output)
