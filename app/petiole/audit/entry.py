"""One line of the audit log."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

#: ``already``: it was so before; ``refused``: by the ledger or for want of a scope; ``failed``: by an error, and what has
#: come of it is not known.
Result = Literal["done", "already", "refused", "failed"]

LONGEST = 300  #: characters of a user agent or a reason


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts, and from where."""

    actor: str  #: ``key:<id>``, ``jwt:<subject>``, ``cli:<user>@<host>`` or ``anonymous``
    via: Literal["api", "dashboard", "cli"]
    address: str = ""
    user_agent: str = ""


class Entry(msgspec.Struct, kw_only=True):
    """Who did what, when, from where, and what became of it. It has no input, state or secret."""

    id: str  #: a UUIDv7: entries sort by it as by time
    at: float
    actor: str
    via: str
    address: str = ""
    user_agent: str = ""
    action: str  #: ``run.cancel``, ``thread.delete``, ``key.create`` …
    result: Result = "done"
    reason: str = ""  #: why it was refused or failed
    graph: str | None = None
    thread_id: str | None = None
    run_id: str | None = None
    before: dict[str, Any] = {}  #: ids and statuses: ``run_id``, ``status``, ``checkpoint_id``
    after: dict[str, Any] = {}
    details: dict[str, Any] = {}  #: what else was asked for, by name


def shortened(text: str) -> str:
    """A text of others as the log keeps it: printable, and not endless."""
    return "".join(char if char.isprintable() else " " for char in text[:LONGEST])
