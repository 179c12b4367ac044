"""The filters of the list of runs, as its address has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import msgspec
from fastapi import Request

from petiole.client.run_query import RunQuery
from petiole_stores.errors import InputError
from petiole_stores.ledger_reads import STATUSES

#: Times that the list offers, in seconds.
PERIODS: Mapping[str, int] = {"15m": 900, "1h": 3600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000}
FIELDS = ("graph", "tag", "text", "error", "since", "until", "thread")


class RunsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What the list of runs is narrowed to; ``since`` and ``until`` as they were written: ``24h`` or an ISO time."""

    status: tuple[str, ...] = ()
    graph: str = ""
    tag: str = ""
    text: str = ""
    error: str = ""
    since: str = ""
    until: str = ""
    thread: str = ""

    @classmethod
    def of(cls, fields: Any) -> RunsQuery:
        """From a request's query or a form. Raises InputError for a status that there is not."""
        statuses = tuple(dict.fromkeys(one for one in fields.getlist("status") if one))
        for status in statuses:
            if status not in STATUSES:
                raise InputError(f"there is no status {status!r}: take one of {', '.join(STATUSES)}")
        return cls(status=statuses, **{name: str(fields.get(name, "")).strip() for name in FIELDS})

    @property
    def is_narrow(self) -> bool:
        return self != RunsQuery()

    def pairs(self, **other: Any) -> list[tuple[str, str]]:
        """The query as names and values; ``other`` stands in place of its own."""
        known = msgspec.structs.asdict(self) | other
        pairs = [("status", one) for one in known.pop("status")]
        return pairs + [(name, str(value)) for name, value in known.items() if value]

    def url(self, **other: Any) -> str:
        """The address of the list so narrowed."""
        query = urlencode(self.pairs(**other))
        return f"/?{query}" if query else "/"

    def toggled(self, status: str) -> str:
        """The address of the list with this status in or out."""
        kept = tuple(one for one in self.status if one != status)
        return self.url(status=kept if status in self.status else (*kept, status))

    def narrowed(self, now: float) -> RunQuery:
        """What the client is asked for. ``now``: the store's time. Raises InputError for a time that is none."""
        return {
            "graph": self.graph or None,
            "status": self.status,
            "thread_id": self.thread or None,
            "tag": self.tag or None,
            "text": self.text or None,
            "error_type": self.error or None,
            "since": _time(self.since, now),
            "until": _time(self.until, now),
        }

    def arguments(self) -> list[str]:
        """The same as options of ``petiole run list``."""
        options = {
            "graph": "--graph",
            "tag": "--tag",
            "text": "--text",
            "error": "--error-type",
            "since": "--since",
            "until": "--until",
        }
        given = [part for status in self.status for part in ("--status", status)]
        for name, option in options.items():
            if value := getattr(self, name):
                given += [option, value]
        return given


def query_of(request: Request) -> RunsQuery:
    """A dependency: the filters in a request's address."""
    return RunsQuery.of(request.query_params)


def _time(written: str, now: float) -> float | None:
    if not written:
        return None
    if written in PERIODS:
        return now - PERIODS[written]
    try:
        at = datetime.fromisoformat(written)
    except ValueError:
        known = ", ".join(PERIODS)
        raise InputError(
            f"{written!r} is no time: take {known}, or an ISO 8601 time as 2026-01-31T12:00Z"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
