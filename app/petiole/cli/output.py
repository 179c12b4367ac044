"""Writing results: text for people, JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from petiole.cli.options import Format

COLOURS = {
    "succeeded": "green",
    "done": "green",
    "alive": "green",
    "ok": "green",
    "failed": "red",
    "fail": "red",
    "dead": "red",
    "cancelled": "yellow",
    "interrupted": "yellow",
    "paused": "yellow",
    "blocked": "yellow",
    "warn": "yellow",
    "stopping": "yellow",
    "running": "cyan",
    "claimed": "cyan",
}


def console() -> Console:
    """Standard output; nothing is cut to a width where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 1000, highlight=False, soft_wrap=False)


def write_json(document: Any, format: Format) -> None:
    """One document, or with ``jsonl`` each member of a list on a line of its own."""
    if format is Format.jsonl:
        for one in document if isinstance(document, list) else [document]:
            print(json.dumps(one, ensure_ascii=False), flush=True)
    else:
        print(json.dumps(document, ensure_ascii=False, indent=2))


def write_table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Rows under headings; ``empty`` is said (on stderr) when there is none."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    if table.row_count:
        console().print(table)
    else:
        print(empty, file=sys.stderr)


def write_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line; those without a value are left out."""
    grid = Table.grid(padding=(0, 2))
    for name, value in fields:
        if value not in (None, "", [], {}):
            grid.add_row(Text(name, style="bold"), cell(value))
    console().print(grid)


def cell(value: object) -> Text:
    """A value as a cell; statuses have their colours."""
    if isinstance(value, (list, tuple, set)):
        text = ", ".join(map(str, value))
    else:
        text = "" if value is None else str(value)
    return Text(text, style=COLOURS.get(text, ""))


def counted(texts: Iterable[str]) -> str:
    """Texts beside each other; one that comes again is written once, with how often: ``branch ×1000, join``."""
    return ", ".join(text + times(count) for text, count in Counter(texts).items())


def times(count: int) -> str:
    """How often, where that is more than once."""
    return f" ×{count}" if count > 1 else ""


def ago(at: float | None) -> str:
    """How long ago a time was, roughly."""
    if at is None:
        return ""
    return f"{span(time.time() - at)} ago" if at <= time.time() else f"in {span(at - time.time())}"


def span(seconds: float) -> str:
    """A duration, in the two largest units that it has."""
    seconds = max(seconds, 0.0)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    for size, unit, lower, lower_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            rest = int(seconds % size // lower)
            return (
                f"{int(seconds // size)}{unit} {rest}{lower_unit}"
                if rest
                else f"{int(seconds // size)}{unit}"
            )
    return f"{seconds:.0f} s"


def took(began: float | None, ended: float | None) -> str:
    """How long something took; nothing while that is not known."""
    return span(ended - began) if began is not None and ended is not None else ""
