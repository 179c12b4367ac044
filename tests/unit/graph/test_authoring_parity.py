"""What a builder accepts and what functions are given, beside LangGraph: the same program must give the same."""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal, TypedDict

import pytest
import typing_extensions
from pydantic import BaseModel

from petiole_stores.errors import GraphValidationError, InputError
from petiole_workers import graph as petiole
from petiole_workers.graph import END, START, StateGraph

langgraph_graph = pytest.importorskip("langgraph.graph", reason="langgraph is not installed")
langgraph_types = pytest.importorskip("langgraph.types", reason="langgraph is not installed")
langgraph_errors = pytest.importorskip("langgraph.errors", reason="langgraph is not installed")
langgraph_runtime = pytest.importorskip("langgraph.runtime", reason="langgraph is not installed")
langgraph_config = pytest.importorskip("langgraph.config", reason="langgraph is not installed")
runnables = pytest.importorskip("langchain_core.runnables", reason="langchain-core is not installed")

pytestmark = pytest.mark.filterwarnings("default")

Command = langgraph_types.Command


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]
    n: int


class Narrow(TypedDict):
    n: int


class Private(TypedDict, total=False):
    secret: str
    n: int


@dataclass
class Context:
    user: str
    rate: float = 1.0


class Model(BaseModel):
    user: str
    rate: float = 1.0


class Loose(TypedDict, total=False):
    user: str


LIBRARIES = {
    "langgraph": (langgraph_graph, langgraph_types, langgraph_runtime, langgraph_config),
    "petiole": (petiole, petiole, petiole, petiole),
}


def both(program: Any) -> Any:
    """What the program gives with each library, which must be equal."""
    found = {name: program(*modules) for name, modules in LIBRARIES.items()}
    assert found["petiole"] == found["langgraph"]
    return found["petiole"]


# ---------------------------------------------------------------- context and config


@pytest.mark.parametrize("schema", [None, Context, Model, Loose])
@pytest.mark.parametrize("as_instance", [False, True])
def test_a_context_reaches_nodes_and_routers_in_its_class(schema: Any, as_instance: bool) -> None:
    def program(library: Any, *_: Any) -> Any:
        seen: list[Any] = []

        def node(state: Any, runtime: Any) -> dict[str, Any]:
            seen.append(runtime.context)
            return {"log": [type(runtime.context).__name__]}

        async def late(state: Any, *, runtime: Any) -> None:
            seen.append(runtime.context)

        def path(state: Any, runtime: Any) -> str:
            seen.append(runtime.context)
            return END

        graph = library.StateGraph(State, schema).add_node(node).add_node("late", late)
        graph.add_edge(START, "node").add_edge("node", "late").add_conditional_edges("node", path)
        given: Any = {"user": "ada"}
        if as_instance and schema in (Context, Model):
            given = schema(**given)
        if library is petiole:
            return graph.compile().invoke({"log": []}, context=given), seen
        import asyncio

        return asyncio.run(graph.compile().ainvoke({"log": []}, context=given)), seen

    both(program)


def test_no_context_is_none_whatever_the_schema() -> None:
    def program(library: Any, *_: Any) -> Any:
        graph = library.StateGraph(State, context_schema=Context).add_edge(START, "a")
        graph.add_node("a", lambda state, runtime: {"log": [runtime.context]})
        return graph.compile().invoke({"log": []})

    assert both(program) == {"log": [None]}


@pytest.mark.parametrize("context", [{"nobody": 1}, {}, 3, {"user": "a", "rate": "much"}])
def test_a_context_that_does_not_fit_says_so_before_anything_runs(context: Any) -> None:
    ran: list[Any] = []
    graph = StateGraph(State, Model).add_node("a", ran.append).add_edge(START, "a").compile(name="shop")
    with pytest.raises(InputError, match=r"context of graph 'shop'.*"):
        graph.invoke({}, context=context)
    assert not ran


