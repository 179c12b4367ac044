"""A compiled graph: what a worker serves, and what can be invoked in this process on any store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from petiole_stores.contract import CheckpointStore
from petiole_stores.errors import ConfigurationError, InputError
from petiole_stores.memory import MemoryStore
from petiole_stores.opening import open_checkpoint_store
from petiole_stores.records import Checkpointed, Offer, Task
from petiole_stores.serde import Serde
from petiole_stores.store import Store
from petiole_workers.durability import checked
from petiole_workers.fitting import offer_of
from petiole_workers.graph.definition import GraphDefinition
from petiole_workers.graph.names import START
from petiole_workers.graph.snapshot import TaskSpec, pull_path
from petiole_workers.graph.updates import task_output
from petiole_workers.hop import AS_COMPILED, Stops
from petiole_workers.streaming.modes import Modes, StreamMode

if TYPE_CHECKING:
    from petiole_workers.inline import InlineEngine, InvokeOptions
    from petiole_workers.snapshot import StateSnapshot
    from petiole_workers.streaming.live import Handover


class CompiledGraph:
    """An executable graph, made by ``StateGraph.compile``.

    ``checkpointer`` is a store, a store's URL, or any five-method CheckpointStore; without one, ``invoke`` keeps nothing
    after it returns. Workers use their own store and ignore it.
    """

    def __init__(
        self,
        definition: GraphDefinition,
        checkpointer: CheckpointStore | str | None = None,
        *,
        durability: str | None = None,
    ) -> None:
        self.definition = definition
        #: The name that runs are submitted under; ``petiole worker`` names an unnamed graph after its module.
        self.name: str = definition.name or "graph"
        #: The queue of nodes that name none; ``None``: the settings' one.
        self.queue: str | None = None
        #: How its runs are kept where they say nothing themselves; ``None``: as the worker's settings say.
        self.durability: str | None = None if durability is None else checked(durability)
        self._checkpointer = checkpointer
        self._engine: InlineEngine | None = None

    def __repr__(self) -> str:
        return f"<CompiledGraph {self.name!r}: {', '.join(self.definition.nodes)}>"

    @property
    def checkpointer(self) -> CheckpointStore | None:
        """The store that ``invoke`` keeps threads in."""
        if isinstance(self._checkpointer, str):
            self._checkpointer = open_checkpoint_store(self._checkpointer)
        return self._checkpointer

    @cached_property
    def offer(self) -> Offer:
        """The graph as a worker offers it."""
        return offer_of(self)

    def register_types(self, serde: Serde) -> None:
        """Let a store's serde bring back every class that the state's annotations reach."""
        definition = self.definition
        inputs = [node.input_schema for node in definition.nodes.values()]
        for schema in (definition.state_schema, definition.input_schema, definition.output_schema, *inputs):
            serde.register_schema(schema.type)

    def accept(self, input: object) -> dict[str, object]:
        """The state keys that an input sets.

        Raises InputError for ``None``, InvalidUpdateError for what is neither a dict nor an instance of the schema.
        """
        if input is None:
            raise InputError(f"graph {self.name!r} needs an input: give a dict of state keys ({{}} will do)")
        return dict(task_output(self.definition, TaskSpec(pull_path(START), START), input).writes)

    # ---------------------------------------------------------------- running in this process

    def invoke(
        self,
        input: Mapping[str, Any] | Any | None,
        config: Mapping[str, Any] | None = None,
        *,
        durability: str | None = None,
    ) -> dict[str, Any] | Any:
        """Run the graph in this process to its end and return the final state.

        Parameters
            input   the state to start with; ``None`` lets the thread go on: a failed run from its failed nodes, an
                    interrupted one past its interrupt, one whose process died from its last checkpoint
            config  ``{"configurable": {"thread_id": "1"}, "recursion_limit": n, "max_concurrency": n}``; the thread id
                    is needed with a checkpointer
            durability  as in ``StateGraph.compile``; nothing: the graph's, else ``sync``

        Raises whatever a node raised (its siblings' outputs are kept), GraphRecursionError, ThreadBusyError when another
        run is active on the thread.
        """
        return self._invoke(input, config, None, durability)

    async def ainvoke(
        self,
        input: Mapping[str, Any] | Any | None,
        config: Mapping[str, Any] | None = None,
        *,
        durability: str | None = None,
    ) -> dict[str, Any] | Any:
        """As :meth:`invoke`; async nodes run on the caller's event loop, sync ones in threads."""
        return await asyncio.to_thread(self._invoke, input, config, asyncio.get_running_loop(), durability)

    def _invoke(
        self,
        input: Any,
        config: Mapping[str, Any] | None,
        loop: asyncio.AbstractEventLoop | None,
        durability: str | None,
    ) -> Any:
        return self._running().invoke(input, self._options(config, durability), loop)

    def _options(
        self, config: Mapping[str, Any] | None, durability: str | None, stops: Stops = AS_COMPILED
    ) -> InvokeOptions:
        from petiole_workers.inline import InvokeOptions

        return InvokeOptions.of(
            config,
            needs_thread=self.checkpointer is not None,
            durability=None if durability is None else checked(durability),
            stops=stops,
        )

    def _running(self) -> InlineEngine:
        """The engine of the graph's checkpointer; without one, a new one on memory."""
        from petiole_workers.inline import InlineEngine

        if self.checkpointer is None:
            return InlineEngine(self, MemoryStore())
        self._engine = self._engine or InlineEngine.on(self, self.checkpointer)
        return self._engine

    # ---------------------------------------------------------------- streaming

    def stream(
        self,
        input: Mapping[str, Any] | Any | None,
        config: Mapping[str, Any] | None = None,
        *,
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
            input, config, durability  as for :meth:`invoke`
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
        return stream(self._streamed(input, config, None, modes, output_keys, stops, durability), modes)

    def astream(
        self,
        input: Mapping[str, Any] | Any | None,
        config: Mapping[str, Any] | None = None,
        *,
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
        loop = asyncio.get_running_loop()
        return astream(self._streamed(input, config, loop, modes, output_keys, stops, durability), modes)

    def _streamed(
        self,
        input: Any,
        config: Mapping[str, Any] | None,
        loop: asyncio.AbstractEventLoop | None,
        modes: Modes,
        output_keys: str | Sequence[str] | None,
        stops: Stops,
        durability: str | None,
    ) -> Callable[[Handover], object]:
        """What runs the graph for one stream."""
        from petiole_workers.streaming.deriving import Deriver
        from petiole_workers.streaming.live import Watch

        options = self._options(config, durability, stops)

        def run(handover: Handover) -> object:
            engine = self._running()
            deriver = Deriver(
                engine.documents,
                modes,
                keys=output_keys,
                graph=self.definition,
                checkpoints=self.checkpointer is not None,
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

    # ---------------------------------------------------------------- looking

    def get_state(self, config: Mapping[str, Any]) -> StateSnapshot:
        """The thread's newest state, or that of ``config["configurable"]["checkpoint_id"]``."""
        from petiole_workers.snapshot import empty_snapshot, snapshot_of

        engine, thread_id, checkpoint_id = self._looking(config)
        store = engine.store
        record = store.get_checkpoint(checkpoint_id) if checkpoint_id else store.head(thread_id)
        if record is None or record.thread_id != thread_id:
            if checkpoint_id:
                raise InputError(f"checkpoint {checkpoint_id!r} is not one of thread {thread_id!r}")
            return empty_snapshot(thread_id)
        return snapshot_of(engine.documents, record, _tasks(store, record), is_head=checkpoint_id is None)

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
        from petiole_workers.snapshot import snapshot_of

        engine, thread_id, _ = self._looking(config)
        store = engine.store
        bound = None
        if before is not None:
            start = store.get_checkpoint(str(before["configurable"]["checkpoint_id"]))
            bound = start.seq if start else None
        given = 0
        cached: dict[str | None, list[Task]] = {}
        for record in store.list_checkpoints(thread_id, before=bound, limit=None if filter else limit):
            if limit is not None and given >= limit:
                return
            if record.run_id not in cached:
                cached[record.run_id] = _tasks(store, record)
            snapshot = snapshot_of(engine.documents, record, cached[record.run_id], is_head=False)
            if filter and any((snapshot.metadata or {}).get(key) != value for key, value in filter.items()):
                continue
            given += 1
            yield snapshot

    async def aget_state(self, config: Mapping[str, Any]) -> StateSnapshot:
        """As :meth:`get_state`."""
        return await asyncio.to_thread(self.get_state, config)

    def mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        return self.definition.mermaid()

    def _looking(self, config: Mapping[str, Any]) -> tuple[InlineEngine, str, str | None]:
        from petiole_workers.inline import InlineEngine, InvokeOptions

        checkpointer = self.checkpointer
        if checkpointer is None:
            raise ConfigurationError(
                f"graph {self.name!r} was compiled without a checkpointer: it has no states to show"
            )
        options = InvokeOptions.of(config, needs_thread=True)
        self._engine = self._engine or InlineEngine.on(self, checkpointer)
        self._engine.load_archive(options.thread_id)
        return self._engine, options.thread_id, options.checkpoint_id


def _tasks(store: Store, record: Checkpointed) -> list[Task]:
    return store.list_tasks(record.run_id) if record.run_id else []
