"""The builder: what it accepts, and how it refuses."""

from __future__ import annotations

import copy
import dataclasses
import functools
import operator
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, Literal, NotRequired, Required, TypedDict

import pytest
from pydantic import BaseModel, ValidationError

from petiole_stores.errors import GraphValidationError, InvalidUpdateError
from petiole_stores.serde import Serde
from petiole_workers.graph import (
    END,
    MISSING,
    START,
    CachePolicy,
    RetryPolicy,
    Runtime,
    Send,
    StateGraph,
    TaskSpec,
    TimeoutPolicy,
    begin,
    call_node,
    result,
    task_input,
    task_output,
)
from petiole_workers.retry import default_retry_on
from tests.unit.graph.driver import drive


class Base(TypedDict):
    log: Annotated[list[str], operator.add]


class State(Base, total=False):
    n: int
    required: Required[Annotated[int, operator.add]]
    maybe: Annotated[NotRequired[dict[str, int]], operator.or_]


class Model(BaseModel):
    n: int = 0
    note: str | None = None
    log: Annotated[list[str], operator.add] = []


@dataclass
class Record:
    n: int = 0
    log: Annotated[list[str], operator.add] = field(default_factory=list)


class Narrow(TypedDict):
    n: int


def step(state: State) -> dict[str, Any]:
    return {}


class Callable_:
    def __call__(self, state: State) -> None: ...


def test_reducers_and_initial_values_are_read_through_inheritance_and_wrappers() -> None:
    channels = StateGraph(State).channels
    assert {name: channel.initial() for name, channel in channels.items()} == {
        "log": [],
        "n": MISSING,
        "required": 0,
        "maybe": {},
    }


@pytest.mark.parametrize("schema", [dict, int, Annotated[list[int], operator.add], "State"])
def test_a_schema_without_keys_is_refused(schema: Any) -> None:
    with pytest.raises(GraphValidationError, match="TypedDict, a dataclass or a pydantic model"):
        StateGraph(schema)


def test_every_wrong_reducer_of_a_schema_is_named() -> None:
    class Wrong(TypedDict):
        one: Annotated[int, lambda a: a]
        two: Annotated[int, lambda a, b, c: a]

    with pytest.raises(GraphValidationError) as caught:
        StateGraph(Wrong)
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda g: g.add_node("a", step), "there is a node 'a' already"),
        (lambda g: g.add_node(START, step), "reserved"),
        (lambda g: g.add_node("x:y", step), "contains ':'"),
        (lambda g: g.add_node("x"), "no function"),
        (lambda g: g.add_node("x", 3), "not callable"),
        (lambda g: g.add_node(lambda state: None), "add_node\\('name', function\\)"),
        (lambda g: g.add_node(functools.partial(step)), "add_node\\('name', function\\)"),
        (lambda g: g.add_node(Callable_(), timeout=True), "timeout True"),
        (lambda g: g.add_node("x", step, destinations="a"), "destinations 'a'"),
        (lambda g: g.add_node("x", step, destinations=["nobody"]).compile(), "destination 'nobody'"),
        (lambda g: g.add_node("x", lambda: None), "takes no positional argument"),
        (lambda g: g.add_node("x", lambda state, runtime, more: None), "asks for 'more'"),
        (lambda g: g.add_node("x", lambda state: (yield)), "generator"),
        (lambda g: g.add_node("x", step, priority="urgent"), "'urgent'.*'high'"),
        (lambda g: g.add_node("x", step, timeout=0), "timeout 0"),
        (lambda g: g.add_edge(END, "a"), "starts at END"),
        (lambda g: g.add_edge("a", START), "ends at START"),
        (lambda g: g.add_edge(["a", "nobody"], "a"), "unknown node 'nobody'"),
        (lambda g: g.add_edge([START], "a"), "waits for START"),
        (lambda g: g.add_edge([], "a"), "waits for no node"),
        (
            lambda g: g.add_conditional_edges("a", lambda s: END).add_conditional_edges("a", lambda s: END),
            "branch",
        ),
        (lambda g: g.add_conditional_edges("a", lambda s: END, "a"), "is the string 'a'"),
        (lambda g: g.add_sequence([]), "at least one"),
    ],
)
def test_misuse_is_refused_at_once(misuse: Any, message: str) -> None:
    graph = StateGraph(State).add_node("a", step)
    with pytest.raises(GraphValidationError, match=message):
        misuse(graph)


