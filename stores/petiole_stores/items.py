"""The contract of items: durable values under a namespace and a key, of no thread.

Long-term memory, caches of nodes and signals are kept in them. A *namespace* is a path of labels, ``("users", "ann")``;
a *value* is a document (:meth:`petiole_stores.serde.Serde.dump_whole` makes one), stored through the codec as blobs are,
and bound to its namespace and key. The public methods check, seal and unseal; a backend writes the private primitives,
which know a namespace as one text (:func:`joined`).

Rules that every backend keeps
    order    Items are found newest ``updated_at`` first, those of one moment by namespace and key; namespaces are in
             the order of their labels. Both as their UTF-8 bytes compare.
    expiry   An item whose ``expires_at`` is past by the store's clock is as good as gone: nothing finds it, a put makes
             a new one in its place. What it takes up is free after :meth:`ItemStore.purge_items`.
    batches  A batch of puts is written as a whole or not at all, in the order given. Redis keeps namespaces in
             partitions, by their first three labels, and writes a batch partition by partition: each part is atomic.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from petiole_stores.crashpoints import reach
from petiole_stores.errors import CorruptionError, InputError
from petiole_stores.serde.sealed import Sealed

if TYPE_CHECKING:
    from petiole_stores.serde import Serde

Namespace = tuple[str, ...]

#: Stands after each label of a joined namespace, so that a prefix is a range. It is smaller than all that is printable.
SEPARATOR = "\x1f"
#: In a pattern of :meth:`ItemStore.list_namespaces`: any label.
ANY = "*"

MAX_LABEL = 255  #: characters of a label, and of a key
MAX_NAMESPACE = 1500  #: bytes of a joined namespace: with a key it has to fit into an index of Postgres
MAX_LIMIT = 1000  #: items or namespaces that one call gives
_PAGE = 1000  #: namespaces that are asked of a backend at once


class NewItem(msgspec.Struct, frozen=True):
    """An item to be written. ``value`` is a document, or ``None`` to delete the item."""

    namespace: Namespace
    key: str
    value: str | None
    ttl: float | None = (
        None  #: seconds that it lives on, and again after each read with ``refresh``; ``None``: for ever
    )
    if_absent: bool = False  #: leave one that is there as it is


class Item(msgspec.Struct, frozen=True):
    """A stored item. ``value`` is a document; times are the store's."""

    namespace: Namespace
    key: str
    value: str
    created_at: float  #: when it was first written; writing over it leaves that as it is
    updated_at: float  #: when it was last written
    expires_at: float | None = None


class ItemWrite(msgspec.Struct, frozen=True):
    """A put as a backend gets it: without ``sealed`` the item is deleted."""

    ns: str
    key: str
    sealed: Sealed | None
    ttl: float | None
    if_absent: bool


class StoredItem(msgspec.Struct, frozen=True):
    """An item as a backend gives it."""

    ns: str
    key: str
    sealed: Sealed
    created_at: float
    updated_at: float
    ttl: float | None
    expires_at: float | None


