"""The memory store's items."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from petiole_stores.items import ItemWrite, StoredItem
from petiole_stores.memory_tables import MemoryTables, store_time


class MemoryItems(MemoryTables):
    """Items in a dictionary by joined namespace and key."""

    def _put_items(self, writes: Sequence[ItemWrite], now: float | None) -> list[StoredItem | None]:
        with self._lock:
            at = store_time(now)
            return [self._put_item(write, at) for write in writes]

    def _put_item(self, item: ItemWrite, now: float) -> StoredItem | None:
        place = item.ns, item.key
        there = self._living_item(place, now)
        if item.sealed is None:
            self._items.pop(place, None)
        elif there is not None and item.if_absent:
            return there
        else:
            self._items[place] = StoredItem(
                ns=item.ns,
                key=item.key,
                sealed=item.sealed,
                created_at=now if there is None else there.created_at,
                updated_at=now,
                ttl=item.ttl,
                expires_at=None if item.ttl is None else now + item.ttl,
            )
        return None

    def _remove_items(self, prefix: str, limit: int) -> int:
        with self._lock:
            below = sorted(place for place in self._items if place[0].startswith(prefix))[:limit]
            for place in below:
                del self._items[place]
            return len(below)

    def _purge_items(self, limit: int, now: float | None) -> int:
        with self._lock:
            at = store_time(now)
            over = [place for place in self._items if self._living_item(place, at) is None][:limit]
            for place in over:
                del self._items[place]
            return len(over)

    def _get_items(
        self, keys: Sequence[tuple[str, str]], refresh: bool, now: float | None
    ) -> list[StoredItem | None]:
        with self._lock:
            at = store_time(now)
            return [self._get_item(place, refresh, at) for place in keys]

    def _get_item(self, place: tuple[str, str], refresh: bool, now: float) -> StoredItem | None:
        found = self._living_item(place, now)
        if found is not None and refresh and found.ttl is not None:
            found = self._items[place] = replace(found, expires_at=now + found.ttl)
        return found

    def _search_items(self, prefix: str, limit: int, offset: int, now: float | None) -> list[StoredItem]:
        with self._lock:
            at = store_time(now)
            found = [
                item
                for place, item in self._items.items()
                if place[0].startswith(prefix) and self._living_item(place, at)
            ]
        found.sort(key=lambda item: (-item.updated_at, item.ns, item.key))
        return found[offset : offset + limit]

    def _list_namespaces(self, prefix: str, after: str, limit: int, now: float | None) -> list[str]:
        with self._lock:
            at = store_time(now)
            found = {
                place[0]
                for place in self._items
                if place[0].startswith(prefix) and place[0] > after and self._living_item(place, at)
            }
        return sorted(found)[:limit]

    def _living_item(self, place: tuple[str, str], now: float) -> StoredItem | None:
        """The item there, if its time is not over."""
        item = self._items.get(place)
        return None if item is None or (item.expires_at is not None and item.expires_at <= now) else item
