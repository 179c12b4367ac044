"""The recursion limit: up to which step a run may go, wherever that runs. See docs/decisions/0024-recursion-limit.md."""

from __future__ import annotations

import dataclasses

from petiole_workers.graph import Snapshot

#: In a snapshot's control: the step from which the supersteps of its run are counted.
FIRST_STEP = "first_step"
#: The path of the task that fails a run which has come to its end with its last step; a replay lets it end well.
LIMIT_PATH = "limit"


def last_step(base: Snapshot, limit: int) -> int:
    """The last step that may follow ``base``, as LangGraph counts.

    What lies beyond is there only where a replay has let it go on: then it counts anew.
    """
    return (base.step + 1 if is_beyond(base, limit) else _first(base)) + limit + 1


def counted(base: Snapshot, after: Snapshot, limit: int) -> Snapshot:
    """``after``, the snapshot that follows ``base``: it knows from where supersteps are counted now."""
    if not is_beyond(base, limit):
        return after
    return dataclasses.replace(after, control={**after.control, FIRST_STEP: base.step + 1})


def is_beyond(base: Snapshot, limit: int) -> bool:
    """Whether no superstep may follow ``base``."""
    return base.step > _first(base) + limit


def _first(base: Snapshot) -> int:
    first = base.control.get(FIRST_STEP, -1)
    assert isinstance(first, int)
    return first