class ItemStore(ABC):
    """Items of one store; see the module for the rules."""

    serde: Serde
    #: As :attr:`petiole_stores.ledger.Ledger.clock`.
    clock: Callable[[], float] | None = None

    # ---------------------------------------------------------------- writing

    def put_items(self, items: Sequence[NewItem]) -> list[bool]:
        """Write, replace and delete items, as one batch; whether each is as it was asked for.

        ``False`` only for one with ``if_absent`` where an item with another value is, which stays. One with the same
        value (the same text) is ``True`` and stays as it is, its time too: so a call whose answer was lost may be made
        again, and who needs to know that the item is *his* puts something of his own into the value. Replacing an item
        sets its ``ttl`` anew. Deleting one that is not there is ``True``.

        Raises InputError for a namespace, key or ttl that cannot be taken.
        """
        writes = [self._write_of(item) for item in items]
        reach("put_items.before")
        found = self._put_items(writes, self._now()) if writes else []
        reach("put_items.after")
        return [
            there is None or self._open(there).value == item.value
            for item, there in zip(items, found, strict=True)
        ]

    def purge_items(self, limit: int = 1000) -> int:
        """Remove up to ``limit`` items whose time is over; how many it were."""
        if limit < 1:
            raise InputError(f"limit is {limit}: purge at least 1 item at a time")
        reach("purge_items.before")
        answer = self._purge_items(limit, self._now())
        reach("purge_items.after")
        return answer

    def remove_items(self, prefix: Namespace, *, limit: int = 1000) -> int:
        """Remove up to ``limit`` items of the namespaces that begin with these labels (at least one); how many it were.

        Which of them go first is left open. They are not looked into: this works without their key. Call it until it
        answers less than ``limit``.
        """
        check_namespace(prefix)
        if limit < 1:
            raise InputError(f"limit is {limit}: remove at least 1 item at a time")
        reach("remove_items.before")
        answer = self._remove_items(joined(prefix), limit)
        reach("remove_items.after")
        return answer

    # ---------------------------------------------------------------- reading

    def get_items(self, keys: Sequence[tuple[Namespace, str]], *, refresh: bool = False) -> list[Item | None]:
        """The items under these pairs of namespace and key, ``None`` where there is none.

        ``refresh``: those with a ``ttl`` live on for that long from now.
        Raises CorruptionError for one whose bytes are not what was stored, UnfitError where this process lacks the key.
        """
        for namespace, key in keys:
            check_place(namespace, key)
        wanted = [(joined(namespace), key) for namespace, key in keys]
        found = self._get_items(wanted, refresh, self._now()) if wanted else []
        return [None if stored is None else self._open(stored) for stored in found]

    def search_items(self, prefix: Namespace = (), *, limit: int = 10, offset: int = 0) -> list[Item]:
        """Items of the namespaces that begin with these labels, newest update first; raises as :meth:`get_items`."""
        if prefix:
            check_namespace(prefix)
        check_page(limit, offset)
        found = self._search_items(joined(prefix), limit, offset, self._now())
        return [self._open(stored) for stored in found]

    def list_namespaces(
        self,
        prefix: Namespace = (),
        suffix: Namespace = (),
        *,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Namespace]:
        """Namespaces that have items, each once, in order.

        ``prefix`` and ``suffix`` are labels that they begin and end with, ``*`` for any; with ``max_depth`` they are cut
        off after so many labels. They are read page by page: what is written meanwhile may be missing.
        """
        for labels in (prefix, suffix):
            if labels:
                check_namespace(labels)
        check_page(limit, offset)
        if max_depth is not None and max_depth < 1:
            raise InputError(f"max_depth is {max_depth}: take a number of labels from 1, or None for all")
        known = prefix[: prefix.index(ANY)] if ANY in prefix else prefix
        found: list[Namespace] = []
        after = ""
        while len(found) < offset + limit:
            page = self._list_namespaces(joined(known), after, _PAGE, self._now())
            for ns in page:
                labels = split(ns)
                if _begins(labels, prefix) and _begins(labels[::-1], suffix[::-1]):
                    shown = labels[:max_depth]
                    if not found or found[-1] != shown:
                        found.append(shown)
            if len(page) < _PAGE:
                break
            after = page[-1]
        return found[offset : offset + limit]

    # ---------------------------------------------------------------- within

    @abstractmethod
    def _now(self) -> float | None: ...

    def _write_of(self, item: NewItem) -> ItemWrite:
        check_place(item.namespace, item.key)
        if item.ttl is not None and not 0 < item.ttl < 1e11:
            raise InputError(
                f"item {item.key!r} has a ttl of {item.ttl!r} s: take a number above 0, or None for ever"
            )
        if item.value is None and item.if_absent:
            raise InputError(f"item {item.key!r} is to be deleted if it is absent: leave out if_absent")
        ns = joined(item.namespace)
        sealed = None if item.value is None else self.serde.seal(item.value, bound=_bound(ns, item.key))
        return ItemWrite(ns, item.key, sealed, item.ttl, item.if_absent)

    def _open(self, stored: StoredItem) -> Item:
        namespace = split(stored.ns)
        try:
            value = self.serde.unseal(stored.sealed, bound=_bound(stored.ns, stored.key))
        except CorruptionError as error:
            raise CorruptionError(f"item {stored.key!r} of namespace {namespace!r}: {error}") from error
        return Item(namespace, stored.key, value, stored.created_at, stored.updated_at, stored.expires_at)

    # ---------------------------------------------------------------- primitives of a backend

    @abstractmethod
    def _put_items(self, writes: Sequence[ItemWrite], now: float | None) -> list[StoredItem | None]:
        """Write them in order, in one transaction; for each ``None``, or the item that ``if_absent`` left there."""

    @abstractmethod
    def _purge_items(self, limit: int, now: float | None) -> int: ...

    @abstractmethod
    def _remove_items(self, prefix: str, limit: int) -> int: ...

    @abstractmethod
    def _get_items(
        self, keys: Sequence[tuple[str, str]], refresh: bool, now: float | None
    ) -> list[StoredItem | None]: ...

    @abstractmethod
    def _search_items(self, prefix: str, limit: int, offset: int, now: float | None) -> list[StoredItem]: ...

    @abstractmethod
    def _list_namespaces(self, prefix: str, after: str, limit: int, now: float | None) -> list[str]:
        """Joined namespaces that begin with ``prefix``, have a living item and come after ``after``, in order."""


