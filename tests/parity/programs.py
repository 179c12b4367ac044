"""Random programs: all that a graph may have, so that it comes to an end of itself.

Left out is what docs/langgraph.md says to be different here: routers and Commands that lead nowhere, an ``Overwrite`` as
the first write to a key without a value, answers that were given before, inputs that are Commands with an ``update``,
updates by hand and forks
(tests/parity/test_people.py has them), nodes in inner graphs that write nothing, a Command to the parent from a graph with ``checkpointer=False``, or beside a question, and questions within such a graph.

In inner graphs no writes are at odds with each other: LangGraph cancels the siblings of a node that fails of that, and no
node can wait for them. And what LangGraph itself decides by chance: which of several Commands to the parent in one superstep counts, and whether
such a Command does or a failure beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.parity.program import (
    END,
    START,
    Aim,
    Goes,
    Join,
    Node,
    Packet,
    Program,
    Router,
)

#: Out of order, so that the order of edges and that of names are told apart.
NAMES = ("b", "a", "d", "c", "a1", "f")
DEPTH = 3


def rarely(draw: st.DrawFn, one_in: int) -> bool:
    """Shrinks to ``False``."""
    return draw(st.integers(0, one_in - 1)) == one_in - 1


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """A whole program."""
    stops = rarely(draw, 6), rarely(draw, 6)
    # In LangGraph a graph with a memory that is come to where a run goes on is not run.
    graph = _graph(draw, (), 1, calm=False, once=not any(stops))
    some = st.lists(st.sampled_from([node.name for node in graph.nodes]), min_size=1, max_size=2, unique=True)
    given_input = st.fixed_dictionaries(
        {}, optional={"log": st.just(["in"]), "top": st.integers(0, 5), "last": st.just("in")}
    ).map(lambda it: it or {"log": []})
    inputs = st.lists(given_input, min_size=1, max_size=2)
    if rarely(draw, 8):
        # In LangGraph whoever resumes has the limit anew, and a graph that fails of it cancels what runs beside it.
        nodes = tuple(
            dataclasses.replace(node, child=None, keeps=None, asks=0, fails=0) for node in graph.nodes
        )
        return dataclasses.replace(
            graph, nodes=nodes, inputs=tuple(draw(inputs)), limit=draw(st.integers(1, 8))
        )
    return dataclasses.replace(
        graph,
        inputs=tuple(draw(inputs)),
        answers=draw(st.sampled_from(["value", "ids", "one by one"])),
        before=tuple(draw(some)) if stops[0] else (),
        after=tuple(draw(some)) if stops[1] else (),
    )


def written(programs: Sequence[Program]) -> str:
    """Programs as Python that makes them again."""
    return repr([*programs])


def read(text: str) -> list[Program]:
    """What `written` has written."""
    known = {one.__name__: one for one in (Goes, Join, Node, Packet, Program, Router)}
    found: list[Program] = eval(text, {"__builtins__": {}}, known)
    return found


def sample(number: int, count: int) -> list[Program]:
    """``count`` programs of the seed ``number``, always the same ones."""
    return [_drawn(f"{number}/{place}") for place in range(count)]


def _drawn(name: str) -> Program:
    """One program. A search varies what it has found: of searches of their own, each one's last is new."""
    found: list[Program] = []

    @seed(name)
    @settings(
        max_examples=4,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(programs())
    def collect(program: Program) -> None:
        found.append(program)

    collect()
    return found[-1]


def _graph(draw: st.DrawFn, outer: Sequence[str], depth: int, *, calm: bool, once: bool = True) -> Program:
    """A graph; ``outer`` are the nodes of the graph that it is in.

    calm: nobody in it asks or fails.
    once: a superstep comes to it once at most: a graph in it may have a memory of its own.
    """
    most = 6 if depth == 1 else 3
    names: list[str] = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=most, unique=True))
    name, later = st.sampled_from(names), _later(names)
    leaver = draw(name) if outer and rarely(draw, 3) else None
    keeper = draw(name) if once and depth < DEPTH and rarely(draw, 3) else None
    aims = _Aims(names, leaver, keeper)
    asking = not calm
    calm = calm or leaver is not None
    nodes = tuple(
        _leaving(draw, one, outer, asks=asking)
        if one == leaver
        else _node(draw, one, aims, depth, calm=calm, keeper=keeper)
        for one in names
    )
    mute = {node.name for node in nodes if node.silent or node.child}
    entries = draw(st.lists(name, min_size=1, max_size=2, unique=True))
    pairs = draw(st.lists(st.tuples(name, st.sampled_from([*names, END])), max_size=6))
    edges = [(start, end) for start, end in pairs if end in later[start]]
    joins = draw(st.lists(st.tuples(st.lists(name, min_size=1, max_size=3, unique=True), name), max_size=2))
    kept = [Join(tuple(starts), end) for starts, end in joins if all(end in later[start] for start in starts)]
    routers = []
    for after in draw(st.lists(st.sampled_from([START, *names]), max_size=3)):
        # What counts no hops leads only onwards, so that there is an end.
        reachable = later[after] if after in mute else [*names, END]
        routers.append(Router(after, tuple(draw(st.lists(aims.goes(reachable), min_size=1, max_size=3)))))
    return Program(
        nodes=nodes,
        edges=(*((START, entry) for entry in entries), *dict.fromkeys(edges)),
        joins=tuple(kept),
        routers=tuple(routers),
    )


