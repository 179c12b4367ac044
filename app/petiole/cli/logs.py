"""``petiole run logs``: what the nodes of a run have logged."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from petiole.cli.options import Broker, RunId, Store, Thread
from petiole.cli.session import connected

if TYPE_CHECKING:
    from petiole.client.logs import LogEntry

#: What a terminal would take for more than text.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def logs(
    ctx: typer.Context,
    thread: Thread,
    node: Annotated[
        str | None,
        typer.Option("--node", metavar="NODE", help="Of this node alone; OUTER/INNER of one within another."),
    ] = None,
    task: Annotated[str | None, typer.Option("--task", metavar="ID", help="Of this task alone.")] = None,
    level: Annotated[
        str | None, typer.Option("--level", metavar="LEVEL", help="Of this level and above: WARNING, say.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more until the run has ended or is interrupted.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line.")] = False,
    run: RunId = None,
    store: Store = None,
    broker: Broker = None,
) -> None:
    """Print what a run's nodes have logged through Python's logging on workers, as far as it is kept."""
    from petiole.documents import log_document

    with connected(ctx, store, broker) as client:
        found = client.run_of(thread, run)
        count = 0
        for count, entry in enumerate(  # noqa: B007
            client.logs(found.run_id, task_id=task, node=node, level=level, follow=follow), 1
        ):
            document = json.dumps(log_document(entry), ensure_ascii=False) if as_json else _text(entry)
            print(document, flush=follow)
    if not count and not as_json:
        print(
            "no node has logged anything that is kept: logging.getLogger(__name__).info(...) in a node's function does it, "
            "node_logs says from which level on",
            file=sys.stderr,
        )


def _text(entry: LogEntry) -> str:
    at = datetime.fromtimestamp(entry.at).isoformat(" ", "milliseconds")
    attempt = f" (attempt {entry.attempt})" if entry.attempt > 1 else ""
    lines = [f"{at} {entry.level:<8} {entry.label}{attempt} {entry.logger}: {entry.message}"]
    if entry.exception is not None:
        lines.append(entry.exception)
    first, *rest = _CONTROL.sub(lambda found: repr(found[0])[1:-1], "\n".join(lines)).split("\n")
    return "\n    ".join([first, *rest])
