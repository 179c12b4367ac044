"""How values look on pages: times, durations, numbers, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from markupsafe import Markup, escape

from petiole.client.plain import plain

#: Characters of one value that are written into a page; the rest is a link away.
LONGEST = 20_000


def moment(at: float | None, none: str = "-") -> Markup:
    """A time as a ``<time>`` element; the browser shows it as local, UTC or relative, as its reader likes."""
    if at is None:
        return Markup('<span class="faint">{}</span>').format(none)
    exact = datetime.fromtimestamp(at, UTC)
    return Markup('<time datetime="{}" data-at="{}">{}</time>').format(
        exact.isoformat(timespec="milliseconds"), f"{at:.3f}", exact.strftime("%Y-%m-%d %H:%M:%S UTC")
    )


def span(seconds: float | None) -> str:
    """A duration in the two largest units that it has."""
    if seconds is None:
        return "-"
    seconds = max(seconds, 0.0)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    for size, unit, lower, lower_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            whole, rest = int(seconds // size), int(seconds % size // lower)
            return f"{whole} {unit} {rest} {lower_unit}" if rest else f"{whole} {unit}"
    raise AssertionError(seconds)


def took(began: float | None, ended: float | None) -> Markup:
    """How long something took, or takes: then the browser counts on."""
    if began is None:
        return Markup('<span class="faint">-</span>')
    if ended is None:
        return Markup('<span class="ticking" data-since="{}">…</span>').format(f"{began:.3f}")
    return Markup("<span>{}</span>").format(span(ended - began))


def number(value: float) -> str:
    """A number with thousands apart."""
    return f"{value:,}"


def pretty(value: Any) -> str:
    """A value as indented JSON, cut where it is very long."""
    text = value_text(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n… {len(text) - LONGEST:,} more characters"


def value_text(value: Any) -> str:
    """A value as indented JSON; what JSON cannot say as Python shows it."""
    try:
        return json.dumps(plain(value), ensure_ascii=False, indent=2)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError):
        return repr(value)


def short_id(id: str) -> str:
    """The part of an id that tells it from its neighbours: the end, for ids begin with their time."""
    return id if len(id) <= 12 else f"…{id[-8:]}"


def json_view(value: Any, label: str = "value") -> Markup:
    """A value as highlighted JSON that can be copied."""
    text = pretty(value)
    return Markup(
        '<div class="code" data-copy-box><pre tabindex="0" aria-label="{}"><code data-json>{}</code></pre>'
        '<button type="button" class="copy needs-js" data-copy="" aria-label="Copy the {}">'
        '<svg class="icon" aria-hidden="true"><use href="#i-copy"></use></svg></button></div>'
    ).format(label, escape(text), label)


FILTERS: Mapping[str, Callable[..., Any]] = {
    "moment": moment,
    "span": span,
    "number": number,
    "pretty": pretty,
    "short_id": short_id,
    "json_view": json_view,
}
GLOBALS: Mapping[str, Callable[..., Any]] = {"took": took}