def joined(namespace: Namespace) -> str:
    """A namespace as one text: each label with the separator after it."""
    return "".join(f"{label}{SEPARATOR}" for label in namespace)


def split(ns: str) -> Namespace:
    """The labels of a joined namespace."""
    return tuple(ns.split(SEPARATOR)[:-1])


def range_end(prefix: str) -> str:
    """The least text above every joined namespace that begins with ``prefix`` (which is not empty)."""
    return prefix[:-1] + chr(ord(SEPARATOR) + 1)


def check_place(namespace: Namespace, key: str) -> None:
    """Raise InputError unless an item may stand there."""
    check_namespace(namespace)
    check_label(f"the key of an item in {namespace!r}", key)


def check_namespace(namespace: Namespace) -> None:
    """Raise InputError unless ``namespace`` is a tuple of labels, at least one, and not too long."""
    if not isinstance(namespace, tuple) or not namespace:
        raise InputError(f"namespace is {namespace!r}: give a tuple of labels, at least one")
    for label in namespace:
        check_label(f"a label of the namespace {namespace!r}", label)
    size = len(joined(namespace).encode())
    if size > MAX_NAMESPACE:
        raise InputError(
            f"namespace {namespace[0]!r}… takes {size} bytes: it may take {MAX_NAMESPACE}, with one for each label"
        )


def check_label(what: str, value: object) -> None:
    """Raise InputError unless ``value`` is 1 to 255 printable characters."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_LABEL or not value.isprintable():
        shown = value if not isinstance(value, str) or len(value) <= 40 else value[:40] + "…"
        raise InputError(f"{what} is {shown!r}: it needs 1 to {MAX_LABEL} printable characters")


def check_page(limit: int, offset: int) -> None:
    """Raise InputError for a page that cannot be given."""
    if not 1 <= limit <= MAX_LIMIT:
        raise InputError(f"limit is {limit}: take a number from 1 to {MAX_LIMIT} and page with the offset")
    if offset < 0:
        raise InputError(f"offset is {offset}: take a number from 0")


def _begins(labels: Namespace, pattern: Namespace) -> bool:
    return len(labels) >= len(pattern) and all(
        wanted in (ANY, label) for label, wanted in zip(labels, pattern, strict=False)
    )


def _bound(ns: str, key: str) -> bytes:
    """What an item's bytes are bound to, so that none can be put in the place of another."""
    return f"item\n{ns}\n{key}".encode()