def test_an_object_that_no_store_can_hold_may_be_the_context_in_process() -> None:
    connection = object()
    builder = StateGraph(State).add_edge(START, "a")
    builder.add_node("a", lambda state, runtime: {"n": int(runtime.context is connection)})
    graph = builder.compile("memory://")
    assert graph.invoke({}, {"configurable": {"thread_id": "1"}}, context=connection)["n"] == 1


def test_configurable_values_tags_and_metadata_reach_functions_that_take_config() -> None:
    run_id = "0195f9a2-0000-7000-8000-000000000001"

    def program(library: Any, types: Any, runtime: Any, config_module: Any) -> Any:
        seen: list[Any] = []

        def look(config: Any) -> None:
            keys = ("thread_id", "user_id", "extra")
            seen.append([config["configurable"].get(key) for key in keys])
            seen.append(sorted(config["tags"]))
            seen.append([config["metadata"].get(key) for key in ("team", "langgraph_node", "langgraph_step")])
            seen.append(config["recursion_limit"])

        def by_position(state, config):  # type: ignore[no-untyped-def]
            look(config)

        def by_name(state, *, config=None):  # type: ignore[no-untyped-def]
            look(config)

        def together(state, config, runtime):  # type: ignore[no-untyped-def]
            look(config)
            seen.append(runtime.execution_info.thread_id)

        def inside(state: Any) -> None:
            look(config_module.get_config())

        graph = library.StateGraph(State)
        functions = [by_position, by_name, together, inside]
        graph.add_sequence(functions).set_entry_point("by_position")
        checkpointer = "memory://" if library is petiole else _saver()
        config = {
            "configurable": {"thread_id": "t", "user_id": "u"},
            "tags": ["a", "b"],
            "metadata": {"team": "red"},
            "recursion_limit": 50,
            "run_id": run_id,
            "extra": 7,
        }
        graph.compile(checkpointer).invoke({"log": []}, config)
        return seen

    seen = both(program)
    assert seen[:4] == [["t", "u", 7], ["a", "b"], ["red", "by_position", 1], 50]


def _saver() -> Any:
    from langgraph.checkpoint.memory import InMemorySaver

    return InMemorySaver()


def test_get_runtime_gives_the_context_deep_within_async_and_sync_nodes() -> None:
    def program(library: Any, types: Any, runtime: Any, config: Any) -> Any:
        def deep() -> Any:
            return runtime.get_runtime(Context).context.user

        def node(state: Any) -> Any:
            return {"log": [deep()]}

        async def anode(state: Any) -> Any:
            return {"log": [deep()]}

        graph = library.StateGraph(State, Context).add_sequence([node, anode]).set_entry_point("node")
        import asyncio

        return asyncio.run(graph.compile().ainvoke({"log": []}, context=Context("ada")))

    assert both(program) == {"log": ["ada", "ada"]}


@pytest.mark.parametrize("as_node", [False, True])
def test_a_graph_within_a_node_has_that_nodes_config_and_context(as_node: bool) -> None:
    def program(library: Any, *_: Any) -> Any:
        seen: list[Any] = []

        def look(state, config, runtime):  # type: ignore[no-untyped-def]
            found = config["configurable"]
            seen.append([found.get(key) for key in ("thread_id", "user_id", "own")])
            seen.append([sorted(config["tags"]), config["metadata"].get("team"), runtime.context])

        inner = library.StateGraph(State, Loose).add_node(look).add_edge(START, "look")
        within = inner.compile(checkpointer=False if as_node else None)

        def call(state: Any) -> Any:
            within.invoke({"log": []}, {"configurable": {"own": 1}})

        builder = library.StateGraph(State, Loose).add_edge(START, "call")
        builder.add_node("call", within if as_node else call)
        config = {
            "configurable": {"thread_id": "t", "user_id": "u"},
            "tags": ["a"],
            "metadata": {"team": "red"},
        }
        graph = builder.compile("memory://" if library is petiole else _saver())
        graph.invoke({"log": []}, config, context={"user": "ada"})
        return seen

    assert both(program)[0] == ["t", "u", None if as_node else 1]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"recursion_limit": 0}, "recursion_limit is 0"),
        ({"max_concurrency": "many"}, "max_concurrency is 'many'"),
        ({"metadata": 3}, "metadata is 3"),
        ({"tags": "one"}, "tags is the text 'one'"),
    ],
)
def test_a_config_with_a_wrong_value_is_refused_by_name(config: Any, message: str) -> None:
    graph = StateGraph(State).add_node("a", lambda state: None).add_edge(START, "a").compile()
    with pytest.raises(InputError, match=message):
        graph.invoke({}, config)


