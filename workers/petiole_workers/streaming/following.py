"""Following a run that others execute: what the ledger and its events tell, in order, from any place on.

A follower only reads. It looks anew after pauses that grow while nothing happens, and that are long against what a look
costs, so that any number of them, however slow, are in nobody's way. Every chunk has an id that says all that was told up
to it; who comes back with the last one gets what comes after it, without a gap and without a repeat.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from petiole_stores.errors import InputError, NotFoundError
from petiole_stores.records import SETTLED, Run
from petiole_stores.store import Store
from petiole_workers.documents import Documents
from petiole_workers.graph import GraphDefinition
from petiole_workers.logs import KIND
from petiole_workers.streaming.cursor import Position
from petiole_workers.streaming.deriving import Deriver
from petiole_workers.streaming.ledger_facts import Ledger
from petiole_workers.streaming.merging import Merging, Step, Utterance
from petiole_workers.streaming.modes import SPOKEN, Modes, StreamMode
from petiole_workers.streaming.payloads import OutputKeys

#: The first and the longest pause between two looks, in seconds; and how much longer than a look it is at least.
FIRST_PAUSE, LONGEST_PAUSE, TIMES_COST = 0.02, 1.0, 10.0
#: Events that are read at once.
PAGE = 100
#: In these a run stays until somebody does something about it.
RESTING = SETTLED | {"interrupted"}


class StreamEvent(NamedTuple):
    """One chunk of a run that is followed.

    id: names the place after it; opaque. Give it as ``after`` to go on from there.
    ns: the namespace, outermost first; ``()`` for the graph itself.
    node, attempt: who said it, for ``custom`` and ``messages``. What an attempt said that came to nothing is not taken back:
        a higher attempt of the same node begins anew.
    """

    id: str
    mode: StreamMode
    data: Any
    ns: tuple[str, ...] = ()
    node: str = ""
    attempt: int = 0


class Follower:
    """Follows one run.

    Parameters
        modes  what to tell of
        after  the id to go on from; ``None``: from the run's beginning
        keys   the keys of the state that ``values`` and ``updates`` show
        graph  the graph, where it is known

    Raises InputError for an id of another run.
    """

    def __init__(
        self,
        store: Store,
        run: Run,
        modes: Modes,
        *,
        after: str | None = None,
        keys: OutputKeys = None,
        graph: GraphDefinition | None = None,
    ) -> None:
        self._store, self._run_id, self._thread_id = store, run.run_id, run.thread_id
        self._modes = modes
        self._documents = Documents(store)
        self._deriver = Deriver(self._documents, modes, keys=keys, graph=graph)
        self._position = Position(run.run_id) if after is None else Position.parse(after)
        if self._position.run_id != run.run_id:
            raise InputError(
                f"the event id is of run {self._position.run_id}, not of run {run.run_id}: follow that one, or leave it out"
            )
        self._kinds = SPOKEN & modes.asked
        #: The superstep that the ledger was looked at once more for.
        self._awaited: Step | None = None
        #: Events up to this one need not be read again, though the position may not have gone by them.
        self._passed = 0
        self._idle = 0
        self._cost = 0.0
        #: The run as it was at the last look.
        self.run = run
        #: Whether the run rests, and all of it was told.
        self.over = False

    @property
    def position(self) -> str:
        """The id of the place up to which all was told."""
        return self._position.token

    @property
    def pause(self) -> float:
        """How long to wait before the next look, in seconds."""
        grown = min(FIRST_PAUSE * 1.5 ** min(self._idle, 20), LONGEST_PAUSE)
        return max(grown, TIMES_COST * self._cost)

    def look(self) -> list[StreamEvent]:
        """What has happened since the last look. One that fails has told nothing, and may be made again.

        Raises NotFoundError where the run is gone, UnfitError for a class that this process does not know.
        """
        began = time.monotonic()
        position = self._position.copy()
        self._store.hint(self._thread_id, [self._run_id])
        run = self._store.get_run(self._run_id)
        if run is None:
            raise NotFoundError(
                f"run {self._run_id} of thread {self._thread_id!r} is gone: it was deleted meanwhile"
            )
        ledger = Ledger(self._store, self._documents, run, position) if self._modes.derived else None
        merging = Merging(
            ledger, self._utterances(max(position.event, self._passed)), position, self._awaited
        )
        told = list(self._tell(merging, position))
        self._awaited = merging.awaited
        self._position, self.run = position, run
        self._passed = max(self._passed, merging.passed)
        self.over = run.status in RESTING and not merging.is_behind
        self._cost = time.monotonic() - began
        self._idle = 0 if told or merging.is_behind else self._idle + 1
        return told

    def _tell(self, merging: Merging, position: Position) -> Iterator[StreamEvent]:
        for told in merging.in_order():
            by = merging.by
            node, attempt = (by.node, by.attempt) if by is not None else ("", 0)
            after = position.number if told.name == position.fact else 0
            chunks = list(self._deriver.numbered(told.fact, after))
            ids = [position.within(told.name, number).token for number, _ in chunks[:-1]]
            told.move(position)
            position.fact, position.number = "", 0
            for id, (_, chunk) in zip([*ids, position.token], chunks, strict=False):
                yield StreamEvent(id, chunk.mode, chunk.data, chunk.ns, node, attempt)

    def _utterances(self, after: int) -> Iterator[Utterance]:
        """What was said after an event; of other runs and kinds the number alone."""
        while self._kinds:
            page = self._store.read_events(self._thread_id, after, limit=PAGE)
            for event in page:
                mine = event.run_id == self._run_id and event.kind in self._kinds
                if mine:
                    yield Utterance.of(event, self._store.serde)
                else:
                    yield Utterance(event.seq, moves=event.kind != KIND)
            if len(page) < PAGE:
                return
            after = page[-1].seq
