"""``petiole run explain``: what a run waits for, on one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from petiole.cli.options import Broker, Format, Output, RunId, Store, Thread
from petiole.cli.session import connected

if TYPE_CHECKING:
    from petiole.client import Explanation, Wait


def explain(
    ctx: typer.Context,
    thread: Thread,
    run: RunId = None,
    output: Output = Format.text,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Say what a run waits for, why, and which command helps."""
    from petiole import documents
    from petiole.cli import output as out

    with connected(ctx, store, broker) as client:
        found = client.explain(thread, run=run)
    if output is not Format.text:
        out.write_json(documents.explanation_document(found), output)
        return
    _write(found)


def _write(found: Explanation) -> None:
    from rich.table import Table
    from rich.text import Text

    from petiole.cli import output as out

    console = out.console()
    console.print(found.summary, soft_wrap=True)
    step = found.superstep
    if step is not None and step.open:
        console.print(
            f"superstep: {step.open} of {step.total} tasks {'is' if step.open == 1 else 'are'} open"
        )
    grid = Table.grid(padding=(0, 2))
    for wait in found.waits:
        lines = [wait.detail, _times(wait, found.now), f"$ {wait.command}" if wait.command else ""]
        grid.add_row(
            Text(wait.kind, style=out.COLOURS.get(wait.kind, "bold")), Text("\n".join(filter(None, lines)))
        )
    if found.waits:
        console.print()
        console.print(grid)


def _times(wait: Wait, now: float) -> str:
    parts = [
        f"{word} {_moment(at, now)}"
        for word, at in (("since", wait.since), ("until", wait.until))
        if at is not None
    ]
    return ", ".join(parts)


def _moment(at: float, now: float) -> str:
    """A time as this machine's clock shows it, and how far it is from now."""
    from datetime import datetime

    from petiole.cli.output import span

    there, here = datetime.fromtimestamp(at).astimezone(), datetime.fromtimestamp(now).astimezone()
    shown = f"{there:%H:%M:%S}" if there.date() == here.date() else f"{there:%Y-%m-%d %H:%M:%S}"
    return f"{shown} ({f'{span(now - at)} ago' if at <= now else f'in {span(at - now)}'})"
