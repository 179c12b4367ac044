"""`Command`: an update of the state and where to go on, at once; also the answer that resumes an interrupted run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, TypeVar

from petiole_workers.graph.send import Send

Destination = str | Send


N = TypeVar("N")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Generic[N]):
    """What a node may return, and what ``invoke``, ``stream`` and a client's ``resume`` take in an input's place.

    A node that is annotated to return ``Command[Literal["a", "b"]]`` says so where it leads, for drawings.

    graph: ``None`` for the node's own graph, `Command.PARENT` for the one whose node the node's graph is: that graph's
        run goes on as if its node had returned this, and the node's own graph ends.
    update: as a node may return it: a dict of state keys, an instance of a schema, or ``None``; pairs of key and value, too.
    resume: the answer to the pending interrupt, or a dict of answers by the ids of interrupts.
    goto: a node's name, END, a `Send`, or a list of these. They add to the node's edges, they do not replace them.
    """

    PARENT: ClassVar[Literal["__parent__"]] = "__parent__"

    graph: str | None = None
    update: Any = None
    resume: Any = None
    goto: Destination | Sequence[Destination] = ()

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """``goto`` as a tuple."""
        return (self.goto,) if isinstance(self.goto, str | Send) else tuple(self.goto)
