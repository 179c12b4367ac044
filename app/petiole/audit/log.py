"""The log itself: items of the store that are written once and never changed."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import msgspec

from petiole.audit.entry import Entry
from petiole_stores.decoding import converter
from petiole_stores.errors import InputError, PetioleError
from petiole_stores.items import Namespace, NewItem
from petiole_stores.store import Store

logger = logging.getLogger("petiole.audit")

ROOT: Namespace = ("petiole", "audit")
_PAGE = 500
#: Entries that one page looks at; a page that finds less than its limit in them still names the next.
SCANNED = 20_000

Visible = Callable[[Entry], bool]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are meant."""

    actor: str | None = None
    action: str | None = None  #: ``run.cancel``, or ``run`` for all that begins with ``run.``
    thread_id: str | None = None
    result: str | None = None
    since: float | None = None
    until: float | None = None

    def fits(self, entry: Entry) -> bool:
        return (
            self.actor in (None, entry.actor)
            and (self.action is None or f"{entry.action}.".startswith(f"{self.action}."))
            and self.thread_id in (None, entry.thread_id)
            and self.result in (None, entry.result)
            and (self.since is None or entry.at >= self.since)
            and (self.until is None or entry.at < self.until)
        )


#: Every entry.
EVERYTHING = Query()


class Page(msgspec.Struct, kw_only=True):
    """Entries, newest first, and the cursor of the next page (``None``: there is none)."""

    entries: list[Entry]
    next: str | None = None


class AuditLog:
    """The audit log of a store. ``keep`` is for how many seconds an entry is kept (``None``: for ever)."""

    def __init__(self, store: Store, *, keep: float | None = None) -> None:
        self._store, self._keep = store, keep

    def write(self, entries: Sequence[Entry]) -> None:
        """Keep entries. What they tell of has happened: where the store cannot take them they go to the process's log."""
        try:
            self._store.put_items(
                [
                    NewItem(
                        (*ROOT, day_of(entry.at)),
                        entry.id,
                        self._store.serde.dump_whole(msgspec.to_builtins(entry)),
                        ttl=self._keep,
                        if_absent=True,
                    )
                    for entry in entries
                ]
            )
        except PetioleError as error:
            for entry in entries:
                text = msgspec.json.encode(entry).decode()
                logger.error("the audit log could not take an entry (%s): %s", error, text)

    def page(
        self,
        query: Query = EVERYTHING,
        *,
        limit: int = 100,
        cursor: str | None = None,
        visible: Visible = lambda entry: True,
    ) -> Page:
        """Up to ``limit`` entries, newest first, from the cursor of the page before on. Raises InputError.

        ``visible`` tells which ones may be shown at all. A page may have less than ``limit``, even none, and a next one.
        """
        found: list[Entry] = []
        for seen, (entry, place) in enumerate(self._walk(query, _decode(cursor)), 1):
            if query.fits(entry) and visible(entry):
                found.append(entry)
            if len(found) >= limit or seen >= SCANNED:
                return Page(entries=found, next=place)
        return Page(entries=found)

    def all(self, query: Query = EVERYTHING) -> Iterator[Entry]:
        """Every entry that fits, newest first."""
        return (entry for entry, _ in self._walk(query, None) if query.fits(entry))

    def _walk(self, query: Query, after: tuple[str, int, str] | None) -> Iterator[tuple[Entry, str]]:
        """Entries of the days in question, each with the cursor that goes on behind it."""
        for day in reversed(self._days()):
            if (query.since is not None and day < day_of(query.since)) or (
                query.until is not None and day > day_of(query.until)
            ):
                continue
            offset, wanted = 0, ""
            if after is not None:
                if day > after[0]:
                    continue
                if day == after[0]:
                    # New entries have come before the one that was last; none has gone from there.
                    offset, wanted = after[1], after[2]
            yield from self._of_day(day, offset, wanted)

    def _of_day(self, day: str, offset: int, wanted: str) -> Iterator[tuple[Entry, str]]:
        while items := self._store.search_items((*ROOT, day), limit=_PAGE, offset=offset):
            for position, item in enumerate(items, offset):
                if wanted:
                    wanted = "" if item.key == wanted else wanted
                    continue
                entry = _entry(self._store.serde.load_whole(item.value))
                yield entry, _encode(day, position, entry.id)
            offset += len(items)

    def _days(self) -> list[str]:
        days: list[str] = []
        while page := self._store.list_namespaces(ROOT, max_depth=3, limit=1000, offset=len(days)):
            days += [namespace[2] for namespace in page if len(namespace) == 3]
            if len(page) < 1000:
                break
        return days


def day_of(at: float) -> str:
    """The day of a time, in UTC: ``2026-11-25``."""
    return datetime.fromtimestamp(min(max(at, 0.0), 253402300799.0), UTC).strftime("%Y-%m-%d")


def _encode(day: str, position: int, id: str) -> str:
    return base64.urlsafe_b64encode(f"{day}|{position}|{id}".encode()).decode().rstrip("=")


def _decode(cursor: str | None) -> tuple[str, int, str] | None:
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        day, position, id = text.split("|")
        if int(position) < 0:
            raise ValueError
        return day, int(position), id
    except (binascii.Error, UnicodeError, ValueError):
        raise InputError(
            f"cursor is {cursor[:40]!r}: give the one that the page before has as its next"
        ) from None


_entry = converter(Entry)
