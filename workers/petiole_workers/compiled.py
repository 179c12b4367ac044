"""A compiled graph: what a worker serves, and what can be invoked in this process on any store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from petiole_stores.contract import CheckpointStore
from petiole_stores.errors import ConfigurationError, InputError
from petiole_stores.memory import MemoryStore
from petiole_stores.opening import open_checkpoint_store
from petiole_stores.records import Checkpointed, Offer, Task
from petiole_stores.serde import Serde
from petiole_stores.store import Store
from petiole_workers.batch import Configs, abatch, batch
from petiole_workers.bound import BoundGraph, merged
from petiole_workers.durability import checked
from petiole_workers.fitting import offer_of
from petiole_workers.given import coerced
from petiole_workers.graph.definition import GraphDefinition
from petiole_workers.graph.drawing import Drawing
from petiole_workers.graph.names import START
from petiole_workers.graph.overwrite import plain
from petiole_workers.graph.snapshot import TaskSpec, pull_path
from petiole_workers.graph.updates import task_output
from petiole_workers.listening import Listeners

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
        from petiole_workers.inline import InlineEngine, InvokeOptions

        options = InvokeOptions.of(
            config,
            needs_thread=self.checkpointer is not None,
            durability=None if durability is None else checked(durability),
            context=self.accept_context(context),
        )
        if self.checkpointer is None:
            engine = InlineEngine(self, MemoryStore())
        else:
            engine = self._engine = self._engine or InlineEngine.on(self, self.checkpointer)
        return engine.invoke(input, options, loop)

    def with_config(self, config: Mapping[str, Any] | None = None, **more: Any) -> BoundGraph:
        """The graph for this process with a config that every call has, unless it says otherwise itself."""
        return BoundGraph(self, merged(config, more))

    def get_input_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON schema of what a run takes."""
        return TypeAdapter(self.definition.input_schema.type).json_schema()

    def get_output_jsonschema(self, config: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON schema of what a run returns."""
        return TypeAdapter(self.definition.output_schema.type).json_schema()

    def get_context_jsonschema(self) -> dict[str, Any] | None:
        """The JSON schema of a run's context; ``None`` for a graph without a ``context_schema``."""
        schema = self.definition.context_schema
        return None if schema is None else TypeAdapter(schema).json_schema()

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
            subgraphs  drawings to put in the places of nodes, by their names
        """
        return self.definition.drawing(subgraphs if subgraphs else None)

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
