"""Long-term memory: what nodes remember across threads, as LangGraph's ``BaseStore`` has it, on the items of a store.

Nodes reach it as ``runtime.store``. Names, arguments and meanings are LangGraph's; times to live are in minutes, as there.
Semantic search is not offered: ``query=``, and ``index=`` with fields, raise :class:`SemanticSearchError`.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any, Final, Literal, TypeVar

from petiole_stores import items
from petiole_stores.errors import InputError
from petiole_stores.items import Namespace, NewItem, check_label, check_namespace
from petiole_stores.opening import open_store
from petiole_stores.serde import Serde
from petiole_stores.store import Store
from petiole_workers.caller import undisturbed
from petiole_workers.filters import matches

T = TypeVar("T")

#: The first label of all that is remembered: signals and caches are items beside it.
ROOT: Final = "memory"
_PAGE = 200


class SemanticSearchError(InputError, NotImplementedError):
    """A search by meaning was asked for."""


@dataclass(frozen=True)
class Item:
    """Something remembered; ``created_at`` and ``updated_at`` are the store's time, in UTC."""

    namespace: Namespace
    key: str
    value: builtins.dict[str, Any]
    created_at: datetime
    updated_at: datetime

    def dict(self) -> builtins.dict[str, Any]:
        """The same as plain values, times in ISO 8601."""
        return {
            "namespace": list(self.namespace),
            "key": self.key,
            "value": self.value,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
        }


@dataclass(frozen=True)
class SearchItem(Item):
    """Something that a search found. ``score`` is LangGraph's for searches by meaning: always ``None``."""

    score: float | None = None

    def dict(self) -> builtins.dict[str, Any]:
        return {**super().dict(), "score": self.score}


class NotGiven:
    """The type of an argument that was left out."""

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN: Final = NotGiven()


