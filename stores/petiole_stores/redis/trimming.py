"""Trimming a thread: plan by reading in pages, then remove in pieces that look again.

One caller trims a thread at a time, under a lock that runs out by itself. Planning may read at leisure: a task that is over
stays over, and a checkpoint that is neither a head nor a run's base gets no new tasks unless a run names it as its base,
which each removal looks for. Blobs that somebody puts meanwhile are spared (lua/trim.lua).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from petiole_stores.ids import new_id
from petiole_stores.records import Trimmed
from petiole_stores.redis.requests import optional
from petiole_stores.redis.upkeep import Upkeep

#: How many records one script looks at, and how many checkpoints (tasks) one removes: none holds the server for long.
PAGE, REMOVE = 500, 200
#: For how long the lock outlives its owner, milliseconds.
KEEP = 60_000

T = TypeVar("T")


class _Begun(msgspec.Struct):
    count: int
    blobs: list[str]
    dead: list[str] = []


class _PlannedTask(msgspec.Struct, array_like=True):
    task_id: str
    run_id: str
    ns: str
    checkpoint_id: str
    over: bool
    named: list[str]


class _Runs(msgspec.Struct):
    bases: list[str]
    tasks: list[_PlannedTask]
    named: list[str]
    seen: int = 0
    seq: int | None = None
    offset: int = 0


class _Place(msgspec.Struct, array_like=True):
    seq: int
    ns: str
    checkpoint_id: str


class _Part(msgspec.Struct, array_like=True):
    """A checkpoint to remove, or some of its tasks before it: triples of task, run and namespace."""

    ns: str
    checkpoint_id: str
    tasks: list[tuple[str, str, str]]
    last: bool


class _Named(msgspec.Struct):
    named: list[str]
    seq: int | None = None


class _Removed(msgspec.Struct):
    checkpoints: int
    tasks: int
    kept: list[str]


_begun = optional(_Begun)
_runs = optional(_Runs)
_places = optional(list[_Place])
_removed = optional(_Removed)
_names = optional(_Named)
_spaces = optional(list[str])
_count = optional(int)
_bool = optional(bool)


class _LockLost(Exception):
    """Another caller trims this thread now, or it was deleted."""


class Trimming(Upkeep):
    """Old checkpoints of a thread and blobs that nothing names."""

    def _trim(self, thread_id: str, max_checkpoints: int | None) -> Trimmed:
        done = Trimmed()
        trim = _Trim(self, thread_id)
        try:
            begun = trim.step("begin", _begun)
            many = max_checkpoints is not None and (begun.count > max_checkpoints or bool(begun.dead))
            if many or begun.blobs:
                _carry_out(trim, begun, max_checkpoints if many else None, done)
            trim.step("end", _bool)
        except _LockLost:
            pass
        return done


class _Trim:
    """The steps of one trim under its token."""

    def __init__(self, store: Trimming, thread_id: str) -> None:
        self._store, self._partition = store, store._partition(thread_id)
        self._request: dict[str, Any] = {"thread": thread_id, "token": new_id(), "keep": KEEP}

    def step(self, name: str, decode: Callable[[bytes], T | None], **request: Any) -> T:
        answer = self._store._on(self._partition, "trim", {**self._request, "step": name, **request}, decode)
        if answer is None:
            raise _LockLost
        return answer


def _carry_out(trim: _Trim, begun: _Begun, most: int | None, done: Trimmed) -> None:
    needed: set[str] = set()
    named: set[str] = set()
    tasks: dict[str, list[_PlannedTask]] = {}
    seen = 0
    for page in _pages_of_runs(trim, names=bool(begun.blobs)):
        seen = max(seen, page.seen)
        needed.update(page.bases)
        named.update(page.named)
        for task in page.tasks:
            tasks.setdefault(task.checkpoint_id, []).append(task)
            if not task.over:
                needed.add(task.checkpoint_id)
    if most is not None:
        _remove(trim, seen, _superfluous(trim, most, needed), tasks, done)
        while dead := trim.step("dead", _spaces):
            _remove(trim, seen, [place for place in _history(trim) if place.ns in dead], tasks, done)
            trim.step("forget", _bool, spaces=dead)
    if begun.blobs:
        named.update(name for kept in tasks.values() for task in kept for name in task.named)
        done.blobs = _collect(trim, set(begun.blobs) - named)


def _pages_of_runs(trim: _Trim, names: bool) -> Iterator[_Runs]:
    seq: int | None = 0
    offset = 0
    while seq is not None:
        page = trim.step("runs", _runs, seq=seq, offset=offset, most=PAGE, names=names)
        yield page
        seq, offset = page.seq, page.offset


def _superfluous(trim: _Trim, most: int, needed: set[str]) -> list[_Place]:
    """What is beyond the newest ``most`` of its namespace, oldest first; heads and their parents are the script's matter."""
    by_ns: dict[str, list[_Place]] = {}
    for place in _history(trim):
        by_ns.setdefault(place.ns, []).append(place)
    return [
        place for places in by_ns.values() for place in places[:-most] if place.checkpoint_id not in needed
    ]


def _history(trim: _Trim) -> Iterator[_Place]:
    """The thread's checkpoints, oldest first."""
    after = 0
    while page := trim.step("history", _places, after=after, most=PAGE):
        yield from page
        after = page[-1].seq


def _remove(
    trim: _Trim, seen: int, places: Sequence[_Place], tasks: dict[str, list[_PlannedTask]], done: Trimmed
) -> None:
    """Remove checkpoints with their tasks, which are taken off the plan."""
    for piece in _pieces(places, tasks):
        answer = trim.step("remove", _removed, seen=seen, checkpoints=piece)
        done.checkpoints += answer.checkpoints
        done.tasks += answer.tasks
        for part in piece:
            if part.last and part.checkpoint_id not in answer.kept:
                tasks.pop(part.checkpoint_id, None)


def _pieces(places: Sequence[_Place], tasks: dict[str, list[_PlannedTask]]) -> Iterator[list[_Part]]:
    """The checkpoints to remove with their tasks, as many at a time as one script takes."""
    piece: list[_Part] = []
    weight = 0
    for place in places:
        mine = [(it.task_id, it.run_id, it.ns) for it in tasks.get(place.checkpoint_id, ())]
        for start in range(0, max(len(mine), 1), PAGE):
            some = mine[start : start + PAGE]
            piece.append(_Part(place.ns, place.checkpoint_id, some, start + PAGE >= len(mine)))
            weight += 1 + len(some)
            if len(piece) == REMOVE or weight >= PAGE:
                yield piece
                piece, weight = [], 0
    if piece:
        yield piece


def _collect(trim: _Trim, doubtful: set[str]) -> int:
    """Remove the blobs that no checkpoint names either; returns how many there were."""
    after: int | None = 0
    place = 0
    while doubtful and after is not None:
        place = after
        page = trim.step("names", _names, after=after, most=REMOVE)
        doubtful.difference_update(page.named)
        after = page.seq
    blobs = sorted(doubtful)
    return sum(
        trim.step("collect", _count, after=place, blobs=blobs[start : start + PAGE])
        for start in range(0, len(blobs), PAGE)
    )
