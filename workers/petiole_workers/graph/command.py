"""`Command`: what a node returns to change the state and to say where to go on, at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from petiole_workers.graph.send import Send

Destination = str | Send


N = TypeVar("N")


@dataclass(frozen=True, slots=True)
class Command(Generic[N]):
    """An update of the state together with destinations.

    A node that is annotated to return ``Command[Literal["a", "b"]]`` says so where it leads, for drawings.

    update: as a node may return it: a dict of state keys, an instance of a schema, or ``None``; pairs of key and value, too.
    goto: a node's name, END, a `Send`, or a list of these. They add to the node's edges, they do not replace them.
    """

    update: Any = None
    goto: Destination | Sequence[Destination] = ()

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """``goto`` as a tuple."""
        return (self.goto,) if isinstance(self.goto, str | Send) else tuple(self.goto)
