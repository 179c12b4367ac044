"""A compiled graph: what a worker serves, and what can be invoked in this process on any store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from petiole_stores.contract import CheckpointStore
from petiole_stores.errors import ConfigurationError, InputError
from petiole_stores.memory import MemoryStore
from petiole_stores.opening import open_checkpoint_store
from petiole_stores.records import Checkpointed, Offer, Task
from petiole_stores.serde import Serde
from petiole_stores.store import Store
from petiole_workers.caching import clear_cache
from petiole_workers.durability import checked
from petiole_workers.fitting import offer_of
from petiole_workers.graph.definition import GraphDefinition
from petiole_workers.graph.names import START
from petiole_workers.graph.snapshot import TaskSpec, pull_path
from petiole_workers.graph.updates import task_output
from petiole_workers.long_term import memory_of

if TYPE_CHECKING:
    from petiole_workers.inline import InlineEngine
    from petiole_workers.snapshot import StateSnapshot


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
        store: Any = None,
    ) -> None:
        self.definition = definition
        #: The name that runs are submitted under; ``petiole worker`` names an unnamed graph after its module.
        self.name: str = definition.name or "graph"
        #: The queue of nodes that name none; ``None``: the settings' one.
        self.queue: str | None = None
        #: How its runs are kept where they say nothing themselves; ``None``: as the worker's settings say.
        self.durability: str | None = None if durability is None else checked(durability)
        self._checkpointer = checkpointer
        self._store = store
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
    def store(self) -> Any:
        """The long-term memory that its nodes are given in place of the one of the store that they run on; or ``None``."""
        return memory_of(self._store, self.register_types)

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
        from petiole_workers.inline import InlineEngine, InvokeOptions

        options = InvokeOptions.of(
            config,
            needs_thread=self.checkpointer is not None,
            durability=None if durability is None else checked(durability),
        )
        if self.checkpointer is None:
            engine = InlineEngine(self, MemoryStore())
        else:
            engine = self._engine = self._engine or InlineEngine.on(self, self.checkpointer)
        return engine.invoke(input, options, loop)

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


def _inline(graph: CompiledGraph, checkpointer: CheckpointStore) -> InlineEngine:
    from petiole_workers.inline import InlineEngine

    return InlineEngine.on(graph, checkpointer)


def _tasks(store: Store, record: Checkpointed) -> list[Task]:
    return store.list_tasks(record.run_id) if record.run_id else []
