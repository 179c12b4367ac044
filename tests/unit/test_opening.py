"""``open_store``: URLs, and stores of others by entry point."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.errors import ConfigurationError
from petiole_stores.memory import MemoryStore
from petiole_stores.opening import open_checkpoint_store, open_store
from petiole_stores.store import StoreUrl

SHELF = """
from petiole_stores.contract import CheckpointStore
from petiole_stores.errors import NotFoundError

class Shelf(CheckpointStore):
    def __init__(self, url):
        self.url, self.kept, self.connected = url, {}, False

    def connect(self):
        self.connected = True

    def save(self, checkpoint):
        self.kept[checkpoint.id] = checkpoint
        return checkpoint.id

    def load(self, checkpoint_id):
        if checkpoint_id not in self.kept:
            raise NotFoundError(checkpoint_id)
        return self.kept[checkpoint_id]

    def list(self, thread_id):
        return [c for c in reversed(self.kept.values()) if c.thread_id == thread_id]

    def delete(self, checkpoint_id):
        self.kept.pop(checkpoint_id, None)

    def clear(self, thread_id):
        self.kept = {k: c for k, c in self.kept.items() if c.thread_id != thread_id}
"""


@pytest.fixture
def installed_shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution that registers the scheme ``shelf``, as pip would have laid it out."""
    (tmp_path / "shelf_store.py").write_text(SHELF)
    info = tmp_path / "shelf_store-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf-store\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[petiole.stores]\nshelf = shelf_store:Shelf\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("shelf_store", None)


@pytest.mark.usefixtures("installed_shelf")
def test_a_store_of_others_is_found_by_its_scheme() -> None:
    store = open_checkpoint_store("shelf://top/left?rows=3")

    assert type(store).__name__ == "Shelf"
    assert store.connected  # type: ignore[attr-defined]
    assert store.url.options == {"rows": "3"}  # type: ignore[attr-defined]
    store.save(Checkpoint(id="c", thread_id="t", state={"n": 1}))
    assert store.load("c").state == {"n": 1}


@pytest.mark.usefixtures("installed_shelf")
def test_a_store_of_checkpoints_alone_is_refused_where_a_ledger_is_needed() -> None:
    with pytest.raises(ConfigurationError, match="keeps checkpoints alone"):
        open_store("shelf://top")


@pytest.mark.parametrize(
    ("url", "what"), [("shop.db", "no scheme"), ("mysql://localhost/x", "no store serves the scheme 'mysql'")]
)
def test_a_url_that_nothing_serves_says_what_would(url: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        open_store(url)


def test_memory_opens_and_passwords_are_not_shown() -> None:
    assert isinstance(open_store("memory://"), MemoryStore)
    assert StoreUrl.parse("postgresql://me:secret@host/db").shown == "postgresql://me:***@host/db"
