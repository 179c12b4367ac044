"""One fixture over all stores: every test that takes ``store`` runs on each of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from petiole_stores.opening import open_store
from petiole_stores.store import Store
from tests.contract.backends import BACKENDS


@pytest.fixture(scope="module", params=BACKENDS)
def store_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a store of each kind that nothing else uses, one for each test module."""
    folder: Path = tmp_path_factory.mktemp("store")
    match request.param:
        case "memory":
            return "memory://"
        case "file":
            return f"file://{folder}/files"
        case "sqlite":
            return f"sqlite:///{folder}/store.db"
        case "postgresql":
            return str(request.getfixturevalue("module_postgres_url"))
        case _:
            return str(request.getfixturevalue("module_redis_url"))


@pytest.fixture(scope="module")
def shared_store(store_url: str) -> Iterator[Store]:
    store = open_store(store_url)
    yield store
    store.close()


@pytest.fixture
def store(shared_store: Store) -> Iterator[Store]:
    """A connected store; its clock is its own again after the test."""
    yield shared_store
    shared_store.clock = None
