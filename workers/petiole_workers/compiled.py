"""A compiled graph: what a worker serves, and what can be invoked in this process on any store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from petiole_stores.contract import CheckpointStore
from petiole_stores.errors import ConfigurationError, InputError
from petiole_stores.memory import MemoryStore
from petiole_stores.opening import open_checkpoint_store
from petiole_stores.records import Offer
from petiole_stores.serde import Serde
from petiole_workers.batch import Configs, abatch, batch
from petiole_workers.caching import clear_cache
from petiole_workers.durability import checked
from petiole_workers.fitting import offer_of
from petiole_workers.given import coerced
from petiole_workers.graph.definition import GraphDefinition
from petiole_workers.graph.names import START
from petiole_workers.graph.overwrite import plain
from petiole_workers.graph.snapshot import TaskSpec, pull_path
from petiole_workers.graph.updates import task_output
from petiole_workers.long_term import memory_of

if TYPE_CHECKING:
    from petiole_workers.inline import InlineEngine
    from petiole_workers.snapshot import StateSnapshot
    from petiole_workers.states import States


class CompiledGraph:
    """An executable graph, made by ``StateGraph.compile``.

    ``checkpointer`` is a store, a store's URL, or any five-method CheckpointStore; without one, ``invoke`` keeps nothing
    after it returns. Workers use their own store and ignore it.
    """

    def __init__(
        self,
        definition: GraphDefinition,
        checkpointer: CheckpointStore | str | bool | None = None,
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
        #: ``compile``'s ``checkpointer``, where it says how the graph is kept as a node of another one.
        self.checkpointing: bool | None = checkpointer if isinstance(checkpointer, bool) else None
        self._checkpointer = None if isinstance(checkpointer, bool) else checkpointer
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

    def mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        return self.definition.mermaid()

    def _states(self, config: Mapping[str, Any]) -> States:
        from petiole_workers.inline import InlineEngine, InvokeOptions

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
