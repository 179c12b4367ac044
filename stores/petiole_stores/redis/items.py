"""Redis' items: namespaces hash into the partitions by their first labels (lua/items.lua has the keys)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from petiole_stores.items import ItemWrite, StoredItem, joined, split
from petiole_stores.redis.base import RedisBase
from petiole_stores.redis.partitions import partition_of
from petiole_stores.redis.requests import decoder
from petiole_stores.serde.sealed import Sealed

#: How many labels of a namespace say where it is. What begins with as many is found in one partition. Never to change.
LABELS = 3
#: Items that one script removes: none holds the server for long.
AT_ONCE = 1000


class _Told(msgspec.Struct, array_like=True):
    """An item without its data, as lua/items.lua tells of it."""

    number: int
    ns: str
    key: str
    codec: str
    checksum: str
    made: float
    written: float
    ttl: float | None
    over: float | None


_told = decoder(list[_Told])
_names = decoder(list[str])


class RedisItems(RedisBase):
    """Items in hashes, with indexes beside them in the same slot."""

    def _put_items(self, writes: Sequence[ItemWrite], now: float | None) -> list[StoredItem | None]:
        answers: list[StoredItem | None] = [None] * len(writes)
        for partition, numbers in self._grouped(write.ns for write in writes).items():
            chosen = [writes[number] for number in numbers]
            request = {"items": [_put_request(write) for write in chosen], "now": now}
            data = [write.sealed.data if write.sealed else b"" for write in chosen]
            [answer] = self._connection.run([self._call("put_items", partition, request, data)])
            for number, item in _read(answer):
                answers[numbers[number - 1]] = item
        return answers

    def _remove_items(self, prefix: str, limit: int) -> int:
        return self._drain("remove_items", self._below(prefix), {"prefix": prefix}, limit)

    def _purge_items(self, limit: int, now: float | None) -> int:
        return self._drain("purge_items", range(self.partitions), {"now": now}, limit)

    def _drain(self, name: str, partitions: Iterable[int], request: dict[str, object], limit: int) -> int:
        """Remove items partition by partition, up to the limit."""
        gone = 0
        for partition in partitions:
            while gone < limit:
                most = min(limit - gone, AT_ONCE)
                [removed] = self._connection.run([self._call(name, partition, {**request, "limit": most})])
                gone += int(removed)
                if int(removed) < most:
                    break
        return gone

    def _get_items(
        self, keys: Sequence[tuple[str, str]], refresh: bool, now: float | None
    ) -> list[StoredItem | None]:
        answers: list[StoredItem | None] = [None] * len(keys)
        groups = self._grouped(ns for ns, _ in keys)
        calls = [
            self._call(
                "get_items",
                partition,
                {"keys": [keys[number] for number in numbers], "refresh": refresh, "now": now},
            )
            for partition, numbers in groups.items()
        ]
        for numbers, answer in zip(groups.values(), self._connection.run(calls), strict=True):
            for number, item in _read(answer):
                answers[numbers[number - 1]] = item
        return answers

    def _search_items(self, prefix: str, limit: int, offset: int, now: float | None) -> list[StoredItem]:
        partitions = self._below(prefix)
        alone = len(partitions) == 1
        request = {
            "prefix": prefix,
            "limit": limit if alone else offset + limit,
            "offset": offset if alone else 0,
            "now": now,
        }
        answers = self._connection.run([self._call("search_items", p, request) for p in partitions])
        found = [item for answer in answers for _, item in _read(answer)]
        found.sort(key=lambda item: (-item.updated_at, item.ns, item.key))
        return found if alone else found[offset : offset + limit]

    def _list_namespaces(self, prefix: str, after: str, limit: int, now: float | None) -> list[str]:
        request = {"prefix": prefix, "after": after, "limit": limit, "now": now}
        calls = [self._call("list_namespaces", partition, request) for partition in self._below(prefix)]
        return sorted(ns for page in self._run(calls, _names) for ns in page)[:limit]

    # ---------------------------------------------------------------- partitions

    def _grouped(self, namespaces: Iterable[str]) -> dict[int, list[int]]:
        """Positions in the list by the partition of their namespaces."""
        groups: dict[int, list[int]] = {}
        for number, ns in enumerate(namespaces):
            groups.setdefault(self._partition_of(ns), []).append(number)
        return groups

    def _partition_of(self, ns: str) -> int:
        return partition_of(joined(split(ns)[:LABELS]), self.partitions)

    def _below(self, prefix: str) -> list[int]:
        """The partitions in which namespaces that begin so can be."""
        labels = split(prefix)
        return [self._partition_of(prefix)] if len(labels) >= LABELS else [*range(self.partitions)]


def _put_request(write: ItemWrite) -> list[object]:
    sealed = write.sealed
    return [
        write.ns,
        write.key,
        sealed.codec if sealed else False,
        sealed.checksum if sealed else False,
        write.ttl or False,
        write.if_absent,
    ]


def _read(answer: Sequence[bytes]) -> list[tuple[int, StoredItem]]:
    """The items of an answer, by their numbers."""
    told = _told(answer[0])
    return [
        (
            it.number,
            StoredItem(
                it.ns, it.key, Sealed(it.codec, data, it.checksum), it.made, it.written, it.ttl, it.over
            ),
        )
        for it, data in zip(told, answer[1:], strict=True)
    ]
