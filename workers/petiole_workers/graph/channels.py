"""How a state key takes the writes of a superstep: LangGraph's channels, by their names.

A key is declared as ``Annotated[T, channel]``, with the class or an object of it; ``Annotated[T, reducer]`` is short for
`BinaryOperatorAggregate`, and a bare ``T`` for `LastValue`. A channel here is a rule without a state of its own: the values
are the snapshot's.

========================= ===================================== ==================================================
channel                   several writes in a superstep         a superstep without a write
========================= ===================================== ==================================================
LastValue                 refused                               the value stays
AnyValue                  the last one counts                   the value goes
EphemeralValue            refused; the last with guard=False    the value goes
UntrackedValue            refused; the last with guard=False    the value stays, until the thread's next run
Topic                     a list of all, lists flattened        the list goes; with accumulate=True it grows
BinaryOperatorAggregate   joined one by one by a reducer        the value stays
DeltaChannel              joined by one call of a reducer       the value stays
========================= ===================================== ==================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from petiole_workers.graph.messages import prepare_of
from petiole_workers.graph.names import MISSING
from petiole_workers.graph.overwrite import overwritten
from petiole_workers.graph.reducers import Reducer, fold, initial_value


@dataclass(frozen=True)
class LastValue:
    """Takes one write a superstep and keeps it. What a key is that names no channel."""

    typ: Any = None

    #: Whether an `Overwrite` in its plain form counts as one, and not as a value.
    reduces: ClassVar[bool] = False
    #: Whether it is dropped when a thread begins another run.
    of_one_run: ClassVar[bool] = False

    @property
    def takes_one(self) -> bool:
        """Whether two writes in one superstep are refused."""
        return True

    @property
    def passes(self) -> bool:
        """Whether a superstep without a write clears it."""
        return False

    def initial(self) -> object:
        """The value before any write, a new one each time; `MISSING` if there is none."""
        return MISSING

    def prepare(self, write: object) -> object:
        """A write as it is taken in from a node or an input, before it is stored."""
        return write

    def join(self, current: object, writes: Sequence[object]) -> object:
        """The value after the writes of one superstep, of which there is at least one."""
        return writes[-1]

    def replace(self, value: object) -> object:
        """The value after an `Overwrite` with ``value``."""
        return value

    def same_as(self, other: object) -> bool:
        """Whether two schemas that declare a key so agree."""
        return type(self) is type(other)

    @property
    def label(self) -> str | None:
        """A name that is the same in every process, for the graph's fingerprint."""
        return None


@dataclass(frozen=True)
class AnyValue(LastValue):
    """Takes the last of several writes, which are taken to be equal; gone after a superstep that writes none."""

    @property
    def takes_one(self) -> bool:
        return False

    @property
    def passes(self) -> bool:
        return True

    @property
    def label(self) -> str | None:
        return "AnyValue"


