"""`StateGraph`: the builder that authors write their graphs with. Names and meanings are LangGraph's."""

from __future__ import annotations

import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, cast, overload

from petiole_stores.errors import GraphValidationError
from petiole_workers.graph.cache import CachePolicy
from petiole_workers.graph.callables import graph_function
from petiole_workers.graph.children import ChildNode, child
from petiole_workers.graph.defaults import NodeDefaults
from petiole_workers.graph.definition import GraphDefinition
from petiole_workers.graph.errors import error_handler as read_handler
from petiole_workers.graph.faults import graph_faults
from petiole_workers.graph.names import END, RESERVED_CHARACTERS, RESERVED_NAMES, START
from petiole_workers.graph.parts import Branch, Join, NodeSpec, Priority
from petiole_workers.graph.reading import (
    Destinations,
    Function,
    Policies,
    name_of,
    policies,
    renamed,
    timeout_policy,
)
from petiole_workers.graph.reading import destinations as read_destinations
from petiole_workers.graph.schema import Channel, Schema, annotated_input, function_hints, read_schema
from petiole_workers.graph.sources import NodeSource, node_source
from petiole_workers.graph.subgraphs import as_subgraph, placeholder, within_its_node
from petiole_workers.graph.timeout import Seconds, TimeoutPolicy

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph

#: Arguments by their former names in LangGraph.
_FORMER_SCHEMAS = {"config_schema": "context_schema", "input": "input_schema", "output": "output_schema"}
_FORMER_OPTIONS = {"retry": "retry_policy", "input": "input_schema"}

PathMap = Mapping[Any, str] | Sequence[str]


