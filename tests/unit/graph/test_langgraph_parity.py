"""The same random graph run by LangGraph in memory and by this engine: every checkpoint must agree."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st

from petiole_stores.errors import GraphRecursionError, InvalidUpdateError
from petiole_stores.memory import MemoryStore
from petiole_workers import graph as petiole
from petiole_workers.retry import default_retry_on
from tests.unit.graph.driver import drive

langgraph_graph = pytest.importorskip("langgraph.graph", reason="langgraph is not installed")
langgraph_types = pytest.importorskip("langgraph.types", reason="langgraph is not installed")
langgraph_errors = pytest.importorskip("langgraph.errors", reason="langgraph is not installed")
channels = pytest.importorskip("langgraph.channels", reason="langgraph is not installed")
managed = pytest.importorskip("langgraph.managed", reason="langgraph is not installed")
langgraph_memory = pytest.importorskip("langgraph.checkpoint.memory", reason="langgraph is not installed")

pytestmark = pytest.mark.filterwarnings("default")

LIMIT = 12
NAMES = ("b", "a", "d", "c", "a1", "f")


def newest(current: int, update: int) -> int:
    return max(current, update)


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    seen: Annotated[dict[str, int], operator.or_]
    top: Annotated[int, newest]
    maybe: Annotated[list[str] | None, operator.add]
    last: str
    hops: Annotated[int, operator.add]
    # Petiole takes LangGraph's own channels and managed values for its own of that name.
    once: Annotated[str, channels.EphemeralValue(str, guard=False)]
    topic: Annotated[list[str], channels.Topic(str)]
    left: managed.RemainingSteps


class Narrow(TypedDict, total=False):
    """What some nodes read; one key of it is theirs alone."""

    log: Annotated[list[str], operator.add]
    hops: Annotated[int, operator.add]
    secret: Annotated[list[str], operator.add]


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """A graph as plain data, so that both libraries can build it."""
    nodes = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
    name = st.sampled_from(nodes)
    target = st.sampled_from([*nodes, petiole.END])
    # A router's answer depends on the state, so that loops end: (hops, destinations) pairs tried in order.
    send = st.tuples(st.just("send"), name, st.integers(0, 3))
    answer = st.one_of(target, st.lists(st.one_of(target, send), max_size=3))
    branch = st.tuples(
        st.sampled_from([petiole.START, *nodes]),
        st.lists(st.tuples(st.integers(1, 9), answer), min_size=1, max_size=3),
    )
    entries = draw(st.lists(name, min_size=1, max_size=2))
    return {
        "narrow": draw(st.sets(name, max_size=2)),
        "overwrites": draw(st.sets(name, max_size=2)),
        "commands": draw(
            st.dictionaries(
                name, st.tuples(st.integers(1, 6), st.lists(st.one_of(target, send), max_size=2)), max_size=2
            )
        ),
        "nodes": nodes,
        "defer": draw(st.sets(name, max_size=2)),
        "last": draw(st.sets(name, max_size=2)),
        "silent": draw(st.sets(name, max_size=1)),
        "edges": [(petiole.START, entry) for entry in entries]
        + draw(st.lists(st.tuples(name, target), max_size=6)),
        "joins": draw(
            st.lists(st.tuples(st.lists(name, min_size=1, max_size=3, unique=True), target), max_size=3)
        ),
        "branches": draw(st.lists(branch, max_size=3)),
        "inputs": draw(
            st.lists(
                st.fixed_dictionaries(
                    {"last": st.just("in")}, optional={"log": st.just(["in"]), "top": st.integers(0, 5)}
                ),
                min_size=1,
                max_size=2,
            )
        ),
    }


def build(spec: dict[str, Any], library: Any, types: Any) -> Any:
    builder = library.StateGraph(State)

    def action(name: str) -> Any:
        def run(state: Any) -> Any:
            if name in spec["silent"]:
                return None
            depth = state.get("depth", 0)
            said = [
                f"{name}{depth or ''}{state.get('left', '')}{state.get('once', '')}{state.get('topic', '')}"
            ]
            update = {
                "log": overwrite(name, [*said, *state.get("secret", [])]),
                "once": name,
                "topic": [name],
                "secret": [name] if name in spec["narrow"] else [],
                "seen": {name: state.get("hops", 0)},
                "top": len(state.get("log", [])),
                "maybe": [name],
                "hops": 1,
            }
            update |= {"last": name} if name in spec["last"] else {}
            if name not in spec["commands"]:
                return update
            hops, goto = spec["commands"][name]
            goes = goto if state.get("hops", 9) < hops else []
            return types.Command(update=update, goto=[destination(to) for to in goes])

        return run

    def overwrite(name: str, value: list[str]) -> Any:
        """In one of its forms where the node overwrites."""
        if name not in spec["overwrites"]:
            return value
        forms = [types.Overwrite(value), {"__overwrite__": value}, {"type": "__overwrite__", "value": value}]
        return forms[len(name) % 2 * 2 if len(value) > 1 else 1]

    def destination(to: Any) -> Any:
        return to if isinstance(to, str) else types.Send(to[1], {"depth": to[2]})

    def router(number: int, source: str, cases: Any) -> Any:
        def path(state: Any) -> Any:
            # A node that counts no hops must not fan out for ever.
            if state.get("hops", 0) > 9:
                return []
            for hops, answer in cases:
                if state.get("hops", 0) < hops:
                    if isinstance(answer, str):
                        return answer
                    return [
                        destination(a) for a in answer if isinstance(a, str) or source not in spec["silent"]
                    ]
            return library.END

        path.__name__ = f"router{number}"
        return path

    for name in spec["nodes"]:
        reads = Narrow if name in spec["narrow"] else None
        builder.add_node(name, action(name), defer=name in spec["defer"], input_schema=reads)
    for start, end in spec["edges"]:
        builder.add_edge(start, end)
    for starts, end in spec["joins"]:
        builder.add_edge(starts, end)
    for number, (source, cases) in enumerate(spec["branches"]):
        builder.add_conditional_edges(source, router(number, source, cases))
    return builder


def theirs(spec: dict[str, Any]) -> tuple[list[Any], str | None]:
    compiled = build(spec, langgraph_graph, langgraph_types).compile(
        checkpointer=langgraph_memory.InMemorySaver()
    )
    config = {"configurable": {"thread_id": "1"}, "recursion_limit": LIMIT}
    failure = None
    for value in spec["inputs"]:
        try:
            # Saved synchronously: written behind, its history shares the joins' sets with the run that goes on.
            compiled.invoke(value, config, durability="sync")
        except langgraph_errors.GraphRecursionError:
            failure = "recursion"
        except langgraph_errors.InvalidUpdateError:
            failure = "update"
    history = [
        (state.metadata["step"], state.metadata["source"], sorted(state.next), state.values)
        for state in compiled.get_state_history(config)
    ]
    return history[::-1], failure


def ours(spec: dict[str, Any]) -> tuple[list[Any], str | None]:
    definition = build(spec, petiole, petiole).definition()
    history: list[petiole.Snapshot] = []
    failure = None
    for value in spec["inputs"]:
        try:
            drive(definition, value, base=history[-1] if history else None, limit=LIMIT, history=history)
        except GraphRecursionError:
            failure = "recursion"
        except InvalidUpdateError:
            failure = "update"
    return [(s.step, s.source, sorted(petiole.next_names(s.next)), s.values) for s in history], failure


def base_spec(**changes: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "nodes": ["a", "b", "c", "d"],
        "defer": set(),
        "last": set(),
        "silent": set(),
        "narrow": set(),
        "overwrites": set(),
        "commands": {},
        "edges": [(petiole.START, "a")],
        "joins": [],
        "branches": [],
        "inputs": [{"last": "in"}],
    }
    return plain | changes


@settings(
    max_examples=100,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@example(
    base_spec(
        defer={"d"}, edges=[(petiole.START, "a"), ("a", "d")], branches=[("a", [(9, [("send", "c", 1)])])]
    )
)
@example(
    base_spec(edges=[(petiole.START, "a"), ("a", "b"), ("b", "c"), ("b", "a")], joins=[(["b", "c"], "d")])
)
@example(
    base_spec(
        overwrites={"b", "c"}, narrow={"c"}, edges=[(petiole.START, "a"), ("a", "b"), ("a", "c"), ("c", "d")]
    )
)
@example(
    base_spec(
        overwrites={"b"}, narrow={"a", "b"}, commands={"a": (3, ["b", ("send", "b", 2)]), "b": (5, ["a"])}
    )
)
@given(specs())
def test_every_checkpoint_agrees_with_langgraph(spec: dict[str, Any]) -> None:
    assert ours(spec) == theirs(spec)


def stored(spec: dict[str, Any]) -> list[Any]:
    """The history of the same runs by ``invoke`` on a store: whatever passes a superstep was written and read back."""
    compiled = build(spec, petiole, petiole).compile(MemoryStore(), name="random")
    config = {"configurable": {"thread_id": "1"}, "recursion_limit": LIMIT}
    for value in spec["inputs"]:
        compiled.invoke(value, config)
    history = [
        ((state.metadata or {})["step"], (state.metadata or {})["source"], sorted(state.next), state.values)
        for state in compiled.get_state_history(config)
    ]
    return history[::-1]


@settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@example(
    base_spec(
        overwrites={"b"}, narrow={"c"}, edges=[(petiole.START, "a"), ("a", "b"), ("a", "c"), ("c", "d")]
    )
)
@given(specs())
def test_what_passes_a_store_is_what_passes_none(spec: dict[str, Any]) -> None:
    history, failure = ours(spec)
    assume(failure is None)
    assert stored(spec) == history


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_the_recursion_limit_counts_as_langgraph_does(limit: int) -> None:
    spec = base_spec(edges=[(petiole.START, "a"), ("a", "b"), ("b", "c")])
    compiled = build(spec, langgraph_graph, langgraph_types).compile()
    try:
        compiled.invoke({}, {"recursion_limit": limit})
        theirs_fails = False
    except langgraph_errors.GraphRecursionError:
        theirs_fails = True
    definition = build(spec, petiole, petiole).definition()
    try:
        drive(definition, {}, limit=limit)
        ours_fails = False
    except GraphRecursionError:
        ours_fails = True
    assert ours_fails is theirs_fails


def test_the_default_recursion_limit_is_langgraphs() -> None:
    from langgraph._internal._config import DEFAULT_RECURSION_LIMIT

    assert DEFAULT_RECURSION_LIMIT == petiole.DEFAULT_RECURSION_LIMIT


def test_the_retry_policy_is_langgraphs() -> None:
    policy = langgraph_types.RetryPolicy()
    mine = petiole.RetryPolicy()
    fields = ("initial_interval", "backoff_factor", "max_interval", "max_attempts", "jitter")
    assert {f: getattr(mine, f) for f in fields} == {f: getattr(policy, f) for f in fields}
    for exc in (
        ConnectionError(),
        ConnectionResetError(),
        TimeoutError(),
        ValueError(),
        KeyError(),
        RuntimeError(),
        OSError(),
        Exception(),
    ):
        assert default_retry_on(exc) is policy.retry_on(exc), exc
