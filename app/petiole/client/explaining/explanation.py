"""The answer to "what does this run wait for?" as records."""

from __future__ import annotations

from typing import Literal

import msgspec

from petiole_stores.records import RunStatus

#: What a run may wait for (docs/cli.md has a line on each).
WaitKind = Literal[
    "paused",
    "blocked",
    "behind",
    "start",
    "interrupt",
    "dead_letter",
    "no_worker",
    "unserved_queue",
    "unserved_graph",
    "claimed",
    "lost",
    "retry",
    "timer",
    "signal",
    "child",
    "subgraph",
    "message",
    "backlog",
    "broker",
    "deadline",
]


class Wait(msgspec.Struct, kw_only=True):
    """One thing that a run waits for. Times are seconds since the epoch, by the store's clock."""

    kind: WaitKind
    subject: str  #: the node, queue, worker, run or graph that it is about
    detail: str  #: a sentence; its times are in ``since`` and ``until``
    since: float | None = None
    until: float | None = None
    command: str = ""  #: what helps, where something does


class Superstep(msgspec.Struct, kw_only=True):
    """The run's newest superstep: how many tasks it has, and how many of them have not ended."""

    total: int
    open: int


class Explanation(msgspec.Struct, kw_only=True):
    """What a run waits for, the most telling first; nothing when it has ended well."""

    thread_id: str
    run_id: str
    graph: str
    status: RunStatus
    summary: str  #: one sentence
    superstep: Superstep | None = None
    waits: list[Wait] = []
    now: float  #: when this was so
