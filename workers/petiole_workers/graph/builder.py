"""`StateGraph`: the builder that authors write their graphs with. Names and meanings are LangGraph's."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Self, cast, overload

from petiole_stores.errors import GraphValidationError
from petiole_workers.graph.cache import CachePolicy
from petiole_workers.graph.callables import graph_function
from petiole_workers.graph.definition import GraphDefinition
from petiole_workers.graph.errors import error_handler as read_handler
from petiole_workers.graph.faults import graph_faults
from petiole_workers.graph.names import END, RESERVED_CHARACTERS, RESERVED_NAMES, START
from petiole_workers.graph.parts import Branch, Join, NodeSpec, Priority
from petiole_workers.graph.schema import Channel, Schema, annotated_input, function_hints, read_schema
from petiole_workers.retry import RetryStrategy

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph

Function = Callable[..., Any]
PathMap = Mapping[Any, str] | Sequence[str]


class StateGraph:
    """A graph of functions over a shared state.

    A node is a function of the state that returns the keys to change. Build the graph with the methods below,
    each of which returns the graph, then `compile` it.

    state_schema: a TypedDict, dataclass or pydantic model. A key declared as ``Annotated[T, reducer]`` joins
        writes by ``reducer(current, update)``; any other key takes one write a superstep.
    input_schema, output_schema: narrower schemas for what a run takes and returns; the state's by default.

    Raises GraphValidationError for a schema that cannot be read.
    """

    def __init__(self, state_schema: Any, *, input_schema: Any = None, output_schema: Any = None) -> None:
        self.nodes: dict[str, NodeSpec] = {}
        self.edges: dict[tuple[str, str], None] = {}
        self.joins: dict[Join, None] = {}
        self.branches: dict[str, dict[str, Branch]] = {}
        self.channels: dict[str, Channel] = {}
        self._schemas: dict[type, Schema] = {}
        self.state_schema = self._add_schema(state_schema)
        self.input_schema = self._add_schema(input_schema or state_schema)
        self.output_schema = self._add_schema(output_schema or state_schema)

    def _add_schema(self, cls: Any) -> Schema:
        if isinstance(cls, type) and cls in self._schemas:
            return self._schemas[cls]
        schema = read_schema(cls)
        faults = []
        for name, channel in schema.channels.items():
            known = self.channels.setdefault(name, channel)
            # A schema that reads a reduced key need not repeat its reducer. Lambdas cannot be told apart.
            if channel.reducer is None or channel.reducer == known.reducer or _both_lambdas(channel, known):
                continue
            faults.append(
                f"the key {name!r} of {cls.__name__} is reduced by {channel.reducer_name}, elsewhere by "
                f"{known.reducer_name or 'nothing'}: declare one reducer, in the state's schema"
            )
        if faults:
            raise GraphValidationError(faults)
        self._schemas[cls] = schema
        return schema

    @overload
    def add_node(
        self,
        node: Function,
        action: None = None,
        *,
        retry_policy: RetryStrategy | Sequence[RetryStrategy] | None = None,
        timeout: float | timedelta | None = None,
        queue: str | None = None,
        priority: Priority | None = None,
        defer: bool = False,
        metadata: Mapping[str, object] | None = None,
        input_schema: Any = None,
        error_handler: Function | None = None,
        cache_policy: CachePolicy | None = None,
    ) -> Self: ...

    @overload
    def add_node(
        self,
        node: str,
        action: Function,
        *,
        retry_policy: RetryStrategy | Sequence[RetryStrategy] | None = None,
        timeout: float | timedelta | None = None,
        queue: str | None = None,
        priority: Priority | None = None,
        defer: bool = False,
        metadata: Mapping[str, object] | None = None,
        input_schema: Any = None,
        error_handler: Function | None = None,
        cache_policy: CachePolicy | None = None,
    ) -> Self: ...

    def add_node(
        self,
        node: str | Function,
        action: Function | None = None,
        *,
        retry_policy: RetryStrategy | Sequence[RetryStrategy] | None = None,
        timeout: float | timedelta | None = None,
        queue: str | None = None,
        priority: Priority | None = None,
        defer: bool = False,
        metadata: Mapping[str, object] | None = None,
        input_schema: Any = None,
        error_handler: Function | None = None,
        cache_policy: CachePolicy | None = None,
    ) -> Self:
        """Adds a node: ``add_node(function)`` under the function's name, or ``add_node(name, function)``.

        The function takes ``(state)`` or ``(state, runtime)``, may be async, and returns the keys to change:
        a dict, an instance of a schema, or ``None`` for none.

        retry_policy: when a failed attempt is made again: `Exponential`, `Fixed`, `Adaptive`, `Emergency` or
            `RetryPolicy`; of several, the first that takes the exception.
        timeout: seconds (or a timedelta) for one attempt.
        queue: the queue its tasks wait in.
        priority: ``"high"``, ``"default"`` or ``"low"``.
        defer: run only when nothing else is left to run.
        metadata: the author's own.
        input_schema: what the function reads of the state; by default the schema that its first parameter is
            annotated with, else the state's.
        error_handler: called in the node's place once its retries are over: ``(state)`` or ``(state, error)`` with a
            `NodeError`, and ``runtime`` if it asks for it. What it returns is the node's output; the node's edges
            are not followed, a ``Command(goto=...)`` says where to go on (LangGraph's rule).
        cache_policy: use results again that the node gave for the same input before (`CachePolicy`).

        Raises GraphValidationError for a name that is taken, reserved or cannot be told from the function, and
        for an argument that is out of range.
        """
        name, function = (node, action) if isinstance(node, str) else (_name_of(node), node)
        faults = []
        if function is None:
            faults.append(f"node {name!r} has no function: give it as the second argument")
        if not isinstance(node, str) and action is not None:
            faults.append(
                f"add_node was given two functions ({node!r}, {action!r}): the first argument is the name"
            )
        if name in self.nodes:
            faults.append(f"there is a node {name!r} already: give this one another name")
        if name in RESERVED_NAMES or not name:
            faults.append(f"the name {name!r} is reserved: give the node another one")
        faults += [
            f"the node name {name!r} contains {character!r}, which separates the parts of a task's path: leave it out"
            for character in RESERVED_CHARACTERS
            if character in name
        ]
        if priority not in (None, "high", "default", "low"):
            faults.append(f"node {name!r} has priority {priority!r}: it is 'high', 'default' or 'low'")
        if queue is not None and (not queue or queue.startswith("@")):
            faults.append(
                f"node {name!r} has queue {queue!r}: a queue's name is not empty and does not begin with '@'"
            )
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        if seconds is not None and not seconds > 0:
            faults.append(f"node {name!r} has timeout {timeout!r}: give a number of seconds above 0, or None")
        policies = _policies(name, retry_policy, faults)
        faults += _cache_faults(name, cache_policy)
        if faults or function is None:
            raise GraphValidationError(faults)
        bound = graph_function(function, f"node {name!r}")
        hints, first = function_hints(function)
        wanted = input_schema or annotated_input(hints, first or "")
        schema = self._add_schema(wanted) if wanted is not None else self.state_schema
        self.nodes[name] = NodeSpec(
            name,
            bound,
            schema,
            policies,
            seconds,
            queue,
            priority,
            defer,
            dict(metadata or {}),
            None if error_handler is None else read_handler(error_handler, name),
            cache_policy,
        )
        return self

    def add_edge(self, start_key: str | Sequence[str], end_key: str) -> Self:
        """Leads from a node to another; with a list of nodes, once all of them have run (a join).

        Raises GraphValidationError for an edge out of END or into START, and for a join of unknown nodes.
        """
        faults = []
        starts = [start_key] if isinstance(start_key, str) else list(start_key)
        if END in starts:
            faults.append("an edge starts at END: nothing comes after the end")
        if end_key == START:
            faults.append("an edge ends at START: nothing comes before it; lead to the first node instead")
        if not isinstance(start_key, str):
            if not starts:
                faults.append(f"the join before {end_key!r} waits for no node: name at least one")
            unknown = [
                name for name in [*starts, end_key] if name not in self.nodes and name not in (START, END)
            ]
            faults += [
                f"the join {starts} -> {end_key!r} names the unknown node {name!r}: add it first"
                for name in unknown
            ]
            if START in starts:
                faults.append(f"the join before {end_key!r} waits for START: give START an edge of its own")
        if faults:
            raise GraphValidationError(faults)
        if isinstance(start_key, str):
            self.edges[start_key, end_key] = None
        else:
            self.joins[Join(tuple(starts), end_key)] = None
        return self

    def add_conditional_edges(self, source: str, path: Function, path_map: PathMap | None = None) -> Self:
        """Leads from ``source`` to where ``path`` says.

        path: a function of the state (or of state and runtime; it may be async) that answers a node's name, END,
            a `Send`, or a list of these. It sees the state with the writes of ``source`` alone applied.
        path_map: what each answer means: a dict of answers to nodes, or a list of the nodes it may answer. By
            default the answers of its return annotation, if that is a Literal.

        Raises GraphValidationError for a second branch of that name at ``source``.
        """
        name = getattr(path, "__name__", None)
        if name is None or name == "<lambda>":
            name = "condition"
        if name in self.branches.get(source, {}):
            raise GraphValidationError(
                [
                    f"node {source!r} has a branch {name!r} already: give the router's function a name of its own"
                ]
            )
        function = graph_function(path, f"the router {name!r} of {source!r}")
        hints, first = function_hints(path)
        wanted = annotated_input(hints, first or "")
        ends: dict[Hashable, str] | None = None
        if isinstance(path_map, Mapping):
            ends = dict(path_map)
        elif isinstance(path_map, str):
            raise GraphValidationError(
                [
                    f"the path_map of router {name!r} at {source!r} is the string {path_map!r}: give a dict or a list"
                ]
            )
        elif path_map is not None:
            ends = {end: end for end in path_map}
        elif typing.get_origin(hints.get("return")) is Literal:
            ends = {answer: answer for answer in typing.get_args(hints["return"])}
        schema = self._add_schema(wanted) if wanted is not None else None
        # An empty path_map says nothing, as in LangGraph.
        self.branches.setdefault(source, {})[name] = Branch(source, name, function, ends or None, schema)
        return self

    def add_sequence(self, nodes: Sequence[Function | tuple[str, Function]]) -> Self:
        """Adds nodes (functions, or pairs of name and function) with an edge from each to the next."""
        if not nodes:
            raise GraphValidationError(["add_sequence was given no node: give at least one"])
        previous: str | None = None
        for item in nodes:
            name, function = item if isinstance(item, tuple) else (_name_of(item), item)
            self.add_node(name, function)
            if previous is not None:
                self.add_edge(previous, name)
            previous = name
        return self

    def set_entry_point(self, key: str) -> Self:
        """The node that runs first: an edge from START."""
        return self.add_edge(START, key)

    def set_conditional_entry_point(self, path: Function, path_map: PathMap | None = None) -> Self:
        """Lets ``path`` choose the first nodes by the input: a conditional edge from START."""
        return self.add_conditional_edges(START, path, path_map)

    def set_finish_point(self, key: str) -> Self:
        """The node after which its path ends: an edge to END."""
        return self.add_edge(key, END)

    def validate(self, interrupt: Sequence[str] = ()) -> Self:
        """Checks the graph as a whole; ``interrupt`` holds names that must be nodes.

        Raises GraphValidationError naming every fault.
        """
        branches = [branch for named in self.branches.values() for branch in named.values()]
        faults = graph_faults(self.nodes, self.edges, branches, self.joins, interrupt)
        if faults:
            raise GraphValidationError(faults)
        return self

    def definition(
        self,
        *,
        name: str | None = None,
        version: str | None = None,
        interrupt_before: Sequence[str] | Literal["*"] | None = (),
        interrupt_after: Sequence[str] | Literal["*"] | None = (),
        versions: Literal["upgrade", "pin"] = "upgrade",
    ) -> GraphDefinition:
        """The graph, validated, as the engine takes it; later changes of the builder do not reach it."""
        before = self._interrupts("interrupt_before", interrupt_before)
        after = self._interrupts("interrupt_after", interrupt_after)
        self.validate([*before, *after])
        if versions not in ("upgrade", "pin"):
            raise GraphValidationError([f"versions is {versions!r}: take 'upgrade' or 'pin'"])
        if versions == "pin" and not version:
            raise GraphValidationError(["versions is 'pin' and there is no version: give one"])
        return GraphDefinition(
            nodes=dict(self.nodes),
            edges=tuple(self.edges),
            joins=tuple(self.joins),
            branches=tuple(branch for named in self.branches.values() for branch in named.values()),
            channels=dict(self.channels),
            state_schema=self.state_schema,
            input_schema=self.input_schema,
            output_schema=self.output_schema,
            name=name,
            version=version,
            interrupt_before=before,
            interrupt_after=after,
            versions=versions,
        )

    def _interrupts(self, option: str, names: Sequence[str] | None) -> tuple[str, ...]:
        if names == "*":
            return tuple(self.nodes)
        if isinstance(names, str):
            raise GraphValidationError(
                [f"{option} is the string {names!r}: give a list of nodes, or '*' for all"]
            )
        return tuple(dict.fromkeys(names or ()))

    def compile(
        self,
        checkpointer: Any = None,
        *,
        name: str | None = None,
        version: str | None = None,
        interrupt_before: Sequence[str] | Literal["*"] | None = (),
        interrupt_after: Sequence[str] | Literal["*"] | None = (),
        store: Any = None,
        durability: str | None = None,
        versions: Literal["upgrade", "pin"] = "upgrade",
    ) -> CompiledGraph:
        """Validates the graph and makes it runnable.

        checkpointer: where threads are kept; ``None`` for none.
        name, version: what workers register the graph under.
        interrupt_before, interrupt_after: nodes to stop at, or ``"*"`` for all.
        store: what nodes get as ``runtime.store``: a store or its URL, whose items they then remember in, or anything
            with LangGraph's methods, as it is. Without one, the store that the run is on.
        versions: ``upgrade`` lets a thread go on with another version of the graph that still has its nodes; ``pin``
            lets only workers of its own version run it, on queues of their own.
        durability: how much of its runs a worker may carry before it commits, where a run says nothing itself:
            ``sync``, ``interval:SECONDS``, ``adaptive``, ``async`` or ``exit`` (`petiole_workers.durability`).

        Raises GraphValidationError naming every fault, ConfigurationError for an unknown durability.
        """
        # The compiled graph runs this package's engine, so it cannot be imported before it.
        from petiole_workers.compiled import CompiledGraph

        definition = self.definition(
            name=name,
            version=version,
            interrupt_before=interrupt_before,
            interrupt_after=interrupt_after,
            versions=versions,
        )
        return CompiledGraph(definition, checkpointer, durability=durability, store=store)


def _policies(
    name: str, given: RetryStrategy | Sequence[RetryStrategy] | None, faults: list[str]
) -> tuple[RetryStrategy, ...]:
    """A node's strategies; what is none of them is named in ``faults``."""
    if given is None:
        return ()
    policies = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    faults += [
        f"node {name!r} has the retry policy {policy!r}: give Exponential(), Fixed(), Adaptive(), Emergency(), "
        "RetryPolicy(), or a list of them"
        for policy in policies
        if isinstance(policy, type) or not isinstance(policy, RetryStrategy)
    ]
    return cast("tuple[RetryStrategy, ...]", policies)


def _cache_faults(name: str, policy: object) -> list[str]:
    if policy is None:
        return []
    if not isinstance(policy, CachePolicy):
        return [f"node {name!r} has the cache policy {policy!r}: give CachePolicy(), or None"]
    fault = policy.fault()
    return [f"node {name!r} has a cache policy whose {fault}"] if fault else []


def _both_lambdas(one: Channel, other: Channel) -> bool:
    return all(getattr(c.reducer, "__name__", "") == "<lambda>" for c in (one, other))


def _name_of(function: object) -> str:
    """The name of a node given without one: its function's.

    LangGraph would take ``<lambda>``, ``partial`` or a class's name: two of a kind then collide, and a name in
    the history of a thread should say what ran.
    """
    name = getattr(function, "__name__", None)
    if (
        isinstance(function, functools.partial)
        or name is None
        or name == "<lambda>"
        or not inspect.isroutine(function)
    ):
        raise GraphValidationError(
            [f"a node's name cannot be told from {function!r}: name it, as in add_node('name', function)"]
        )
    return str(name)