def test_compile_names_every_fault_at_once() -> None:
    graph = StateGraph(State).add_node("a", step)
    graph.add_edge("nobody", "a").add_edge("a", "nowhere")
    graph.add_conditional_edges("ghost", lambda s: END, ["phantom"])
    with pytest.raises(GraphValidationError) as caught:
        graph.compile(interrupt_before=["who"])
    text = "\n".join(caught.value.faults)
    for name in ("nobody", "nowhere", "ghost", "phantom", "who", "no entry point"):
        assert name in text
    assert len(caught.value.faults) == 6


def test_unreachable_nodes_and_dead_ends_are_accepted() -> None:
    graph = StateGraph(State).add_node("a", step).add_node("lonely", step).add_edge(START, "a")
    assert list(graph.definition(interrupt_after="*").interrupt_after) == ["a", "lonely"]


def test_a_literal_return_annotation_is_the_path_map() -> None:
    def path(state: State) -> Literal["a", "nowhere"]:
        return "a"

    graph = StateGraph(State).add_node("a", step).add_conditional_edges(START, path)
    with pytest.raises(GraphValidationError, match="leads to the unknown node 'nowhere'"):
        graph.definition()


def test_a_sequence_runs_in_order() -> None:
    graph = StateGraph(State).add_sequence([("x", lambda s: {"log": ["x"]}), ("y", lambda s: {"log": ["y"]})])
    graph.set_entry_point("x").set_finish_point("y")
    assert drive(graph.definition(), {})[-1].values["log"] == ["x", "y"]


@pytest.mark.parametrize("schema", [Model, Record])
def test_nodes_get_an_instance_and_may_return_one(schema: Any) -> None:
    graph = (
        StateGraph(schema)
        .add_node("a", lambda s: schema(n=s.n + 1, log=["a"]))
        .add_edge(START, "a")
        .definition()
    )
    assert result(graph, drive(graph, schema(n=4))[-1].values)["n"] == 5


def test_a_pydantic_state_is_validated_where_a_node_takes_it() -> None:
    graph = StateGraph(Model).add_node("a", lambda s: None).add_edge(START, "a").definition()
    _, base = begin(graph, None, {"n": "many"})
    with pytest.raises(ValidationError):
        task_input(graph, base, base.next[0])


def test_a_models_unset_none_is_no_write() -> None:
    graph = StateGraph(Model).add_node("a", lambda s: None).add_edge(START, "a").definition()
    task = TaskSpec("pull:a", "a")
    assert dict(task_output(graph, task, Model(n=1)).writes) == {"n": 1, "log": []}
    assert "note" in dict(task_output(graph, task, Model(note=None)).writes)


@pytest.mark.parametrize("returned", [3, "text", [{"n": 1}], Send("a", {}), [Send("a", {})]])
def test_a_return_that_is_no_update_names_node_value_and_remedy(returned: Any) -> None:
    graph = StateGraph(State).add_node("a", step).add_edge(START, "a").definition()
    with pytest.raises(InvalidUpdateError, match=r"node 'a' returned .*return a dict"):
        task_output(graph, TaskSpec("pull:a", "a"), returned)


def test_an_annotated_parameter_narrows_what_a_node_reads() -> None:
    seen = []

    def a(state: Narrow) -> None:
        seen.append(state)

    graph = StateGraph(State).add_node(a).add_edge(START, "a").definition()
    drive(graph, {"n": 1, "required": 2})
    assert seen == [{"n": 1}]


def test_functions_are_called_with_what_they_take() -> None:
    async def by_name(state: Any, *, runtime: Runtime) -> Any:
        return runtime.thread_id

    functions: dict[str, Any] = {
        "plain": lambda state: "",
        "default": lambda state, n="": n,
        "second": lambda state, r: r.thread_id,
        "config": lambda state, config: config["configurable"]["thread_id"],
        "by_name": by_name,
        "partial": functools.partial(lambda state, runtime, n: runtime.thread_id, n=1),
    }
    graph = StateGraph(State)
    for name, function in functions.items():
        graph.add_node(name, function)
    answers = {}
    for name, spec in graph.nodes.items():
        answers[name] = call_node(spec, {}, Runtime(thread_id="t"))
    assert answers == {"plain": "", "default": ""} | dict.fromkeys(
        ["second", "config", "by_name", "partial"], "t"
    )


