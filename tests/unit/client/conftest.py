"""A client on a memory store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from petiole import Client, Settings
from petiole_stores.memory import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore("memory://")


@pytest.fixture
def client(store: MemoryStore) -> Iterator[Client]:
    with Client(store, settings=Settings()) as made:
        yield made
