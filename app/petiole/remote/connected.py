"""What every call over HTTP stands on: the server, how values are read and written, and what only a store can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import quote

import msgspec

from petiole.client.client import Client
from petiole.remote.transport import Transport
from petiole_stores.errors import ConfigurationError, NotFoundError, UnfitError
from petiole_stores.records import Run, TaskRef
from petiole_stores.serde import Serde
from petiole_workers.graph import Interrupt
from petiole_workers.settings import Settings, load_settings

if TYPE_CHECKING:
    from petiole_stores.store import Store
    from petiole_workers.compiled import CompiledGraph

T = TypeVar("T")

#: Entries of lists that are asked for at once.
PAGE = 200


class RemoteConnection(Client):
    """A server, and the graphs whose state classes are known here."""

    def __init__(
        self,
        store: Store | str | None = None,
        broker: str | None = None,
        *,
        settings: Settings | None = None,
        graphs: Sequence[CompiledGraph | str] = (),
        token: str | None = None,
    ) -> None:
        self.settings = settings or load_settings()
        url = store if isinstance(store, str) else self.settings.store or ""
        if broker is not None:
            raise ConfigurationError(
                f"broker is {broker!r}: a client over HTTP has none, the server speaks to it"
            )
        self.transport = Transport(url, token or self.settings.token)
        self._serde = Serde([Interrupt])  # streams show them beside the values of states
        self._known_graphs = {}
        for graph in graphs:
            self._know(graph)

    def close(self) -> None:
        """Close the connections. The client may not be used again."""
        self.transport.close()

    # ---------------------------------------------------------------- what is done with the store itself

    @property
    def store(self) -> NoReturn:
        raise self._lacks("store")

    @property
    def place(self) -> NoReturn:
        raise self._lacks("place")

    @property
    def dispatch(self) -> NoReturn:
        raise self._lacks("dispatch")

    @property
    def memory(self) -> NoReturn:
        raise self._lacks("memory")

    def publish(self, refs: Sequence[TaskRef]) -> NoReturn:
        """Not to be had: the server tells the broker. Raises ConfigurationError."""
        raise self._lacks("publish")

    def now(self) -> NoReturn:
        """Not to be had: the server reads its store's clock. Raises ConfigurationError."""
        raise self._lacks("now")

    def _lacks(self, name: str) -> ConfigurationError:
        return ConfigurationError(
            f"{name} needs the store itself, and the client speaks HTTP with {self.transport.url}: use Client with the "
            "store's URL"
        )

    # ---------------------------------------------------------------- graphs and their classes

    def graph_of(self, name: str | None, given: CompiledGraph | str | None = None) -> CompiledGraph:
        """As :meth:`Client.graph_of`, of the graphs that are known here; the server has its own."""
        if given is not None:
            found = self._know(given)
            if name not in (None, found.name):
                raise ConfigurationError(f"the graph given is {found.name!r}, and the thread's is {name!r}")
            return found
        known = self._known_graphs
        if name not in known and (name is not None or len(known) != 1):
            self._import_graphs()
        if name is None and len(known) == 1:
            return next(iter(known.values()))
        if name is None or name not in known:
            which = f"graph {name!r}" if name else "the thread's graph"
            raise ConfigurationError(
                f"{which} is not known here: give it (graph=, Client(graphs=[...]), PETIOLE_GRAPHS)"
            )
        return known[name]

    def loaded_graphs(self) -> dict[str, CompiledGraph]:
        """The graphs that are known here, those of the settings among them, by their names."""
        self._import_graphs()
        return dict(self._known_graphs)

    def _import_graphs(self) -> bool:
        if self.__dict__.get("_imported") or not self.settings.graphs:
            return False
        self.__dict__["_imported"] = True
        for reference in self.settings.graphs:
            self._know(reference)
        return True

    def _know(self, graph: CompiledGraph | str) -> CompiledGraph:
        """Let values of a graph's classes come back as what they were, and remember the graph by its name."""
        if isinstance(graph, str):
            from petiole_workers.registry import load_graph

            graph = load_graph(graph)
        graph.register_types(self._serde)
        self._known_graphs[graph.name] = graph
        return graph

    def _named(self, graph: CompiledGraph | str | None) -> str | None:
        """The name under which the server is to have a graph that was given."""
        return None if graph is None else self._know(graph).name

    # ---------------------------------------------------------------- values

    def value(self, thread_id: str, document: str | None) -> Any:
        """What a run's ``input`` says, of a run that :meth:`get_run` gave; ``None``: nothing."""
        return None if document is None else self._read(msgspec.Raw(document.encode()))

    def _read(self, document: Any) -> Any:
        """A value from its typed document."""
        text = msgspec.json.encode(document).decode()
        return self.typed(lambda: self._serde.load_whole(text))

    def _write(self, value: Any) -> Any:
        """The typed document of a value. Raises SerializationError."""
        return msgspec.Raw(self._serde.dump_whole(value).encode())

    # ---------------------------------------------------------------- asking

    def _pages(
        self, path: str, params: Mapping[str, Any], decode: Callable[[Any], T], *, name: str = "cursor"
    ) -> Iterator[T]:
        """Every entry of a list, page by page; ``name`` is the parameter that the next page is asked for with."""
        cursor: str | None = None
        while True:
            page = self.transport.get(path, {"limit": PAGE, **params, name: cursor or params.get(name)})
            yield from map(decode, page["items"])
            cursor = page["next"]
            if cursor is None:
                return

    def run_of(self, thread_id: str, run: str | None) -> Run:
        found = self.get_run(run or thread_id)
        if run is not None and thread_id not in (found.thread_id, found.run_id):
            raise NotFoundError(f"run {run!r} is of thread {found.thread_id!r}, not of {thread_id!r}")
        return found

    def thread_of(self, run_or_thread: str) -> str:
        try:
            self.transport.get(f"/threads/{part(run_or_thread)}/runs", {"limit": 1})
        except NotFoundError:
            return self.get_run(run_or_thread).thread_id
        return run_or_thread


def part(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def trouble(text: str) -> UnfitError:
    """What is raised where the server could not read a value itself."""
    return UnfitError(
        f"the server cannot read this ({text}): start it with the graph (--graphs module:attribute)"
    )