def test_a_run_id_is_the_runs_and_is_used_once() -> None:
    graph = StateGraph(State).add_node("a", lambda s, runtime: {"log": [runtime.run_id]}).add_edge(START, "a")
    compiled = graph.compile("memory://")
    config = {"configurable": {"thread_id": "1"}, "run_id": "0195f9a2-0000-7000-8000-000000000002"}
    assert compiled.invoke({}, config)["log"] == [config["run_id"]]
    with pytest.raises(InputError, match="that of an earlier run"):
        compiled.invoke({}, config)


def test_batches_keep_the_order_and_give_exceptions_their_places() -> None:
    def program(library: Any, *_: Any) -> Any:
        def node(state: Any) -> dict[str, Any]:
            if state["n"] == 2:
                raise ValueError("two")
            return {"n": state["n"] * 10}

        async def again() -> Any:
            return await compiled.abatch(inputs, {"max_concurrency": 2}, return_exceptions=True)

        compiled = library.StateGraph(State).add_node("a", node).add_edge(START, "a").compile()
        inputs = [{"n": n, "log": []} for n in range(5)]
        import asyncio

        found = [*compiled.batch(inputs, return_exceptions=True), *asyncio.run(again())]
        with pytest.raises(ValueError, match="two"):
            compiled.batch(inputs)
        return [str(one) for one in found]

    assert both(program)[:3] == ["{'log': [], 'n': 0}", "{'log': [], 'n': 10}", "two"]


def test_a_bound_config_is_for_every_call_and_goes_behind_its_own() -> None:
    def program(library: Any, *_: Any) -> Any:
        def node(state, config):  # type: ignore[no-untyped-def]
            found = config["configurable"]
            return {
                "log": [found.get("a"), found.get("b"), sorted(config["tags"]), config["recursion_limit"]]
            }

        graph = library.StateGraph(State).add_node(node).add_edge(START, "node").compile()
        bound = graph.with_config({"configurable": {"a": 1, "b": 1}, "tags": ["x"]}).with_config(
            recursion_limit=40
        )
        mine = {"configurable": {"b": 2}, "tags": ["y"], "recursion_limit": 30}
        import asyncio

        return [
            bound.invoke({"log": []}),
            bound.invoke({"log": []}, mine),
            bound.batch([{"log": []}, {"log": []}], [mine, mine]),
            asyncio.run(bound.ainvoke({"log": []}, config=mine)),
            graph.invoke({"log": []}, mine),
        ]

    assert both(program)[1] == {"log": [1, 2, ["x", "y"], 30]}


class Described(typing_extensions.TypedDict, total=False):
    """Pydantic takes no other TypedDict before Python 3.12."""

    n: int


@pytest.mark.parametrize("schema", [Described, Model])
def test_json_schemas_are_langgraphs(schema: Any) -> None:
    def program(library: Any, *_: Any) -> Any:
        graph = library.StateGraph(State, Model, input_schema=schema, output_schema=Described)
        compiled = graph.add_node("a", lambda state: None).add_edge(START, "a").compile()
        return [
            compiled.get_input_jsonschema(),
            compiled.get_output_jsonschema(),
            compiled.get_context_jsonschema(),
        ]

    both(program)
    assert (
        StateGraph(State).add_node("a", print).add_edge(START, "a").compile().get_context_jsonschema() is None
    )


# ---------------------------------------------------------------- the builder


def test_names_are_inferred_from_functions_methods_objects_and_runnables() -> None:
    class Greeter:
        def __call__(self, state: Any) -> None: ...

        def method(self, state: Any) -> None: ...

    def plain(state: Any) -> None: ...

    def program(library: Any, *_: Any) -> Any:
        graph = library.StateGraph(State)
        for node in (plain, Greeter(), Greeter().method, runnables.RunnableLambda(plain, name="named")):
            graph.add_node(node)
        return sorted(graph.nodes)

    assert both(program) == ["Greeter", "method", "named", "plain"]


