"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

WHERE = "Where"


class Format(StrEnum):
    """How a read is written."""

    text = "text"
    json = "json"
    jsonl = "jsonl"


class Busy(StrEnum):
    reject = "reject"
    enqueue = "enqueue"
    interrupt = "interrupt"
    rollback = "rollback"


class Consistency(StrEnum):
    strong = "strong"
    eventual = "eventual"
    session = "session"
    minimal = "minimal"


@dataclass
class Common:
    """What was given before the command's name."""

    store: str | None = None
    broker: str | None = None
    debug: bool = False


Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        rich_help_panel=WHERE,
        help="The store. Default: settings, else a SQLite file.",
    ),
]
Broker = Annotated[
    str | None,
    typer.Option(
        "--broker",
        metavar="URL",
        rich_help_panel=WHERE,
        help="The broker. Default: settings, else an embedded one.",
    ),
]
Output = Annotated[
    Format, typer.Option("--output", "-o", help="text for people, json: one document, jsonl: one a line.")
]
Thread = Annotated[
    str, typer.Argument(metavar="THREAD", help="A thread's id (its newest run is meant), or a run's.")
]
RunId = Annotated[
    str | None, typer.Option("--run", metavar="ID", help="Another run of the thread than its newest.")
]
Graphs = Annotated[
    list[str] | None,
    typer.Option("--graphs", metavar="MODULE:ATTR…", help="Graphs, as module:attribute; several may follow."),
]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the run's end and print its final state.")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", help="How long to wait before giving up (exit code 6)."),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the run.")]
Tracebacks = Annotated[
    bool, typer.Option("--tracebacks", help="Print the traceback of every failed try, too.")
]
ErrorType = Annotated[
    str | None,
    typer.Option(
        "--error-type", metavar="TYPE", help="Failed of it: ValueError, shop.errors.Declined, Declined."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]
MaybeThread = Annotated[
    str | None,
    typer.Argument(
        metavar="THREAD", help="A thread's id (its newest run is meant), or a run's. Without: many."
    ),
]
Statuses = Annotated[
    list[str] | None, typer.Option("--status", metavar="STATUS", help="In this status; may be repeated.")
]
GraphName = Annotated[str | None, typer.Option("--graph", metavar="NAME", help="Of this graph.")]
Tag = Annotated[str | None, typer.Option("--tag", metavar="TAG", help="With this tag.")]
Text = Annotated[
    str | None,
    typer.Option(
        "--text", metavar="TEXT", help="Has it in the thread's or run's id, the graph's name or a tag."
    ),
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Submitted since: ISO 8601, or 2h ago.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Submitted before.")]
OfThread = Annotated[str | None, typer.Option("--thread", metavar="ID", help="Of this thread.")]
Limit = Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")]
IdempotencyKey = Annotated[
    str | None, typer.Option("--idempotency-key", metavar="KEY", help="The same key gives the same run.")
]