class LongTermMemory:
    """What is remembered in one store. May be used by many threads at once.

    Parameters
        store       keeps it; values may hold what its serde can store
        default_ttl minutes that an item lives on after it was last touched, where ``put`` does not say; ``None``: for ever
        refresh_on_read  whether reading an item counts as touching it, where the call does not say
        patiently   makes a call of the store; the engine's own tries again while the store cannot be reached

    Namespaces are tuples of labels: 1 to 255 printable characters each. Unlike LangGraph's, they may hold dots.
    Every method has an async twin, such as :meth:`aget`.
    """

    supports_ttl = True

    def __init__(
        self,
        store: Store,
        *,
        default_ttl: float | None = None,
        refresh_on_read: bool = True,
        patiently: Callable[[Callable[[], Any]], Any] = lambda call: call(),
    ) -> None:
        self._store = store
        self._default_ttl = default_ttl
        self._refresh = refresh_on_read
        self._patiently = patiently

    def __repr__(self) -> str:
        return f"<LongTermMemory in {self._store.url.shown}>"

    # ---------------------------------------------------------------- one item

    def get(self, namespace: Namespace, key: str, *, refresh_ttl: bool | None = None) -> Item | None:
        """The item, or ``None``. ``refresh_ttl``: whether its time to live begins anew."""
        place = _place(namespace, key)
        refresh = self._refresh if refresh_ttl is None else refresh_ttl
        [found] = self._ask(lambda: self._store.get_items([place], refresh=refresh))
        return None if found is None else Item(**self._fields(found))

    def put(
        self,
        namespace: Namespace,
        key: str,
        value: Mapping[str, Any] | None,
        index: Literal[False] | list[str] | None = None,
        *,
        ttl: float | NotGiven | None = NOT_GIVEN,
    ) -> None:
        """Remember ``value``, in place of what was there.

        Parameters
            value  a dict with strings for keys; ``None`` forgets the item
            index  ``None`` or ``False``: fields for searches by meaning cannot be given
            ttl    minutes that it lives on after it was last touched (written, or read with ``refresh_ttl``)

        Raises InputError for a namespace, key or ttl that cannot be, SerializationError for a value that cannot be stored.
        """
        if index:
            raise SemanticSearchError(
                f"item {key!r} is to be indexed by {index!r}: there is no search by meaning here; leave index out, and find "
                "items by namespace and filter"
            )
        where, label = _place(namespace, key)
        minutes = self._default_ttl if isinstance(ttl, NotGiven) else ttl
        document = None if value is None else self._store.serde.dump_whole(_checked(key, value))
        seconds = None if minutes is None or value is None else minutes * 60.0
        self._ask(lambda: self._store.put_items([NewItem(where, label, document, seconds)]))

    def delete(self, namespace: Namespace, key: str) -> None:
        """Forget the item; nothing happens when there is none."""
        where, label = _place(namespace, key)
        self._ask(lambda: self._store.put_items([NewItem(where, label, None)]))

    # ---------------------------------------------------------------- many items

    def search(
        self,
        namespace_prefix: Namespace,
        /,
        *,
        query: str | None = None,
        filter: Mapping[str, Any] | None = None,
        limit: int = 10,
        offset: int = 0,
        refresh_ttl: bool | None = None,
    ) -> list[SearchItem]:
        """Items of the namespaces that begin with these labels, newest update first.

        Parameters
            query   not offered: raises SemanticSearchError
            filter  what top-level keys of the value must be: a plain value, or operators, as in ``{"score": {"$gte": 3}}``;
                    ``$eq``, ``$ne``, ``$gt``, ``$gte``, ``$lt``, ``$lte``. Items are read and looked at one by one
            refresh_ttl  whether the time to live of what is given begins anew
        """
        if query is not None:
            raise SemanticSearchError(
                f"search was given the query {query!r}: there is no search by meaning here; use namespaces and filter"
            )
        if limit < 0 or offset < 0:
            raise InputError(f"limit is {limit} and offset {offset}: take numbers from 0")
        prefix = (ROOT, *_labels(namespace_prefix))
        if filter:
            read = self._below(prefix, 0, _PAGE)
            wanted = (pair for pair in read if matches(pair[1]["value"], filter))
            chosen = [*islice(wanted, offset, offset + limit)]
        else:
            chosen = [*islice(self._below(prefix, offset, limit), limit)]
        if self._refresh if refresh_ttl is None else refresh_ttl:
            self._touch([item for item, _ in chosen])
        return [SearchItem(**fields) for _, fields in chosen]

    def list_namespaces(
        self,
        *,
        prefix: Namespace | None = None,
        suffix: Namespace | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Namespace]:
        """Namespaces that hold items, in order.

        Parameters
            prefix, suffix  labels that they begin and end with; ``"*"`` stands for any
            max_depth       give so many labels of each, and each such beginning once
        """
        for labels in (prefix, suffix):
            _labels(labels or ())
        found = self._ask(
            lambda: self._store.list_namespaces(
                (ROOT, *(prefix or ())),
                tuple(suffix or ()),
                max_depth=None if max_depth is None else max_depth + 1,
                limit=limit,
                offset=offset,
            )
        )
        return [labels[1:] for labels in found]

    # ---------------------------------------------------------------- async twins

    async def aget(self, namespace: Namespace, key: str, *, refresh_ttl: bool | None = None) -> Item | None:
        """As :meth:`get`."""
        return await asyncio.to_thread(self.get, namespace, key, refresh_ttl=refresh_ttl)

    async def aput(
        self,
        namespace: Namespace,
        key: str,
        value: Mapping[str, Any] | None,
        index: Literal[False] | list[str] | None = None,
        *,
        ttl: float | NotGiven | None = NOT_GIVEN,
    ) -> None:
        """As :meth:`put`."""
        await asyncio.to_thread(self.put, namespace, key, value, index, ttl=ttl)

    async def adelete(self, namespace: Namespace, key: str) -> None:
        """As :meth:`delete`."""
        await asyncio.to_thread(self.delete, namespace, key)

    async def asearch(self, namespace_prefix: Namespace, /, **options: Any) -> list[SearchItem]:
        """As :meth:`search`."""
        return await asyncio.to_thread(lambda: self.search(namespace_prefix, **options))

    async def alist_namespaces(self, **options: Any) -> list[Namespace]:
        """As :meth:`list_namespaces`."""
        return await asyncio.to_thread(lambda: self.list_namespaces(**options))

    # ---------------------------------------------------------------- within

    def _ask(self, call: Callable[[], T]) -> T:
        def shielded() -> T:
            with undisturbed():
                return call()

        answer: T = self._patiently(shielded)  # a node's timeout may end the waits between
        return answer

    def _below(
        self, prefix: Namespace, offset: int, first: int
    ) -> Iterator[tuple[items.Item, Mapping[str, Any]]]:
        """Items below a prefix with their fields, each once, though others are written meanwhile; ``first`` of them are
        read at once."""
        seen: set[tuple[Namespace, str]] = set()
        limit = min(max(first, 1), items.MAX_LIMIT)
        while True:
            page = self._ask(partial(self._store.search_items, prefix, limit=limit, offset=offset))
            for item in page:
                if (item.namespace, item.key) not in seen:
                    seen.add((item.namespace, item.key))
                    yield item, self._fields(item)
            if len(page) < limit:
                return
            offset += len(page)

    def _touch(self, found: list[items.Item]) -> None:
        mortal = [(item.namespace, item.key) for item in found if item.expires_at is not None]
        if mortal:
            self._ask(lambda: self._store.get_items(mortal, refresh=True))

    def _fields(self, item: items.Item) -> dict[str, Any]:
        return {
            "namespace": item.namespace[1:],
            "key": item.key,
            "value": self._store.serde.load_whole(item.value),
            "created_at": datetime.fromtimestamp(item.created_at, UTC),
            "updated_at": datetime.fromtimestamp(item.updated_at, UTC),
        }


def memory_of(given: Any, register: Callable[[Serde], None] = lambda serde: None) -> Any:
    """What nodes are given of what ``compile(store=...)`` was: of a store or a store's URL the memory in it, else the same.

    ``register`` lets the store's serde bring back the graph's classes.
    """
    store = open_store(given) if isinstance(given, str) else given
    if not isinstance(store, Store):
        return store
    register(store.serde)
    return LongTermMemory(store)


def _place(namespace: Namespace, key: str) -> tuple[Namespace, str]:
    labels = _labels(namespace)
    check_namespace(labels)
    check_label(f"the key of an item in {labels!r}", key)
    return (ROOT, *labels), key


def _labels(namespace: Namespace) -> Namespace:
    """The labels of a namespace, which may have come as a list. Raises InputError for what is none."""
    if isinstance(namespace, str):
        raise InputError(f"namespace is the string {namespace!r}: give a tuple, as in ({namespace!r},)")
    labels = tuple(namespace)
    if labels:
        check_namespace(labels)
    return labels


def _checked(key: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or any(not isinstance(name, str) for name in value):
        raise InputError(
            f"item {key!r} is to be {value!r}: give a dict whose keys are strings, or None to forget"
        )
    return dict(value)