def test_runnables_of_langchain_are_nodes_and_routers() -> None:
    def program(library: Any, *_: Any) -> Any:
        async def late(state: Any) -> Any:
            return {"log": ["late"]}

        graph = library.StateGraph(State)
        graph.add_node("a", runnables.RunnableLambda(lambda state: {"log": ["a"]}))
        graph.add_node("b", runnables.RunnableLambda(late)).add_edge(START, "a").add_edge("a", "b")
        graph.add_conditional_edges("b", runnables.RunnableLambda(lambda state: END, name="path"))
        import asyncio

        return asyncio.run(graph.compile().ainvoke({"log": []}))

    assert both(program) == {"log": ["a", "late"]}


def test_input_schemas_narrow_widen_and_stay_private() -> None:
    def program(library: Any, *_: Any) -> Any:
        seen: list[Any] = []

        def first(state: Narrow) -> Any:
            seen.append(dict(state))
            return {"secret": "s", "n": 2}

        def second(state: Private) -> Any:
            seen.append(dict(sorted(state.items())))
            return {"log": [state["secret"]]}

        def third(state: Any) -> None:
            seen.append(sorted(state))

        graph = library.StateGraph(State, input_schema=Narrow, output_schema=State)
        graph.add_sequence([first, second]).add_node(third, input_schema=State).set_entry_point("first")
        graph.add_edge("second", "third")
        return graph.compile().invoke({"n": 1, "log": ["dropped"]}), seen

    assert both(program)[0] == {"log": ["s"], "n": 2}


def test_commands_in_lists_and_pairs_write_in_order() -> None:
    def program(library: Any, types: Any, *_: Any) -> Any:
        def a(state: Any) -> Any:
            return [
                types.Command(update={"log": ["1"]}, goto="b"),
                {"log": ["2"]},
                types.Command(
                    update=[("log", ["3"]), ("log", ["4"]), ("nobody", 1)], goto=[types.Send("c", 5)]
                ),
            ]

        graph = library.StateGraph(State).add_node(a).add_edge(START, "a")
        graph.add_node("b", lambda state: {"log": ["b"]}).add_node("c", lambda arg: {"log": [arg]})
        return graph.compile().invoke({"log": []})

    assert both(program) == {"log": ["1", "2", "3", "4", "b", 5]}


def test_node_defaults_are_for_nodes_without_their_own() -> None:
    def program(library: Any, types: Any, *_: Any) -> Any:
        tries: list[str] = []

        def failing(name: str) -> Any:
            def node(state: Any) -> Any:
                tries.append(name)
                raise ConnectionError(name)

            return node

        def handler(state: Any, error: Any = None) -> Any:
            return types.Command(update={"log": [sorted(state)]}, goto="after")

        def own(state: Any) -> Any:
            return {"log": ["own"]}

        def policy(attempts: int) -> Any:
            return types.RetryPolicy(max_attempts=attempts, initial_interval=0.001, jitter=False)

        graph = library.StateGraph(State)
        graph.add_node("early", failing("early"), input_schema=Narrow)
        graph.set_node_defaults(retry_policy=policy(2)).set_node_defaults(error_handler=handler)
        graph.add_node("twice", failing("twice")).add_node(
            "thrice", failing("thrice"), retry_policy=policy(3)
        )
        graph.add_node("never", failing("never"), retry_policy=[], error_handler=own)
        graph.add_node("after", lambda state: {"n": 1})
        for name in ("early", "twice", "thrice", "never"):
            graph.add_edge(START, name)
        result = graph.compile().invoke({"log": [], "n": 0})
        return result, sorted(tries)

    assert both(program)[1] == ["early"] * 2 + ["never"] + ["thrice"] * 3 + ["twice"] * 2