class StateGraph:
    """A graph of functions over a shared state.

    A node is a function of the state that returns the keys to change. Build the graph with the methods below,
    each of which returns the graph, then `compile` it.

    state_schema: a TypedDict, dataclass or pydantic model. A key declared as ``Annotated[T, reducer]`` joins
        writes by ``reducer(current, update)``, one declared with a channel takes them as that says; any other key takes
        one write a superstep.
    context_schema: what ``runtime.context`` is: a dataclass, pydantic model or TypedDict. A run that is given a dict for
        one of the first two makes an instance of it.
    input_schema, output_schema: narrower schemas for what a run takes and returns; the state's by default.

    Raises GraphValidationError for a schema that cannot be read.
    """

    def __init__(
        self,
        state_schema: Any,
        context_schema: type[Any] | None = None,
        *,
        input_schema: Any = None,
        output_schema: Any = None,
        **former: Any,
    ) -> None:
        options = {
            "context_schema": context_schema,
            "input_schema": input_schema,
            "output_schema": output_schema,
        }
        renamed("StateGraph", former, _FORMER_SCHEMAS, options)
        self.nodes: dict[str, NodeSpec] = {}
        self.edges: dict[tuple[str, str], None] = {}
        self.joins: dict[Join, None] = {}
        self.branches: dict[str, dict[str, Branch]] = {}
        self.channels: dict[str, Channel] = {}
        self._schemas: dict[type, Schema] = {}
        self._defaults = NodeDefaults()
        self._own_retries: set[str] = set()
        self.state_schema = self._add_schema(state_schema)
        self.input_schema = self._add_schema(options["input_schema"] or state_schema, role="input")
        self.output_schema = self._add_schema(options["output_schema"] or state_schema, role="output")
        self.context_schema: type[Any] | None = options["context_schema"]
        if self.context_schema is not None and not isinstance(self.context_schema, type):
            raise GraphValidationError(
                [
                    f"context_schema is {self.context_schema!r}: give a dataclass, a pydantic model or a TypedDict"
                ]
            )

    def set_node_defaults(
        self,
        *,
        retry_policy: Policies = None,
        error_handler: Function | None = None,
        timeout: Seconds | TimeoutPolicy | None = None,
        cache_policy: CachePolicy | None = None,
    ) -> Self:
        """Policies for every node that was added without one of its own, before or after this call.

        A later call changes what it names. Subgraphs do not inherit them. Raises GraphValidationError.
        """
        faults: list[str] = []
        role = "set_node_defaults"
        changed = NodeDefaults(
            policies(retry_policy, role, faults)
            if retry_policy is not None
            else self._defaults.retry_policies,
            timeout_policy(timeout, role, faults) if timeout is not None else self._defaults.timeout,
            read_handler(error_handler, "(by default)")
            if error_handler is not None
            else self._defaults.error_handler,
            cache_policy if cache_policy is not None else self._defaults.cache_policy,
        )
        faults += _cache_faults("(by default)", cache_policy)
        if faults:
            raise GraphValidationError(faults)
        self._defaults = changed
        return self

    def _add_schema(self, cls: Any, *, role: str = "") -> Schema:
        if isinstance(cls, type) and cls in self._schemas:
            return self._schemas[cls]
        schema = read_schema(cls)
        faults = [
            f"the key {name!r} of the {role} schema {cls.__name__} is one that the engine fills in: leave it out there"
            for name in (schema.managed if role else ())
        ]
        for name, channel in schema.channels.items():
            known = self.channels.setdefault(name, channel)
            # A schema that reads a reduced key need not repeat its reducer.
            if channel.label is None or channel.rule.same_as(known.rule):
                continue
            faults.append(
                f"the key {name!r} of {cls.__name__} is reduced by {channel.label}, elsewhere by "
                f"{known.label or 'nothing'}: declare one reducer, in the state's schema"
            )
        if faults:
            raise GraphValidationError(faults)
        self._schemas[cls] = schema
        return schema

    @overload
    def add_node(
        self,
        node: Function | NodeSource,
        action: None = None,
        *,
        retry_policy: Policies = None,
        timeout: Seconds | TimeoutPolicy | None = None,
        queue: str | None = None,
        priority: Priority | None = None,
        defer: bool = False,
        metadata: Mapping[str, object] | None = None,
        input_schema: Any = None,
        error_handler: Function | None = None,
        destinations: Destinations | None = None,
        cache_policy: CachePolicy | None = None,
        **former: Any,
    ) -> Self: ...

    @overload
    def add_node(
        self,
        node: str,
        action: Function | NodeSource,
        *,
        retry_policy: Policies = None,
        timeout: Seconds | TimeoutPolicy | None = None,
        queue: str | None = None,
        priority: Priority | None = None,
        defer: bool = False,
        metadata: Mapping[str, object] | None = None,
        input_schema: Any = None,
        error_handler: Function | None = None,
        destinations: Destinations | None = None,
        cache_policy: CachePolicy | None = None,
        **former: Any,
    ) -> Self: ...

    def add_node(
        self,
        node: str | Function | NodeSource,
        action: Function | NodeSource | None = None,
        *,
        retry_policy: Policies = None,
        timeout: Seconds | TimeoutPolicy | None = None,
        queue: str | None = None,
        priority: Priority | None = None,
        defer: bool = False,
        metadata: Mapping[str, object] | None = None,
        input_schema: Any = None,
        error_handler: Function | None = None,
        destinations: Destinations | None = None,
        cache_policy: CachePolicy | None = None,
        **former: Any,
    ) -> Self:
        """Adds a node: ``add_node(function)`` under the function's name, or ``add_node(name, function)``.

        The function takes ``(state)``, ``(state, runtime)`` or ``(state, config)``, may be async, and returns the keys to
        change: a dict, an instance of a schema, a `Command`, a list with Commands in it, or ``None`` for none. A compiled
        graph in its place is unfolded: each of its nodes is a task of its own. A Celery task in its place runs with its own
        retries, limits and queue, where none are given here (`petiole_workers.celery.nodes.celery_node`).

        retry_policy: when a failed attempt is made again: `Exponential`, `Fixed`, `Adaptive`, `Emergency` or
            `RetryPolicy`; of several, the first that takes the exception.
        timeout: seconds (or a timedelta) for one attempt, or a `TimeoutPolicy`.
        queue: the queue its tasks wait in.
        priority: ``"high"``, ``"default"`` or ``"low"``.
        defer: run only when nothing else is left to run.
        metadata: the author's own.
        input_schema: what the function reads of the state; by default the schema that its first parameter is
            annotated with, else the state's. Keys that only it has are the graph's, too.
        error_handler: called in the node's place once its retries are over: ``(state)`` or ``(state, error)`` with a
            `NodeError`, and ``runtime`` if it asks for it. What it returns is the node's output; the node's edges
            are not followed, a ``Command(goto=...)`` says where to go on (LangGraph's rule).
        destinations: where its Commands may lead, for drawings: names, or names and labels. By default what its return
            annotation says, as in ``Command[Literal["a", "b"]]``.
        cache_policy: use results again that the node gave for the same input before (`CachePolicy`).

        Raises GraphValidationError for a name that is taken, reserved or cannot be told from the function, and
        for an argument that is out of range.
        """
        options = {"retry_policy": retry_policy, "input_schema": input_schema}
        renamed("add_node", former, _FORMER_OPTIONS, options)
        name, function = (node, action) if isinstance(node, str) else (name_of(node), node)
        role = f"node {name!r}"
        faults = self._name_faults(name)
        if function is None:
            faults.append(f"{role} has no function: give it as the second argument")
        if not isinstance(node, str) and action is not None:
            faults.append(
                f"add_node was given two functions ({node!r}, {action!r}): the first argument is the name"
            )
        if priority not in (None, "high", "default", "low"):
            faults.append(f"{role} has priority {priority!r}: it is 'high', 'default' or 'low'")
        if queue is not None and (not queue or queue.startswith("@")):
            faults.append(
                f"{role} has queue {queue!r}: a queue's name is not empty and does not begin with '@'"
            )
        limits = timeout_policy(timeout, role, faults) or TimeoutPolicy()
        retries = policies(options["retry_policy"], role, faults)
        source = node_source(function)
        parts = source.node_parts(name, self.channels) if source is not None else None
        if parts is not None:
            function, queue = parts.function, queue or parts.queue
            retries = (*retries, *(parts.retry_policies or ()))
            limits = limits if timeout is not None else TimeoutPolicy(run_timeout=parts.timeout)
        hints, first = function_hints(function)
        faults += _cache_faults(name, cache_policy)
        leads_to = read_destinations(destinations, hints.get("return"), role, faults)
        subgraph = as_subgraph(function)
        if subgraph is not None and (
            retries or timeout is not None or error_handler is not None or cache_policy is not None
        ):
            faults.append(
                f"{role} is a graph: give retry_policy, timeout, error_handler and cache_policy to the nodes in it, each is a "
                "task of its own"
            )
        if faults or function is None:
            raise GraphValidationError(faults)
        function = placeholder(name) if subgraph is not None else cast("Function", within_its_node(function))
        wanted = options["input_schema"] or (parts.schema if parts else annotated_input(hints, first or ""))
        schema = self._add_schema(wanted) if wanted is not None else self.state_schema
        if options["retry_policy"] is not None or (parts is not None and parts.retry_policies is not None):
            self._own_retries.add(name)
        self.nodes[name] = NodeSpec(
            name=name,
            function=graph_function(function, role),
            input_schema=schema,
            retry_policies=retries,
            timeout=limits.run_seconds,
            queue=queue,
            priority=priority,
            defer=defer,
            metadata=dict(metadata or {}),
            error_handler=None if error_handler is None else read_handler(error_handler, name),
            idle_timeout=limits.idle_seconds,
            refresh_on=limits.refresh_on,
            destinations=leads_to,
            subgraph=subgraph,
            cache_policy=cache_policy,
            child=parts.child if parts is not None else None,
        )
        return self

    def as_node(
        self,
        graph: Any,
        *,
        thread: Callable[[Any], str | None] | None = None,
        input: Callable[[Any], Any] | None = None,
        output: Callable[[Any], Any] | str | None = None,
        wait: bool = True,
    ) -> ChildNode:
        """A node for `add_node` that runs another graph, by its name, on a thread of its own: see `child`."""
        return child(graph, thread=thread, input=input, output=output, wait=wait)

    def _name_faults(self, name: str) -> list[str]:
        """What is wrong with the name of a node to be added."""
        faults = []
        if name in self.nodes:
            faults.append(f"there is a node {name!r} already: give this one another name")
        if name in RESERVED_NAMES or not name:
            faults.append(f"the name {name!r} is reserved: give the node another one")
        faults += [
            f"the node name {name!r} contains {character!r}, which separates the parts of a task's path: leave it out"
            for character in RESERVED_CHARACTERS
            if character in name
        ]
        return faults

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
            name, function = item if isinstance(item, tuple) else (name_of(item), item)
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
        input_key: str | None = None,
    ) -> GraphDefinition:
        """The graph, validated, as the engine takes it; later changes of the builder do not reach it.

        input_key: the key of the state that takes the whole input, whatever it is.
        """
        before = self._interrupts("interrupt_before", interrupt_before)
        after = self._interrupts("interrupt_after", interrupt_after)
        self.validate([*before, *after])
        if versions not in ("upgrade", "pin"):
            raise GraphValidationError([f"versions is {versions!r}: take 'upgrade' or 'pin'"])
        if versions == "pin" and not version:
            raise GraphValidationError(["versions is 'pin' and there is no version: give one"])
        return GraphDefinition(
            nodes={
                name: self._defaults.applied(node, own_retries=name in self._own_retries)
                for name, node in self.nodes.items()
            },
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
            context_schema=self.context_schema,
            input_key=input_key,
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
        listeners: Sequence[Any] = (),
        debug: bool = False,
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
        listeners: told when nodes start, end and fail and when checkpoints are made (`petiole_workers.listening`).
        debug: log all of that.

        Raises GraphValidationError naming every fault, ConfigurationError for an unknown durability.
        """
        # The compiled graph runs this package's engine, so it cannot be imported before it.
        from petiole_workers.compiled import CompiledGraph
        from petiole_workers.listeners import LoggingListener

        definition = self.definition(
            name=name,
            version=version,
            interrupt_before=interrupt_before,
            interrupt_after=interrupt_after,
            versions=versions,
        )
        told = [*listeners, LoggingListener()] if debug else listeners
        return CompiledGraph(definition, checkpointer, durability=durability, store=store, listeners=told)


def _cache_faults(name: str, policy: object) -> list[str]:
    if policy is None:
        return []
    if not isinstance(policy, CachePolicy):
        return [f"node {name!r} has the cache policy {policy!r}: give CachePolicy(), or None"]
    fault = policy.fault()
    return [f"node {name!r} has a cache policy whose {fault}"] if fault else []
