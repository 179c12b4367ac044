"""Items are in a backup, and come back from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from petiole_stores.items import NewItem
from petiole_stores.opening import open_store

KINDS = [
    "sqlite",
    "file",
    pytest.param("postgresql", marks=pytest.mark.postgres),
    pytest.param("redis", marks=pytest.mark.redis),
]
NEW = [
    NewItem(("users", "ann"), "k", '"v"'),
    NewItem(("users", "ann"), "large", '"' + "x" * 50_000 + '"', ttl=1e6),
    NewItem(("users", "bea", "notes", "deep"), "k", "1"),
]


@pytest.fixture(params=KINDS)
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """A store, and an empty one of its kind."""
    match request.param:
        case "sqlite":
            return f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"
        case "file":
            return f"file://{tmp_path}/a", f"file://{tmp_path}/b"
        case "postgresql":
            return request.getfixturevalue("postgres_url"), request.getfixturevalue("module_postgres_url")
        case _:
            url = request.getfixturevalue("redis_url")
            return f"{url}?prefix=a", f"{url}?prefix=b"


def test_items_come_back(urls: tuple[str, str], tmp_path: Path) -> None:
    with open_store(urls[0]) as store, open_store(urls[1]) as other:
        store.put_items(NEW)
        written = store.search_items()
        store.backup(tmp_path / "backup")
        other.restore(tmp_path / "backup")
        assert len(written) == len(NEW)
        assert other.search_items() == written
        assert other.list_namespaces() == store.list_namespaces()
        other.put_items([NewItem(("users", "ann"), "k", None)])
        assert other.search_items(("users", "ann")) == [item for item in written if item.key == "large"]