def test_the_timeout_policy_is_langgraphs() -> None:
    theirs = langgraph_types.TimeoutPolicy(run_timeout=timedelta(seconds=2), idle_timeout=1)
    ours = petiole.TimeoutPolicy(run_timeout=timedelta(seconds=2), idle_timeout=1)
    coerced = langgraph_types.TimeoutPolicy.coerce(theirs)
    for policy in (ours, theirs):
        found = petiole.TimeoutPolicy.of(policy)
        assert (found.run_timeout, found.idle_timeout) == (coerced.run_timeout, coerced.idle_timeout)
        assert found.refresh_on == coerced.refresh_on
    assert petiole.TimeoutPolicy.of(langgraph_types.TimeoutPolicy()) is None
    assert petiole.TimeoutPolicy.of(3) == petiole.TimeoutPolicy(run_timeout=3.0)


def test_a_sends_timeout_stands_in_place_of_the_nodes() -> None:
    """Each limit alone, a policy that limits nothing, and none; retried under the same limit."""
    sends: list[tuple[float, Any]] = [
        (30.0, {"run_timeout": 0.05}),
        (31.0, {"idle_timeout": timedelta(seconds=0.06)}),
        (0.15, {"run_timeout": 20, "idle_timeout": 20}),
        (32.0, {}),
        (33.0, None),
    ]

    def program(library: Any, types: Any, *_: Any) -> Any:
        tries: list[float] = []

        async def slow(seconds: float) -> dict[str, Any]:
            tries.append(seconds)
            await asyncio.sleep(seconds)
            return {"log": [seconds]}

        def handle(seconds: float, error: Any) -> dict[str, Any]:
            told = error.error
            return {"log": [(seconds, told.kind, told.run_timeout, told.idle_timeout)]}

        def route(state: Any) -> list[Any]:
            limits = [None if it is None else types.TimeoutPolicy(**it) for _, it in sends]
            return [
                types.Send("slow", seconds, timeout=it)
                for (seconds, _), it in zip(sends, limits, strict=True)
            ]

        again = types.RetryPolicy(max_attempts=2, initial_interval=0.001, jitter=False)
        error = petiole.NodeError if library is petiole else langgraph_errors.NodeError
        handle.__annotations__["error"] = error
        graph = library.StateGraph(State)
        graph.add_node("slow", slow, timeout=0.1, retry_policy=again, error_handler=handle)
        graph.add_conditional_edges(library.START, route, ["slow"])
        return asyncio.run(graph.compile().ainvoke({"log": []}))["log"], sorted(tries)

    log, tries = both(program)
    assert [it if isinstance(it, float) else it[1:] for it in log] == [
        ("run", 0.05, None),
        ("idle", None, 0.06),
        0.15,
        ("run", 0.1, None),
        ("run", 0.1, None),
    ]
    assert tries == [0.15, 30.0, 30.0, 31.0, 31.0, 32.0, 32.0, 33.0, 33.0]


def test_former_argument_names_are_taken_with_a_warning_and_others_refused() -> None:
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        graph = StateGraph(State, config_schema=Context, input=Narrow)
    assert (graph.context_schema, graph.input_schema.type) == (Context, Narrow)
    with pytest.warns(DeprecationWarning, match="write retry_policy="):
        graph.add_node("a", lambda state: None, retry=petiole.RetryPolicy(max_attempts=7))
    assert graph.nodes["a"].retry_policies == (petiole.RetryPolicy(max_attempts=7),)
    with pytest.raises(TypeError, match="trace_policy"):
        graph.add_node("b", lambda state: None, trace_policy=object())
    with pytest.raises(GraphValidationError, match="context_schema is 3"):
        StateGraph(State, 3)  # type: ignore[arg-type]


def leads(state: Any) -> petiole.Command[Literal["b", "__end__"]] | None: ...


def test_destinations_are_read_from_the_annotation_or_the_argument() -> None:
    graph = StateGraph(State).add_node(leads)
    graph.add_node("b", leads, destinations={"leads": "again"})
    assert graph.nodes["leads"].destinations == {"b": None, "__end__": None}
    assert graph.nodes["b"].destinations == {"leads": "again"}
