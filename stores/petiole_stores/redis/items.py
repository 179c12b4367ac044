"""Redis' items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from petiole_stores.errors import ConfigurationError
from petiole_stores.items import ItemWrite, StoredItem
from petiole_stores.redis.base import RedisBase


class RedisItems(RedisBase):
    """Not kept yet."""

    def _put_items(self, writes: Sequence[ItemWrite], now: float | None) -> list[StoredItem | None]:
        self._missing()

    def _purge_items(self, limit: int, now: float | None) -> int:
        return 0

    def _get_items(
        self, keys: Sequence[tuple[str, str]], refresh: bool, now: float | None
    ) -> list[StoredItem | None]:
        return [None] * len(keys)

    def _search_items(self, prefix: str, limit: int, offset: int, now: float | None) -> list[StoredItem]:
        return []

    def _list_namespaces(self, prefix: str, after: str, limit: int, now: float | None) -> list[str]:
        return []

    def _missing(self) -> NoReturn:
        raise ConfigurationError(f"{self.url.shown} keeps no items: take postgresql:// or sqlite://")
