"""The ledger's facts and the nodes' events in one order: what a node says stands after its superstep's beginning and before
its own end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from petiole_stores.events import Event
from petiole_stores.serde import Serde
from petiole_workers.streaming.cursor import Position
from petiole_workers.streaming.facts import CheckpointMade, Said
from petiole_workers.streaming.ledger_facts import Ledger, Told
from petiole_workers.streaming.speaking import Spoken, unpack_event

#: A superstep by its namespace and number.
Step = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Utterance:
    """An event, unpacked where it is one to tell of; else ``said`` is ``None``.

    moves: whether the position goes by it. It does not by what nodes log: however much that is, and whenever it was read,
        those who were told the same are at the same place.
    """

    seq: int
    by: Spoken | None = None
    said: Said | None = None
    moves: bool = True

    @classmethod
    def of(cls, event: Event, serde: Serde) -> Utterance:
        by, value, about = unpack_event(serde, event.value)
        return cls(event.seq, by, Said(event.kind, value, by.ns, about))


class Merging:
    """What one look has found, in order. Who takes a fact moves the position by it before asking for the next one.

    Events were read after the ledger. So all that a node has said whose end is among the facts is there; and an event may
    be of a superstep whose checkpoint is not: then this look ends before it. It is told all the same if the ledger was
    looked at anew for it (``awaited``) and still does not know: a worker carries that run, and commits later.
    """

    def __init__(
        self, ledger: Ledger | None, utterances: Iterator[Utterance], position: Position, awaited: Step | None
    ) -> None:
        self._ledger, self._utterances, self._position = ledger, utterances, position
        self._reached = {ns: step.step for ns, step in position.steps.items()}
        #: The superstep that this look ended before, or the last one that a look did.
        self.awaited = awaited
        #: Whether this look ended before an event.
        self.is_behind = False
        #: Who said the last event.
        self.by: Spoken | None = None
        #: The event up to which all were told or passed over.
        self.passed = position.event

    def in_order(self) -> Iterator[Told]:
        if self._ledger is not None and (told := self._ledger.find(self._position.fact)) is not None:
            yield from self._pass(told)
        facts = iter(()) if self._ledger is None else self._ledger.facts()
        for utterance in self._utterances:
            by = utterance.by
            if by is not None and self._ledger is not None:
                while not self._is_to_follow(by) and (told := next(facts, None)):
                    yield from self._pass(told)
                if not self._is_to_follow(by) and self.awaited != (by.ns, by.step):
                    self.awaited, self.is_behind = (by.ns, by.step), True
                    break
            if utterance.said is not None:
                self.by = by
                yield _event(utterance.seq, utterance.said)
                self.by = None
            elif utterance.moves:
                self._position.event = utterance.seq
            self.passed = utterance.seq
        for told in facts:
            yield from self._pass(told)

    def _is_to_follow(self, by: Spoken) -> bool:
        """Whether an event may be told: its superstep was reached, and its task has begun."""
        assert self._ledger is not None
        return self._reached.get(by.ns, -2) >= by.step - 1 and self._ledger.knows(by)

    def _pass(self, told: Told) -> Iterator[Told]:
        if isinstance(told.fact, CheckpointMade):
            self._reached[told.fact.record.ns] = told.fact.record.step
        yield told


def _event(seq: int, said: Said) -> Told:
    def move(position: Position) -> None:
        position.event = seq

    return Told(f"e:{seq}", said, move)