def test_retries_are_for_passing_trouble() -> None:
    assert default_retry_on(ConnectionResetError())
    assert not default_retry_on(ValueError())
    policy = RetryPolicy(retry_on=(KeyError,), initial_interval=1, max_interval=3)
    assert policy.retries(KeyError())
    assert not policy.retries(ConnectionError())
    assert [policy.delay(n, lambda: 0.5) for n in (1, 2, 3)] == [1.5, 2.5, 3.5]


PROGRAM = """
from tests.unit.graph.test_builder import StateGraph, State, START, step
graph = StateGraph(State).add_node("a", step).add_node("b", step, defer=True)
graph.add_edge(START, "a").add_edge(["a"], "b").add_conditional_edges("a", step, {1: "b", None: "b"})
print(graph.definition().fingerprint)
"""


def test_the_fingerprint_is_the_same_in_every_process_and_tells_graphs_apart() -> None:
    prints = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={"PYTHONPATH": ":".join(filter(None, sys.path)), "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(prints) == 1
    graph = StateGraph(State).add_node("a", step).add_edge(START, "a")
    before = graph.definition().fingerprint
    assert graph.add_node("b", step).definition().fingerprint != before


def test_mermaid_draws_joins_and_answers() -> None:
    graph = StateGraph(State).add_node('a"b', step).add_node("c", step).add_edge(START, 'a"b')
    text = graph.add_edge(['a"b'], "c").add_conditional_edges("c", step, {"done": END}).definition().mermaid()
    assert '["a#quot;b"]' in text
    assert '(("all"))' in text
    assert 'n1 -. "done" .-> e' in text


def test_a_cache_policy_by_default_is_for_nodes_and_not_for_graphs() -> None:
    policy, own = CachePolicy(ttl=60), CachePolicy()
    inner = StateGraph(State).add_node("x", lambda state: {}).add_edge(START, "x").compile()
    builder = StateGraph(State).set_node_defaults(cache_policy=policy)
    builder.add_node("a", lambda state: {}).add_node("b", lambda state: {}, cache_policy=own)
    builder.add_node("inner", inner).add_edge(START, "a")
    nodes = builder.definition().nodes
    assert [nodes[name].cache_policy for name in ("a", "b", "inner")] == [policy, own, None]
    with pytest.raises(GraphValidationError, match="give CachePolicy"):
        builder.set_node_defaults(cache_policy="often")  # type: ignore[arg-type]


class Counted(TypedDict, total=False):
    n: int


def test_a_graph_that_runs_within_its_node_is_tried_again_with_it() -> None:
    tries: list[int] = []

    def stumble(state: Counted) -> Counted:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("not yet")
        return {"n": 7}

    inner = StateGraph(Counted).add_node("stumble", stumble).add_edge(START, "stumble")
    again = RetryPolicy(initial_interval=0.001, jitter=False)
    for compiled in (inner.compile(), inner.compile(checkpointer=True)):
        with pytest.raises(GraphValidationError, match="'within' is a graph: give retry_policy"):
            StateGraph(Counted).add_node("within", compiled, retry_policy=again)
    builder = StateGraph(Counted).add_node("within", inner.compile(checkpointer=False), retry_policy=again)
    graph = builder.add_edge(START, "within").compile()
    assert graph.invoke({"n": 0})["n"] == 7
    assert len(tries) == 3


def test_a_sends_timeout_is_kept_as_a_policy() -> None:
    one = Send("node", 1, timeout=timedelta(seconds=2))
    assert one.timeout == TimeoutPolicy(run_timeout=2.0)
    assert one == Send("node", 1, timeout=2) != Send("node", 1)
    assert hash(one) == hash(Send("node", 1, timeout=2.0))
    assert copy.deepcopy(one) == one
    assert Send("node", 1, timeout=TimeoutPolicy()).timeout is None
    assert repr(Send("node", 1)) == "Send(node='node', arg=1)"
    assert "run_timeout=2.0" in repr(one)
    assert dataclasses.replace(one, arg=3) == Send("node", 3, timeout=2)


def test_a_send_in_a_state_that_was_stored_without_a_timeout_has_none() -> None:
    serde = Serde()
    serde.register(Send)
    stored = '{"$object":["petiole_workers.graph.send:Send",{"node":"a","arg":1,"$order":[1,0]}]}'
    assert serde.load(stored, {}, thread_id="t") == Send("a", 1)


@pytest.mark.parametrize(
    ("timeout", "error"), [(0, ValueError), (True, TypeError), ("1", TypeError), (float("inf"), ValueError)]
)
def test_a_send_refuses_a_timeout_that_is_none(timeout: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Send("node", {}, timeout=timeout)