@dataclass(frozen=True)
class EphemeralValue(LastValue):
    """Holds a write for the one superstep that follows it.

    guard: refuse two writes in one superstep; else the last one counts.
    """

    guard: bool = True

    @property
    def takes_one(self) -> bool:
        return self.guard

    @property
    def passes(self) -> bool:
        return True

    def same_as(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.guard == other.guard

    @property
    def label(self) -> str | None:
        return f"{type(self).__name__}({self.guard})"


@dataclass(frozen=True)
class UntrackedValue(EphemeralValue):
    """Holds a value for one run: the thread's next run begins without it.

    LangGraph keeps it in the memory of the process and never in a checkpoint. Here every superstep may run on another
    machine, so it is stored as long as the run lasts, and has to be something that a store can hold.
    """

    of_one_run: ClassVar[bool] = True

    @property
    def passes(self) -> bool:
        return False


@dataclass(frozen=True)
class Topic(LastValue):
    """A list of what was written, a written list counting as its items.

    accumulate: keep what earlier supersteps wrote, too.
    """

    accumulate: bool = False

    @property
    def takes_one(self) -> bool:
        return False

    @property
    def passes(self) -> bool:
        return not self.accumulate

    def join(self, current: object, writes: Sequence[object]) -> object:
        kept = current if self.accumulate and isinstance(current, list) else []
        flat = [item for write in writes for item in (write if isinstance(write, list) else [write])]
        return [*kept, *flat] or MISSING

    def same_as(self, other: object) -> bool:
        return isinstance(other, Topic) and self.accumulate == other.accumulate

    @property
    def label(self) -> str | None:
        return f"Topic({self.accumulate})"


@dataclass(frozen=True)
class BinaryOperatorAggregate(LastValue):
    """Joins each write to the value by ``operator(value, write)``, beginning with an empty ``typ``."""

    operator: Reducer = None  # type: ignore[assignment]

    reduces: ClassVar[bool] = True

    @property
    def takes_one(self) -> bool:
        return False

    def initial(self) -> object:
        return initial_value(self.typ)

    def prepare(self, write: object) -> object:
        prepare = prepare_of(self.operator)
        return write if prepare is None or overwritten(write) is not MISSING else prepare(write)

    def join(self, current: object, writes: Sequence[object]) -> object:
        return fold(self.operator, current, writes)

    def same_as(self, other: object) -> bool:
        if not isinstance(other, BinaryOperatorAggregate):
            return False
        # Lambdas cannot be told apart, so they pass for equal: LangGraph's rule.
        names = {getattr(operator, "__name__", "") for operator in (self.operator, other.operator)}
        return "<lambda>" in names or self.operator == other.operator

    @property
    def label(self) -> str | None:
        return function_label(self.operator)


@dataclass(frozen=True)
class DeltaChannel(LastValue):
    """Joins all writes of a superstep by one call: ``reducer(value, [write, ...])``.

    snapshot_frequency: taken and not used. LangGraph stores the writes and joins them again whenever it reads; here every
        checkpoint has the value, and what did not change is not stored again.
    """

    typ: Any = list
    reducer: Callable[[Any, Sequence[Any]], Any] = None  # type: ignore[assignment]
    snapshot_frequency: int = 100

    reduces: ClassVar[bool] = True

    def __init__(
        self,
        reducer: Callable[[Any, Sequence[Any]], Any],
        typ: Any = list,
        *,
        snapshot_frequency: int = 100,
    ) -> None:
        if snapshot_frequency < 1:
            raise ValueError(f"snapshot_frequency is {snapshot_frequency}: give a whole number from 1")
        for name, value in (("reducer", reducer), ("typ", typ), ("snapshot_frequency", snapshot_frequency)):
            object.__setattr__(self, name, value)

    @property
    def takes_one(self) -> bool:
        return False

    def initial(self) -> object:
        return initial_value(self.typ)

    def join(self, current: object, writes: Sequence[object]) -> object:
        return fold(self.reducer, self.initial() if current is MISSING else current, [list(writes)])

    def replace(self, value: object) -> object:
        return self.initial() if value is None else value

    def same_as(self, other: object) -> bool:
        return isinstance(other, DeltaChannel) and self.reducer == other.reducer

    @property
    def label(self) -> str | None:
        return f"delta {function_label(self.reducer)}"


#: Every channel by its name, LangGraph's own classes being taken for ours of that name.
CHANNELS: dict[str, type[LastValue]] = {
    kind.__name__: kind
    for kind in (
        LastValue,
        AnyValue,
        EphemeralValue,
        UntrackedValue,
        Topic,
        BinaryOperatorAggregate,
        DeltaChannel,
    )
}


def function_label(function: object) -> str:
    """A name for a reducer that is the same in every process."""
    kind = type(function)
    module = getattr(function, "__module__", None) or kind.__module__
    return f"{module}.{getattr(function, '__qualname__', kind.__qualname__)}"