def _later(names: Sequence[str]) -> dict[str, list[str]]:
    return {one: [*names[place + 1 :], END] for place, one in enumerate(names)}


class _Aims:
    """Where the nodes of a graph may lead. No packet goes to ``lone`` nodes, which have only one task in a superstep."""

    def __init__(self, names: Sequence[str], *lone: str | None) -> None:
        self.names, self._sent = names, [name for name in names if name not in lone]

    def goes(self, aims: Sequence[str]) -> st.SearchStrategy[Goes]:
        aim: st.SearchStrategy[Aim] = st.sampled_from([*aims])
        if nodes := [name for name in aims if name in self._sent]:
            aim |= st.builds(Packet, to=st.sampled_from(nodes), number=st.integers(0, 3))
        return st.builds(Goes, below=st.integers(1, 8), aims=st.lists(aim, max_size=3).map(tuple))


def _leaving(draw: st.DrawFn, name: str, outer: Sequence[str], *, asks: bool) -> Node:
    leaves = draw(st.lists(st.sampled_from([*outer]), max_size=2, unique=True))
    return Node(name, defer=rarely(draw, 6), asks=int(rarely(draw, 4) and asks), leaves=tuple(leaves))


def _node(draw: st.DrawFn, name: str, aims: _Aims, depth: int, *, calm: bool, keeper: str | None) -> Node:
    defer = rarely(draw, 6)
    if name == keeper or (depth < DEPTH and rarely(draw, 4)):
        keeps = True if name == keeper else draw(st.sampled_from([None, None, None, False]))
        outer = () if keeps is False else aims.names
        child = _graph(draw, outer, depth + 1, calm=calm or keeps is False, once=keeps is True)
        return Node(name, child=child, keeps=keeps, defer=defer)
    top = depth == 1
    silent = top and rarely(draw, 10)
    parts: dict[str, object] = {"silent": silent, "narrow": rarely(draw, 5), "last": top and rarely(draw, 6)}
    talks = draw(st.sampled_from(["", "", "", "says", "changes", "removes"]))
    # Two that remove the same message are at odds.
    parts["talks"] = talks if top or talks != "removes" else "changes"
    parts["overwrites"] = top and rarely(draw, 8)
    parts["asks"] = 0 if calm else draw(st.sampled_from([0, 0, 0, 0, 1, 2]))
    parts["fails"] = 0 if calm or silent else draw(st.sampled_from([0, 0, 0, 0, 0, 1, 2]))
    parts["stumbles"] = rarely(draw, 8)
    if not silent and rarely(draw, 3):
        parts["goto"] = draw(aims.goes([*aims.names, END]))
    return Node(name, defer=defer, **parts)  # type: ignore[arg-type]
