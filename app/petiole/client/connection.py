"""What every client call stands on: the store and broker in force, open when they are first needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from petiole.client.dispatch import Dispatch
from petiole.defaults import Ground, ground
from petiole_stores.errors import ConfigurationError, UnfitError
from petiole_stores.opening import open_store
from petiole_stores.records import TaskRef
from petiole_stores.store import Store
from petiole_workers.settings import Settings, load_settings

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph

T = TypeVar("T")


class Connection:
    """A store, a broker and the graphs whose state classes are known. May be used by several threads.

    Parameters
        store     URL or open store; nothing: the settings' one, else the embedded SQLite file
        broker    URL; nothing: the settings' one, else the embedded broker
        settings  nothing: ``load_settings()`` (environment and pyproject.toml)
        graphs    compiled graphs (or their import paths) whose state classes this client can bring back; a graph that
                  is submitted itself is known from then on

    The store is opened at the first call. Raises ConfigurationError, StoreUnavailableError and SchemaError there.
    """

    def __init__(
        self,
        store: Store | str | None = None,
        broker: str | None = None,
        *,
        settings: Settings | None = None,
        graphs: Sequence[CompiledGraph | str] = (),
        token: str | None = None,
    ) -> None:
        if token is not None:
            raise ConfigurationError(
                "token is for the URL of a server (http://…), and the client is given a store"
            )
        url = store.url.text if isinstance(store, Store) else store
        chosen = settings or load_settings({"store": url, "broker": broker})
        chosen = msgspec.structs.replace(chosen, store=url or chosen.store, broker=broker or chosen.broker)
        self.settings = chosen
        self._given = store if isinstance(store, Store) else None
        self._graphs = list(graphs)
        self._known_graphs: dict[str, CompiledGraph] = {}

    @cached_property
    def place(self) -> Ground:
        """The store and broker in force."""
        return ground(self.settings)

    @cached_property
    def store(self) -> Store:
        """The open store."""
        store = self._given or open_store(self.place.store_url)
        store.grace, store.max_crashes = self.settings.publish_grace, self.settings.max_crashes
        graphs, self._graphs = self._graphs, []
        for graph in graphs:
            self._learn(store, graph)
        return store

    def now(self) -> float:
        """The time that what the store holds is read against: this machine's, or that of the store's own clock."""
        return self.store.clock() if self.store.clock is not None else time.time()

    def close(self) -> None:
        """Close the broker's connection, and the store unless it was given open. The client may be used again."""
        if "dispatch" in self.__dict__:
            self.__dict__.pop("dispatch").close()
        store = self.__dict__.pop("store", None)
        if store is not None and store is not self._given:
            store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---------------------------------------------------------------- the broker

    def publish(self, refs: Sequence[TaskRef]) -> None:
        """Tell the broker of tasks that are ready: best effort, a worker's sweep makes good what is lost."""
        if self.store.shared:
            self.dispatch.publish(refs)

    @cached_property
    def dispatch(self) -> Dispatch:
        """The way to the broker."""
        return Dispatch(self.place)

    # ---------------------------------------------------------------- state classes

    def typed(self, read: Callable[[], T]) -> T:
        """Call ``read``; where a class is unknown, import the settings' graphs once and call it again."""
        try:
            return read()
        except UnfitError:
            if not self._import_graphs():
                raise
            return read()

    def graph_of(self, name: str | None, given: CompiledGraph | str | None = None) -> CompiledGraph:
        """The graph itself: the given one, else that of this name among those known here and in the settings.

        ``name`` is ``None`` for a thread without runs: the one graph that is known will do. Raises ConfigurationError where
        it is not to be had.
        """
        if given is not None:
            found = self._learn(self.store, given)
            if name not in (None, found.name):
                raise ConfigurationError(f"the graph given is {found.name!r}, and the thread's is {name!r}")
            return found
        self.store  # noqa: B018 - opening it learns the graphs that the client was made with
        known = self._known_graphs
        if name not in known and (name is not None or len(known) != 1):
            self._import_graphs()
        if name is None and len(known) == 1:
            return next(iter(known.values()))
        if name not in known:
            which = f"graph {name!r}" if name else "the thread's graph"
            raise ConfigurationError(
                f"{which} is needed here for its reducers and routers, and is not known: give it (graph=, Client(graphs=[...]); "
                "--graphs module:attribute or PETIOLE_GRAPHS on the command line)"
            )
        return known[name]

    def loaded_graphs(self) -> dict[str, CompiledGraph]:
        """The graphs that are known here, those of the settings among them, by their names."""
        self.store  # noqa: B018 - opening it learns the graphs that the client was made with
        self._import_graphs()
        return dict(self._known_graphs)

    def _import_graphs(self) -> bool:
        if self.__dict__.get("_imported") or not self.settings.graphs:
            return False
        self.__dict__["_imported"] = True
        for reference in self.settings.graphs:
            self._learn(self.store, reference)
        return True

    def _learn(self, store: Store, graph: CompiledGraph | str) -> CompiledGraph:
        """Let the store bring back the state classes of a graph, and remember the graph by its name."""
        if isinstance(graph, str):
            from petiole_workers.registry import load_graph

            graph = load_graph(graph)
        graph.register_types(store.serde)
        self._known_graphs[graph.name] = graph
        return graph
