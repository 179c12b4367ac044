"""What goes into a hop and what comes out of it: a message's hint, a run's configuration, a task's work."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from petiole_stores.decoding import decoder
from petiole_stores.records import Claim, Outcome, TaskRef
from petiole_stores.store import StoreTransaction
from petiole_workers.documents import Rows
from petiole_workers.graph import DEFAULT_RECURSION_LIMIT, TaskOutput


class Hint(NamedTuple):
    """What a message says of a task: ids, the graph, node and version that it is of, and whether it is to be run alone.

    A task on the fast lane may have been recovered from a process that died under it. It is claimed by itself, so that
    it is charged with the crash, should it kill this process too.
    """

    thread_id: str
    run_id: str
    task_id: str
    graph: str
    node: str
    alone: bool = False
    version: str | None = None

    @classmethod
    def of(cls, ref: TaskRef) -> Hint:
        return cls(
            ref.thread_id, ref.run_id, ref.task_id, ref.graph, ref.node, ref.priority == "high", ref.version
        )


class Parent(msgspec.Struct, frozen=True):
    """The task that has submitted a run as a child, and whether it waits for its end."""

    thread_id: str
    run_id: str
    task_id: str
    node: str
    waits: bool


class RunConfig(msgspec.Struct, omit_defaults=True):
    """How a run is to be executed (the ``config`` document of a run)."""

    recursion_limit: int = DEFAULT_RECURSION_LIMIT
    inline: bool = False  #: made by graph.invoke: its tasks are never published
    durability: str | None = (
        None  #: see :mod:`petiole_workers.durability`; ``None``: the graph's, else the worker's
    )
    relaxed: bool = False  #: a power cut may lose its commits
    #: Documents of what the run was given beside its input (:mod:`petiole_workers.given`); empty: nothing.
    context: msgspec.Raw = msgspec.Raw()
    configurable: msgspec.Raw = msgspec.Raw()
    parent: Parent | None = None  #: see :mod:`petiole_workers.children`


@dataclass(frozen=True)
class Stops:
    """Where a run is interrupted: before and after which nodes; ``None``: as its graph says."""

    before: Collection[str] | None = None
    after: Collection[str] | None = None


#: Nothing of its own: a run stops where its graph was compiled to.
AS_COMPILED = Stops()


@dataclass
class Work:
    """One claimed task on its way to its outcome."""

    claim: Claim
    outcome: Outcome
    rows: Rows | None = None  #: of its settle
    took: float = 0.0
    follow: Claim | None = None  #: the next task, if this worker holds it already
    carried: bool = False  #: its commit may wait: ``follow`` is run first
    transaction: StoreTransaction | None = None  #: of the node's own, to be committed with the outcome
    close: Callable[[], None] = lambda: None  #: gives up what its attempt still holds of the store
    forget: Callable[[], None] | None = (
        None  #: removes what was kept for further attempts, once it is committed
    )
    refused: bool = False  #: it was not committed, and never will be
    output: TaskOutput | None = None  #: what its node gave
    attempt: int = 1  #: the number of the try that gave it
    taken_over: bool = False  #: the main process has ended its node and commits the outcome, too


#: A run's ``config`` document as a :class:`RunConfig`.
read_config = decoder(RunConfig)
