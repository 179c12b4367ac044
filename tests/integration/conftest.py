"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from petiole_stores.redis import RedisStore
from tests.redis_watch import Opener


@pytest.fixture
def opened() -> Iterator[Opener]:
    """Opens Redis stores (a URL, and options of the store for its query) and closes them after the test."""
    with ExitStack() as stack:

        def get(url: str, **options: object) -> RedisStore:
            query = "&".join(f"{name}={value}" for name, value in options.items())
            store = RedisStore(f"{url}?{query}" if query else url)
            stack.callback(store.close)
            store.connect()
            return store

        yield get
