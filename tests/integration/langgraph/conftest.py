"""One fixture over all stores: every test that takes ``saver`` runs on each of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from petiole.langgraph import PetioleSaver
from tests.contract.backends import BACKENDS


@pytest.fixture(scope="module", params=BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
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
def saver(url: str) -> Iterator[PetioleSaver]:
    with PetioleSaver.from_conn_string(url) as saver:
        yield saver
