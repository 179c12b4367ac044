"""``petiole run export`` and ``import``: a thread as one JSON file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from petiole.cli.options import Broker, Format, Graphs, Output, RunId, Store, Thread
from petiole.cli.session import connected, tell

File = Annotated[Path, typer.Option("--file", "-f", metavar="FILE", help="The file; - for a pipe.")]


def export(
    ctx: typer.Context,
    thread: Thread,
    file: File = Path("-"),
    run: RunId = None,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Write a thread with its runs, tasks, checkpoints and values to one JSON file. It holds the values in the clear."""
    from petiole_stores.errors import InputError

    with connected(ctx, store, broker) as client:
        text = client.export_thread(thread, run=run)
    if str(file) == "-":
        sys.stdout.buffer.write(text + b"\n")
        return
    try:
        file.write_bytes(text)
    except OSError as error:
        raise InputError(f"--file {file} cannot be written: {error}") from None
    tell(
        [f"thread {thread} is in {file} ({len(text)} bytes); petiole run import brings it into another store"]
    )


def import_(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What export has written; - for a pipe.")],
    thread: Annotated[
        str | None, typer.Option("--thread", metavar="ID", help="The thread's id here. Default: a new one.")
    ] = None,
    graphs: Graphs = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Bring an exported thread into a store, its run paused where it stood: petiole run unpause lets it run."""
    from petiole.cli import output as out
    from petiole_stores.errors import InputError

    try:
        text = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise InputError(f"the file {file} cannot be read: {error}") from None
    with connected(ctx, store, broker, graphs=graphs) as client:
        made = client.import_thread(text, thread_id=thread)
    if output is not Format.text:
        out.write_json(made._asdict(), output)
        return
    print(f"thread {made.thread_id}: {made.checkpoints} checkpoints")
    if made.run_id:
        print(f"run {made.run_id} is paused: petiole run unpause {made.thread_id} lets it run")
    else:
        print("its run has nothing to go on with: petiole run fork goes on from a checkpoint")
