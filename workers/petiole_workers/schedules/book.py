"""Schedules in the items of a store, changed by compare-and-set.

Each revision of a schedule is an item of its own, whose key is the revision's number; the highest one counts. A change puts
the next number if it is absent, and removes the one that it was made from, in one batch: of several who change the same
revision one succeeds, and the others look again. Somebody very late may put a number that has been removed meanwhile: it is
below the highest, so it counts for nothing. A schedule that is deleted leaves a last revision without a value for a week,
so that this holds for it too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from petiole_stores.decoding import converter
from petiole_stores.errors import (
    ConflictError,
    CorruptionError,
    NotFoundError,
    PetioleError,
    StoreError,
    StoreUnavailableError,
    UnfitError,
)
from petiole_stores.items import MAX_LIMIT, Item, Namespace, NewItem
from petiole_stores.store import Store
from petiole_workers.schedules.schedule import Schedule, check_name

ROOT: Namespace = ("petiole", "schedules")
#: How long it is remembered that a schedule was deleted, in seconds.
REMEMBERED = 7 * 86400.0
#: What a revision says of a schedule that is deleted.
_GONE = "null"


def list_schedules(store: Store) -> list[Schedule]:
    """All schedules that can be read, by name; :func:`damaged_schedules` tells of the others."""
    return read_schedules(store)[0]


def damaged_schedules(store: Store) -> dict[str, str]:
    """Why schedules cannot be read (here), by name. They fire nothing; :func:`delete_schedule` removes them, too."""
    return read_schedules(store)[1]


def read_schedules(store: Store) -> tuple[list[Schedule], dict[str, str]]:
    """What :func:`list_schedules` and :func:`damaged_schedules` tell, in one look."""
    highest: dict[Namespace, Item] = {}
    offset = 0
    while page := store.search_items(ROOT, limit=MAX_LIMIT, offset=offset):
        for item in page:
            if item.namespace not in highest or item.key > highest[item.namespace].key:
                highest[item.namespace] = item
        offset += len(page)
        if len(page) < MAX_LIMIT:
            break
    found: list[Schedule] = []
    damaged: dict[str, str] = {}
    for place in sorted(highest):
        if highest[place].value != _GONE:
            try:
                found.append(_read(store, highest[place]))
            except StoreUnavailableError:
                raise
            except PetioleError as error:
                damaged[place[-1]] = str(error)
    return found, damaged


def get_schedule(store: Store, name: str) -> Schedule:
    """The schedule of this name. Raises NotFoundError."""
    check_name(name)
    found = _highest(store, name)
    if found is None or found.value == _GONE:
        raise NotFoundError(f"there is no schedule {name!r}: see petiole schedule list")
    return _read(store, found)


def create_schedule(store: Store, schedule: Schedule) -> Schedule:
    """Keep a new schedule; gives it with its times. Raises InputError, and ConflictError where its name is taken."""
    schedule.check()
    while True:
        there = _highest(store, schedule.name)
        if there is not None and there.value != _GONE:
            kept = _read(store, there)
            if kept.id == schedule.id:
                return kept
            raise ConflictError(
                f"there is a schedule {schedule.name!r} already: update it, delete it first, or take another name"
            )
        _put(store, schedule.name, int(there.key) if there else 0, _document(store, schedule))


def replace_schedule(store: Store, old: Schedule, new: Schedule) -> Schedule | None:
    """Keep ``new`` in the place of the revision ``old``; ``None``: somebody else has changed that one."""
    put = _put(store, old.name, old.revision, _document(store, new))
    found = _highest(store, old.name)
    if not put or found is None or int(found.key) != old.revision + 1:
        return None
    return _read(store, found)


def delete_schedule(store: Store, name: str) -> bool:
    """Remove a schedule; its runs stay. ``False``: there was none."""
    check_name(name)
    while True:
        there = _highest(store, name)
        if there is None or there.value == _GONE:
            return False
        if _put(store, name, int(there.key), _GONE):
            found = _highest(store, name)
            if found is not None and found.value == _GONE:
                return True


def _put(store: Store, name: str, revision: int, document: str) -> bool:
    """Put the revision after this one, and remove this one; whether it was absent."""
    place = (*ROOT, name)
    ttl = REMEMBERED if document == _GONE else None
    items = [NewItem(place, _key(revision + 1), document, ttl=ttl, if_absent=True)]
    if revision:
        items.append(NewItem(place, _key(revision), None))
    return store.put_items(items)[0]


def _highest(store: Store, name: str) -> Item | None:
    """The revision that counts; those below it are removed, for they can only be what somebody late has left."""
    found: Iterable[Item] = store.search_items((*ROOT, name), limit=MAX_LIMIT)
    ordered = sorted(found, key=lambda item: item.key)
    if len(ordered) > 1:
        store.put_items([NewItem(item.namespace, item.key, None) for item in ordered[:-1]])
    return ordered[-1] if ordered else None


def _document(store: Store, schedule: Schedule) -> str:
    plain: dict[str, Any] = msgspec.to_builtins(schedule)
    for name in ("revision", "updated_at"):  # the item tells
        del plain[name]
    return store.serde.dump_whole(plain)


def _read(store: Store, item: Item) -> Schedule:
    """A schedule with what the time of its writing says. Raises UnfitError, and CorruptionError where it is damaged."""
    try:
        kept = _schedule(store.serde.load_whole(item.value))
    except (UnfitError, StoreError):
        raise
    except Exception as error:  # whatever it holds in place of a schedule
        name = item.namespace[-1]
        raise CorruptionError(
            f"schedule {name!r} cannot be read ({type(error).__name__}: {error}); "
            f"it fires nothing: petiole schedule delete {name}, and create it anew"
        ) from error
    found = msgspec.structs.replace(
        kept,
        revision=int(item.key),
        anchor=item.updated_at if kept.anchor is None else kept.anchor,
        created_at=item.created_at if kept.created_at is None else kept.created_at,
        updated_at=item.updated_at,
    )
    if found.paused or kept.next_at is not None:
        return found
    return msgspec.structs.replace(found, next_at=found.first_after(item.updated_at))


def _key(revision: int) -> str:
    return f"{revision:012d}"


_schedule = converter(Schedule)
