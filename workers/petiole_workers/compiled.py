"""A compiled graph: what a worker serves, and what can be invoked in this process on any store."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

from petiole_stores.contract import CheckpointStore
from petiole_stores.errors import ConfigurationError, InputError
from petiole_stores.memory import MemoryStore
from petiole_stores.opening import open_checkpoint_store
from petiole_stores.records import Offer
from petiole_stores.serde import Serde
from petiole_workers.batch import Configs, abatch, batch
from petiole_workers.bound import BoundGraph, merged
from petiole_workers.caching import clear_cache
from petiole_workers.durability import checked
from petiole_workers.fitting import offer_of
from petiole_workers.given import coerced
from petiole_workers.graph.children import ChildNode, child
from petiole_workers.graph.definition import GraphDefinition
from petiole_workers.graph.drawing import Drawing
from petiole_workers.graph.json_schema import json_schema_of
from petiole_workers.graph.names import START
from petiole_workers.graph.overwrite import plain
from petiole_workers.graph.runtime import caller_around, services_around
from petiole_workers.graph.snapshot import TaskSpec, pull_path
from petiole_workers.graph.updates import task_output
from petiole_workers.hop import AS_COMPILED, Stops
from petiole_workers.listening import Listeners
from petiole_workers.long_term import memory_of
from petiole_workers.registry import note_compiled
from petiole_workers.saving import Keeping
from petiole_workers.streaming.modes import Modes, StreamMode

if TYPE_CHECKING:
    from petiole_workers.inline import InlineEngine
    from petiole_workers.inline_options import InvokeOptions
    from petiole_workers.snapshot import StateSnapshot
    from petiole_workers.states import States
    from petiole_workers.streaming.handover import Handover


class CompiledGraph(Keeping):
    """An executable graph, made by ``StateGraph.compile``.

    ``checkpointer`` is a store, a store's URL, or any five-method CheckpointStore; without one, ``invoke`` keeps nothing
    after it returns. Workers use their own store and ignore it.
    """

    #: The keys of the state that streams show where they are not told; ``None``: all.
    shown_keys: str | None = None

    def __init__(
        self,
        definition: GraphDefinition,
        checkpointer: CheckpointStore | str | bool | None = None,
        *,
        durability: str | None = None,
        store: Any = None,
        listeners: Sequence[Any] = (),
    ) -> None:
        self.definition = definition
        #: Told how runs go, wherever they do (:mod:`petiole_workers.listening`).
        self.listeners = Listeners(tuple(listeners))
        #: The name that runs are submitted under; ``petiole worker`` names an unnamed graph after its module.
        self.name: str = definition.name or "graph"
        #: The queue of nodes that name none; ``None``: the settings' one.
        self.queue: str | None = None
        #: How its runs are kept where they say nothing themselves; ``None``: as the worker's settings say.
        self.durability: str | None = None if durability is None else checked(durability)
        #: ``compile``'s ``checkpointer``, where it says how the graph is kept as a node of another one.
        self.checkpointing: bool | None = checkpointer if isinstance(checkpointer, bool) else None
        self._checkpointer = None if isinstance(checkpointer, bool) else checkpointer
        self._store = store
        self._engine: InlineEngine | None = None
        if definition.name is not None:
            note_compiled(self)

    def __repr__(self) -> str:
        return f"<CompiledGraph {self.name!r}: {', '.join(self.definition.nodes)}>"

    @property
    def checkpointer(self) -> CheckpointStore | None:
        """The store that ``invoke`` keeps threads in."""
        if isinstance(self._checkpointer, str):
            self._checkpointer = open_checkpoint_store(self._checkpointer)
        return self._checkpointer

    @cached_property
    def store(self) -> Any:
        """The long-term memory that its nodes are given in place of the one of the store that they run on; or ``None``."""
        return memory_of(self._store, self.register_types)

    @cached_property
    def offer(self) -> Offer:
        """The graph as a worker offers it."""
        return offer_of(self)

    @property
    def children(self) -> list[CompiledGraph]:
        """The graphs that its nodes run on threads of their own, as far as they were given themselves."""
        nodes = (node for graph in self.definition.family() for node in graph.nodes.values())
        return [node.child for node in nodes if node.child is not None]

    def as_node(
        self,
        graph: str | CompiledGraph | None = None,
        *,
        thread: Callable[[Any], str | None] | None = None,
        input: Callable[[Any], Any] | None = None,
        output: Callable[[Any], Any] | str | None = None,
        wait: bool = True,
    ) -> ChildNode:
        """A node for ``add_node`` that runs this graph (or another one, by its name) on a thread of its own: see
        `petiole_workers.graph.child`."""
        made = self if graph is None else graph
        return child(made, thread=thread, input=input, output=output, wait=wait)

    def register_types(self, serde: Serde) -> None:
        """Let a store's serde bring back every class that the state's annotations reach."""
        for definition in self.definition.family():
            inputs = [node.input_schema for node in definition.nodes.values()]
            for schema in (
                definition.state_schema, definition.input_schema, definition.output_schema, *inputs
            ):  # fmt: skip
                serde.register_schema(schema.type)
            if definition.context_schema is not None:
                serde.register_schema(definition.context_schema)

    def accept(self, input: object) -> dict[str, object]:
        """The state keys that an input sets.

        Raises InputError for ``None``, InvalidUpdateError for what is neither a dict nor an instance of the schema.
        """
        if input is None:
            raise InputError(f"graph {self.name!r} needs an input: give a dict of state keys ({{}} will do)")
        given = task_output(self.definition, TaskSpec(pull_path(START), START), plain(input))
        return dict(given.writes)

    def accept_context(self, context: Any) -> Any:
        """The context as nodes get it. Raises InputError for one that does not fit the graph's ``context_schema``."""
        return coerced(self.definition.context_schema, context, self.name)

    # ---------------------------------------------------------------- running in this process

    def invoke(
        self,
        input: Mapping[str, Any] | Any | None,
        config: Mapping[str, Any] | None = None,
        *,
        context: Any = None,
        durability: str | None = None,
    ) -> dict[str, Any] | Any:
        """Run the graph in this process to its end and return the final state.

        Parameters
            input   the state to start with; ``None`` lets the thread go on: a failed run from its failed nodes, an
                    interrupted one past its interrupt, one whose process died from its last checkpoint
            config  LangGraph's: ``configurable`` (its ``thread_id`` is needed with a checkpointer), ``recursion_limit``,
                    ``max_concurrency``, ``tags``, ``metadata``, ``run_id`` and ``callbacks`` (handed to nodes that take
                    ``config``); any other key counts as a ``configurable`` one
            context what nodes get as ``runtime.context``: an instance of the graph's ``context_schema``, or a dict for one.
                    Nodes get the very object; it is kept with the run, too, where it can be stored
            durability  as in ``StateGraph.compile``; nothing: the graph's, else ``sync``

        Raises whatever a node raised (its siblings' outputs are kept), GraphRecursionError, ThreadBusyError when another
        run is active on the thread.
        """
        return self._invoke(input, config, None, durability, context)

    async def ainvoke(
        self,
        input: Mapping[str, Any] | Any | None,
        config: Mapping[str, Any] | None = None,
        *,
        context: Any = None,
        durability: str | None = None,
    ) -> dict[str, Any] | Any:
        """As :meth:`invoke`; async nodes run on the caller's event loop, sync ones in threads."""
        loop = asyncio.get_running_loop()
        return await asyncio.to_thread(self._invoke, input, config, loop, durability, context)

    def batch(
        self,
        inputs: Sequence[Any],
        config: Configs = None,
        *,
        return_exceptions: bool = False,
        **options: Any,
    ) -> list[Any]:
        """:meth:`invoke` for each input, ``max_concurrency`` of them side by side; the results in their order.

        Parameters
            config   one for all, or one an input; with a checkpointer each input needs a thread of its own
            return_exceptions  give an exception in the place of its result instead of raising it
            options  further arguments of :meth:`invoke`
        """
        return batch(partial(self.invoke, **options), inputs, config, return_exceptions)

    async def abatch(
        self,
        inputs: Sequence[Any],
        config: Configs = None,
        *,
        return_exceptions: bool = False,
        **options: Any,
    ) -> list[Any]:
        """As :meth:`batch`, by :meth:`ainvoke`."""
        return await abatch(partial(self.ainvoke, **options), inputs, config, return_exceptions)

    def _invoke(
        self,
        input: Any,
        config: Mapping[str, Any] | None,
        loop: asyncio.AbstractEventLoop | None,
        durability: str | None,
        context: Any,
    ) -> Any:
        return self._running().invoke(input, self._options(config, durability, context), loop)

    def _options(
        self,
        config: Mapping[str, Any] | None,
        durability: str | None,
        context: Any,
        stops: Stops = AS_COMPILED,
    ) -> InvokeOptions:
        from petiole_workers.inline_options import InvokeOptions

        given, around = self.accept_context(context), None
        if self.checkpointer is None:  # within a node it has what that has
            outer, around = caller_around()
            config = merged(outer, config) if outer else config
        return InvokeOptions.of(
            config,
            needs_thread=self.checkpointer is not None,
            durability=None if durability is None else checked(durability),
            stops=stops,
            context=around if context is None else given,
        )

    def _running(self) -> InlineEngine:
        """The engine of the graph's checkpointer; without one, a new one on memory, for the node that this may be within."""
        from petiole_workers.inline import InlineEngine

        if self.checkpointer is None:
            return InlineEngine(self, MemoryStore(), around=services_around())
        self._engine = self._engine or InlineEngine.on(self, self.checkpointer)
        return self._engine

    def with_config(self, config: Mapping[str, Any] | None = None, **more: Any) -> BoundGraph:
        """The graph for this process with a config that every call has, unless it says otherwise itself."""
        return BoundGraph(self, merged(config, more))

    def get_input_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON schema of what a run takes."""
        return json_schema_of(self.definition.input_schema.type)

    def get_output_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON schema of what a run returns."""
        return json_schema_of(self.definition.output_schema.type)

    def get_context_jsonschema(self) -> dict[str, Any] | None:
        """The JSON schema of a run's context; ``None`` for a graph without a ``context_schema``."""
        schema = self.definition.context_schema
        return None if schema is None else json_schema_of(schema)

    # ---------------------------------------------------------------- streaming

    def stream(
        self,
        input: Mapping[str, Any] | Any | None,
        config: Mapping[str, Any] | None = None,
        *,
        context: Any = None,
        stream_mode: StreamMode | Sequence[StreamMode] | None = None,
        print_mode: StreamMode | Sequence[StreamMode] = (),
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: Sequence[str] | Literal["*"] | None = None,
        interrupt_after: Sequence[str] | Literal["*"] | None = None,
        durability: str | None = None,
        subgraphs: bool = False,
    ) -> Iterator[Any]:
        """Run the graph in this process and give out what it does while it does it.

        The run goes on only while the stream is read: a superstep begins when the chunks of the one before were taken. A
        stream that is closed early lets the nodes that run end, keeps their outputs, and starts nothing more;
        ``stream(None, config)`` goes on from there.

        Parameters
            input, config, context, durability  as for :meth:`invoke`
            stream_mode  what to give out (``updates`` if nothing is said); of a list each chunk is ``(mode, data)``:

                values       the state after each superstep
                updates      ``{node: what it wrote}`` as each node ends; ``{"__interrupt__": ...}`` where the run stops
                checkpoints  each checkpoint, with the tasks that follow it
                tasks        each task as it begins and as it ends
                debug        checkpoints and tasks, with step and time
                messages     ``(message, metadata)``: tokens and messages of LangChain's chat models
                custom       what nodes say by ``runtime.stream_writer`` or ``get_stream_writer()``

            print_mode   modes that are printed as well
            output_keys  keys of the state that ``values`` and ``updates`` show; a single key shows its value alone
            interrupt_before, interrupt_after  where this run stops, instead of where the graph was compiled to
            subgraphs    also give out what subgraphs do: each chunk begins with its namespace, a tuple

        Raises what :meth:`invoke` raises, after the chunks that came before it.
        """
        from petiole_workers.streaming.live import stream

        modes = Modes.of(stream_mode, print_mode, subgraphs=subgraphs)
        stops = Stops(self._names(interrupt_before), self._names(interrupt_after))
        options = self._options(config, durability, context, stops)
        return stream(self._streamed(input, options, None, modes, output_keys), modes)

    def astream(
        self,
        input: Mapping[str, Any] | Any | None,
        config: Mapping[str, Any] | None = None,
        *,
        context: Any = None,
        stream_mode: StreamMode | Sequence[StreamMode] | None = None,
        print_mode: StreamMode | Sequence[StreamMode] = (),
        output_keys: str | Sequence[str] | None = None,
        interrupt_before: Sequence[str] | Literal["*"] | None = None,
        interrupt_after: Sequence[str] | Literal["*"] | None = None,
        durability: str | None = None,
        subgraphs: bool = False,
    ) -> AsyncIterator[Any]:
        """As :meth:`stream`; async nodes run on the caller's event loop, sync ones in threads."""
        from petiole_workers.streaming.live import astream

        modes = Modes.of(stream_mode, print_mode, subgraphs=subgraphs)
        stops = Stops(self._names(interrupt_before), self._names(interrupt_after))
        options, loop = self._options(config, durability, context, stops), asyncio.get_running_loop()
        return astream(self._streamed(input, options, loop, modes, output_keys), modes)

    def _streamed(
        self,
        input: Any,
        options: InvokeOptions,
        loop: asyncio.AbstractEventLoop | None,
        modes: Modes,
        output_keys: str | Sequence[str] | None,
    ) -> Callable[[Handover], object]:
        """What runs the graph for one stream."""
        from petiole_workers.streaming.deriving import Deriver
        from petiole_workers.streaming.live import Watch

        def run(handover: Handover) -> object:
            engine = self._running()
            deriver = Deriver(
                engine.documents,
                modes,
                keys=self.shown_keys if output_keys is None else output_keys,
                graph=self.definition,
                checkpoints=self.checkpointer is not None,
                recursion_limit=options.recursion_limit,
            )
            return engine.invoke(input, options, loop, Watch(handover, deriver, engine.documents))

        return run

    def _names(self, nodes: Sequence[str] | None) -> Collection[str] | None:
        """The nodes to stop at. Raises InputError for one that does not exist."""
        if nodes is None:
            return None
        known = self.definition.nodes
        names = frozenset(known) if nodes == "*" else frozenset([nodes] if isinstance(nodes, str) else nodes)
        if unknown := sorted(names - known.keys()):
            raise InputError(
                f"interrupt names the unknown node {unknown[0]!r}: graph {self.name!r} has {', '.join(known)}"
            )
        return names

    # ---------------------------------------------------------------- states

    def get_state(self, config: Mapping[str, Any], *, subgraphs: bool = False) -> StateSnapshot:
        """The thread's newest state, or the one of ``config["configurable"]["checkpoint_id"]``.

        ``checkpoint_ns`` names a namespace: that of a node that is a graph. ``subgraphs``: the tasks of such nodes have
        their states, at any depth, not only the configs of these.
        """
        return self._states(config).get(config, subgraphs=subgraphs)

    def get_state_history(
        self,
        config: Mapping[str, Any],
        *,
        filter: Mapping[str, Any] | None = None,
        before: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> Iterator[StateSnapshot]:
        """The thread's states, newest first.

        Parameters
            filter  metadata that a state must have (``{"source": "loop"}``)
            before  the config of a state: only older ones are given
            limit   at most so many
        """
        return self._states(config).history(config, filter=filter, before=before, limit=limit)

    def update_state(
        self,
        config: Mapping[str, Any],
        values: Any,
        as_node: str | None = None,
        task_id: str | None = None,
    ) -> dict[str, Any]:
        """Change a thread's state as if the node ``as_node`` had written ``values``; gives the new state's config.

        What would follow from that node comes next, in place of what came next before. With a ``checkpoint_id`` the
        thread goes on from that checkpoint: a fork. Without ``as_node`` it is the node that wrote last, if that is clear.

        Raises InvalidUpdateError for what no node could have written, ThreadBusyError while a run is at work on the thread.
        """
        from petiole_workers.updating import StateUpdate

        return self.bulk_update_state(config, [[StateUpdate(values, as_node, task_id)]])

    def bulk_update_state(
        self, config: Mapping[str, Any], supersteps: Sequence[Sequence[Any]]
    ) -> dict[str, Any]:
        """Several updates, those of one superstep side by side, and one checkpoint a superstep: all of them, or none.

        Each is a tuple ``(values, as_node)``. Raises as :meth:`update_state`.
        """
        from petiole_workers.updating import StateUpdate

        return self._states(config).update(
            config, [[StateUpdate(*update) for update in updates] for updates in supersteps]
        )

    async def aget_state(self, config: Mapping[str, Any], *, subgraphs: bool = False) -> StateSnapshot:
        """As :meth:`get_state`."""
        return await asyncio.to_thread(lambda: self.get_state(config, subgraphs=subgraphs))

    async def aget_state_history(
        self,
        config: Mapping[str, Any],
        *,
        filter: Mapping[str, Any] | None = None,
        before: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[StateSnapshot]:
        """As :meth:`get_state_history`."""
        states = self.get_state_history(config, filter=filter, before=before, limit=limit)
        while (state := await asyncio.to_thread(next, states, None)) is not None:
            yield state

    async def aupdate_state(
        self,
        config: Mapping[str, Any],
        values: Any,
        as_node: str | None = None,
        task_id: str | None = None,
    ) -> dict[str, Any]:
        """As :meth:`update_state`."""
        return await asyncio.to_thread(self.update_state, config, values, as_node, task_id)

    async def abulk_update_state(
        self, config: Mapping[str, Any], supersteps: Sequence[Sequence[Any]]
    ) -> dict[str, Any]:
        """As :meth:`bulk_update_state`."""
        return await asyncio.to_thread(self.bulk_update_state, config, supersteps)

    def clear_cache(self, nodes: Sequence[str] | None = None) -> None:
        """Forget the cached results of these nodes (``None``: of all), in the store that ``invoke`` keeps threads in.

        Raises InputError for a node that the graph does not have. ``Client.clear_cache`` does it where workers run.
        """
        for node in nodes or ():
            if node not in self.definition.nodes:
                known = ", ".join(self.definition.nodes)
                raise InputError(f"graph {self.name!r} has no node {node!r}; it has: {known}")
        if self.checkpointer is not None:
            engine = self._engine = self._engine or _inline(self, self.checkpointer)
            clear_cache(engine.store, self.name, nodes)

    async def aclear_cache(self, nodes: Sequence[str] | None = None) -> None:
        """As :meth:`clear_cache`."""
        await asyncio.to_thread(self.clear_cache, nodes)

    def get_graph(
        self,
        config: Mapping[str, Any] | None = None,
        *,
        xray: int | bool = False,
        subgraphs: Mapping[str, Drawing] | None = None,
    ) -> Drawing:
        """The graph to be drawn: ``get_graph().draw_mermaid()``, ``draw_ascii()`` or ``draw_dot()``.

        Parameters
            config     LangGraph's; nothing is read of it
            xray       show what is within subgraphs, so many levels deep (``True``: all)
            subgraphs  drawings to put in the places of nodes, by their names, instead of those
        """
        depth = sys.maxsize if xray is True else int(xray)
        return self.definition.drawing(self.definition.drawings_within(depth) | dict(subgraphs or {}))

    def mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        return self.definition.mermaid()

    def _states(self, config: Mapping[str, Any]) -> States:
        from petiole_workers.inline import InlineEngine
        from petiole_workers.inline_options import InvokeOptions

        checkpointer = self.checkpointer
        if checkpointer is None:
            raise ConfigurationError(
                f"graph {self.name!r} was compiled without a checkpointer: it has no states to show"
            )
        options = InvokeOptions.of(config, needs_thread=True)
        self._engine = self._engine or InlineEngine.on(self, checkpointer)
        self._engine.load_archive(options.thread_id)
        return self._engine.states


def _inline(graph: CompiledGraph, checkpointer: CheckpointStore) -> InlineEngine:
    from petiole_workers.inline import InlineEngine

    return InlineEngine.on(graph, checkpointer)
