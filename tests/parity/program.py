"""A program: a graph as plain data, and what people do with it. Its ``repr`` is Python that makes it again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

END = "__end__"
START = "__start__"
_INDENT = "    "


class Written:
    """A dataclass that shows itself as the code that makes it, without what is at its default."""

    def __repr__(self) -> str:
        parts = [
            f"{one.name}={getattr(self, one.name)!r}"
            for one in dataclasses.fields(self)  # type: ignore[arg-type]
            if one.default is dataclasses.MISSING or getattr(self, one.name) != one.default
        ]
        flat = f"{type(self).__name__}({', '.join(parts)})"
        if len(flat) <= 100 and "\n" not in flat:
            return flat
        lines = "".join(f"{part},\n" for part in parts).splitlines()
        return "\n".join([f"{type(self).__name__}(", *(_INDENT + line for line in lines), ")"])


class Rows(tuple[Any, ...]):
    """A tuple that shows each item on a line of its own."""

    def __repr__(self) -> str:
        if not self:
            return "()"
        lines = "".join(f"{item!r},\n" for item in self).splitlines()
        return "\n".join(["(", *(_INDENT + line for line in lines), ")"])


@dataclass(frozen=True, repr=False)
class Packet(Written):
    """A ``Send`` to a node. ``number`` is in its argument."""

    to: str
    number: int


#: Where an edge, a router or a ``goto`` leads.
Aim = str | Packet


@dataclass(frozen=True, repr=False)
class Goes(Written):
    """What leads to ``aims`` while the state counts fewer than ``below`` hops."""

    below: int
    aims: tuple[Aim, ...]


@dataclass(frozen=True, repr=False)
class Node(Written):
    """One node. All but ``silent`` ones write a line to ``log``, and to the other keys; each counts a hop.

    child     the graph that it is
    keeps     that graph's ``checkpointer=``
    asks      so many questions, before it writes
    fails     it fails until the program was mended so often
    stumbles  its first attempt fails, and it has a retry policy
    last      writes the key that two nodes of one superstep may not write
    talks     ``says`` adds a message, ``changes`` writes one over, ``removes`` takes it away
    goto      it returns a Command that goes there
    leaves    it returns a Command to the parent graph, that goes to these of its nodes
    """

    name: str
    child: Program | None = None
    keeps: bool | None = None
    defer: bool = False
    narrow: bool = False
    silent: bool = False
    overwrites: bool = False
    last: bool = False
    talks: str = ""
    asks: int = 0
    fails: int = 0
    stumbles: bool = False
    goto: Goes | None = None
    leaves: tuple[str, ...] | None = None


@dataclass(frozen=True, repr=False)
class Router(Written):
    """Conditional edges: the first of the cases that holds; none: END. ``after``: a node, or START."""

    after: str
    cases: tuple[Goes, ...]


@dataclass(frozen=True, repr=False)
class Join(Written):
    """An edge that waits for all of ``starts``."""

    starts: tuple[str, ...]
    end: str


@dataclass(frozen=True, repr=False)
class Program(Written):
    """A graph, and what is done with it: ``inputs`` one after the other.

    edges    pairs, in the order in which they are added
    answers  how its questions are answered: ``value`` where one waits, by id where several do; ``ids``: all by their ids;
             ``one by one``: the first alone, by its id
    before, after  where it stops
    limit    its recursion limit
    """

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    joins: tuple[Join, ...] = ()
    routers: tuple[Router, ...] = ()
    inputs: tuple[dict[str, Any], ...] = ()
    answers: str = "value"
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    limit: int = 60

    def __post_init__(self) -> None:
        for name in ("nodes", "joins", "routers"):
            object.__setattr__(self, name, Rows(getattr(self, name)))

    def family(self) -> list[Program]:
        """The program and those of the graphs within it."""
        inner = [one for node in self.nodes if node.child for one in node.child.family()]
        return [self, *inner]
