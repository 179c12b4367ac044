"""Pending writes: what the tasks after a checkpoint have written before the next one is made.

Each write is an item of the store (:mod:`petiole_stores.items`) of its own, under its checkpoint, keyed by task and
index. So writes of tasks side by side never meet; those of a call are written as a whole; and they need no checkpoint to
be there: LangGraph saves both in the background, and either may come first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from langgraph.checkpoint.base import WRITES_IDX_MAP, PendingWrite, writes_sort_key

from petiole.langgraph.place import Place
from petiole.langgraph.values import Values
from petiole_stores.contract import json_text
from petiole_stores.items import Item, ItemStore, Namespace, NewItem

#: What begins the namespaces. With the thread after it, all writes of a thread are in one partition of Redis.
_ROOT = ("langgraph", "writes")
_PAGE = 1000


class _Write(msgspec.Struct, frozen=True):
    """The document of an item: one write, its value through LangGraph's serde."""

    task_id: str
    path: str  #: of the task, as LangGraph orders tasks
    index: (
        int  #: its place among the task's writes; below 0: a special channel's, of which there is one a task
    )
    channel: str
    kind: str  #: name of the format of ``data``
    data: bytes

    @property
    def rank(self) -> tuple[str, str, int]:
        return writes_sort_key(self.path, self.task_id, self.index)


class Writes(NamedTuple):
    """The pending writes in one store."""

    store: ItemStore
    values: Values

    def put(self, place: Place, writes: Sequence[tuple[str, Any]], task_id: str, path: str) -> None:
        """Add the writes of a task, all or none.

        A write that is there stays (a task that runs again after a crash changes nothing), but in a special channel (an
        error, an interrupt, a resume value) the newest counts.
        """
        namespace = _namespace(place)
        items = {}
        for number, (channel, value) in enumerate(writes):
            index = WRITES_IDX_MAP.get(channel, number)
            kind, data = self.values.dumps(value, f"the write to {channel!r}")
            document = json_text(_Write(task_id, path, index, channel, kind, data))
            items[index] = NewItem(namespace, f"{task_id}/{index}", document, if_absent=index >= 0)
        self.store.put_items([*items.values()])

    def of(self, place: Place, channels: Collection[str] | None = None) -> list[PendingWrite]:
        """The writes after a checkpoint (those to these channels), in the order in which LangGraph applies them."""
        found = [_decode(item.value) for item in self._items(_namespace(place))]
        return [
            (write.task_id, write.channel, self.values.loads(write.kind, write.data))
            for write in sorted(found, key=lambda write: write.rank)
            if channels is None or write.channel in channels
        ]

    def copy(self, source: Place, target: Place) -> None:
        """Give a checkpoint the writes of another one."""
        namespace = _namespace(target)
        copies = [NewItem(namespace, item.key, item.value) for item in self._items(_namespace(source))]
        for start in range(0, len(copies), _PAGE):
            self.store.put_items(copies[start : start + _PAGE])

    def delete(self, place: Place) -> None:
        """Remove the writes after a checkpoint."""
        self._delete(_namespace(place))

    def delete_thread(self, thread_id: str) -> None:
        """Remove all writes of a thread."""
        self._delete((*_ROOT, thread_id))

    def _items(self, namespace: Namespace) -> Iterator[Item]:
        # Pages follow the time of the last change: what is written meanwhile may show an item on two of them.
        seen: set[str] = set()
        for offset in range(0, 1 << 40, _PAGE):
            page = self.store.search_items(namespace, limit=_PAGE, offset=offset)
            for item in page:
                if item.key not in seen:
                    seen.add(item.key)
                    yield item
            if len(page) < _PAGE:
                return

    def _delete(self, prefix: Namespace) -> None:
        while page := self.store.search_items(prefix, limit=_PAGE):
            self.store.put_items([NewItem(item.namespace, item.key, None) for item in page])


_decode = msgspec.json.Decoder(_Write).decode


def _namespace(place: Place) -> Namespace:
    return (*_ROOT, place.thread_id, place.stored_id)
