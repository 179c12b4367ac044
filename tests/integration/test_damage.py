"""Rows that somebody damages on the real stores: found, mended where a digest proves the copy, else held back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from petiole_stores.opening import open_store
from petiole_stores.records import Checkpointed, TaskRef, Worker
from petiole_stores.references import blobs_named
from petiole_stores.store import Store
from petiole_workers.graph import START
from petiole_workers.hop import Hint
from petiole_workers.registry import Registry
from petiole_workers.repair import verify
from petiole_workers.runner import Runner
from petiole_workers.settings import Settings
from tests.unit.engine.bench import State, chain, says

THREAD = "damaged"


class Vandal:
    """Writes into a store's own rows, past the store."""

    def __init__(self, url: str) -> None:
        self.url = url

    def checkpoint(self, checkpoint_id: str, field: str, change: Callable[[str], str] | None) -> None:
        """Change a field of a checkpoint's row; ``None`` removes the row."""
        raise NotImplementedError

    def blob(self, digest: str, change: Callable[[bytes], bytes] | None) -> None:
        """Change a blob's stored bytes; ``None`` removes it."""
        raise NotImplementedError


class OnPostgres(Vandal):
    def checkpoint(self, checkpoint_id: str, field: str, change: Callable[[str], str] | None) -> None:
        with psycopg.connect(self.url) as db:
            if change is None:
                db.execute("DELETE FROM checkpoints WHERE checkpoint_id = %s", (checkpoint_id,))
                return
            row = db.execute(
                f"SELECT {field}::text FROM checkpoints WHERE checkpoint_id = %s", (checkpoint_id,)
            ).fetchone()
            assert row is not None
            cast = "jsonb" if field in ("state", "next") else "text"
            db.execute(
                f"UPDATE checkpoints SET {field} = %s::{cast} WHERE checkpoint_id = %s",
                (change(row[0]), checkpoint_id),
            )

    def blob(self, digest: str, change: Callable[[bytes], bytes] | None) -> None:
        with psycopg.connect(self.url) as db:
            if change is None:
                db.execute("DELETE FROM blobs WHERE digest = %s", (digest,))
                return
            row = db.execute("SELECT data FROM blobs WHERE digest = %s", (digest,)).fetchone()
            assert row is not None
            db.execute("UPDATE blobs SET data = %s WHERE digest = %s", (change(bytes(row[0])), digest))


class OnSQLite(Vandal):
    def checkpoint(self, checkpoint_id: str, field: str, change: Callable[[str], str] | None) -> None:
        with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as db, db:
            if change is None:
                db.execute("DELETE FROM checkpoints WHERE checkpoint_id = ?", (checkpoint_id,))
                return
            (text,) = db.execute(
                f"SELECT {field} FROM checkpoints WHERE checkpoint_id = ?", (checkpoint_id,)
            ).fetchone()
            db.execute(
                f"UPDATE checkpoints SET {field} = ? WHERE checkpoint_id = ?", (change(text), checkpoint_id)
            )

    def blob(self, digest: str, change: Callable[[bytes], bytes] | None) -> None:
        with closing(sqlite3.connect(self.url.removeprefix("sqlite:///"))) as db, db:
            if change is None:
                db.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
                return
            (data,) = db.execute("SELECT data FROM blobs WHERE digest = ?", (digest,)).fetchone()
            db.execute("UPDATE blobs SET data = ? WHERE digest = ?", (change(data), digest))


class OnRedis(Vandal):
    def _key(self, client: Any, kind: str, id: str) -> bytes:
        [key] = client.keys(f"*:{kind}:{id}")
        return bytes(key)

    def checkpoint(self, checkpoint_id: str, field: str, change: Callable[[str], str] | None) -> None:
        with redis.Redis.from_url(self.url) as client:
            key = self._key(client, "checkpoint", checkpoint_id)
            if change is None:
                client.delete(key)
                return
            text: Any = client.hget(key, field)
            client.hset(key, field, change(text.decode()))

    def blob(self, digest: str, change: Callable[[bytes], bytes] | None) -> None:
        with redis.Redis.from_url(self.url) as client:
            key = self._key(client, "blobs", THREAD)
            if change is None:
                client.hdel(key, digest)
                return
            stored: Any = client.hget(key, digest)
            head, mark, data = stored[: stored.rindex(b"\0") + 1], b"", stored[stored.rindex(b"\0") + 1 :]
            codec, checksum, data = stored.split(b"\0", 2)
            head, mark = codec + b"\0" + checksum + b"\0", b""
            client.hset(key, digest, head + mark + change(data))


class OnFiles(Vandal):
    """Checkpoints and blobs are files below the folder of their thread."""

    def _files(self) -> Iterator[Path]:
        return (path for path in Path(urlsplit(self.url).path).rglob("*") if path.is_file())

    def checkpoint(self, checkpoint_id: str, field: str, change: Callable[[str], str] | None) -> None:
        """The state is in the file, all else in the ledger's row; a row's absence is the worse damage."""
        if change is None or field != "state":
            ledger = OnSQLite(f"sqlite:///{urlsplit(self.url).path}/ledger.db")
            ledger.checkpoint(checkpoint_id, field, change)
            return
        [path] = [path for path in self._files() if checkpoint_id in path.name]
        path.write_text(change(path.read_text()))

    def blob(self, digest: str, change: Callable[[bytes], bytes] | None) -> None:
        [path] = [path for path in self._files() if digest in path.name]
        if change is None:
            path.unlink()
        else:
            path.write_bytes(change(path.read_bytes()))


VANDALS = {"postgresql": OnPostgres, "sqlite": OnSQLite, "redis": OnRedis, "file": OnFiles}


@pytest.fixture(
    params=[
        pytest.param("postgresql", marks=pytest.mark.postgres),
        pytest.param("redis", marks=pytest.mark.redis),
        "sqlite",
        "file",
    ]
)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    match request.param:
        case "postgresql":
            url = str(request.getfixturevalue("postgres_url"))
        case "redis":
            url = str(request.getfixturevalue("redis_url"))
        case "sqlite":
            url = f"sqlite:///{tmp_path}/store.db"
        case _:
            url = f"file://{tmp_path}/files"
    with Scene(url, VANDALS[request.param](url)) as made:
        yield made


class Scene:
    """A run on a real store that has come to its third node."""

    def __init__(self, url: str, vandal: Vandal) -> None:
        self.vandal = vandal
        self.store: Store = open_store(url)
        self.messages: list[TaskRef] = []
        self.graph = chain(
            a=says("a"), b=lambda state: {"n": state["n"] + 1, "log": ["x" * 9000]}, c=says("c"), d=says("d")
        ).compile(name="g")
        self.runner = self._runner()

    def __enter__(self) -> Scene:
        from petiole_stores.ids import new_id
        from petiole_stores.records import START_PATH, NewRun, NewTask

        self.store.beat(Worker(worker_id="w", name="w"))
        self.run_id = new_id()
        start = NewTask(task_id=new_id(), path=START_PATH, node=START, kind="advance")
        run = NewRun(run_id=self.run_id, thread_id=THREAD, graph="g", start=start, input='{"n":0}')
        self._publish(self.store.submit([run])[0].publish)
        while self.messages[0].node != "c":
            self.runner.run([Hint.of(self.messages.pop(0))])
        self.runner = self._runner()
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def _runner(self) -> Runner:
        return Runner(
            store=self.store, registry=Registry([self.graph]), settings=Settings(), holder="w", slot="1",
            publish=self._publish,
        )  # fmt: skip

    def _publish(self, refs: Any) -> list[str]:
        self.messages.extend(refs)
        return []

    def head(self) -> Checkpointed:
        record = self.store.head(THREAD)
        assert record is not None
        return record

    def go_on(self) -> str:
        while self.messages:
            self.runner.run([Hint.of(self.messages.pop(0))])
        run = self.store.get_run(self.run_id)
        assert run is not None
        self.reason = run.reason or ""
        return run.status

    def log(self) -> list[str]:
        values = self.runner.documents.checkpoint(self.head()).snapshot.values
        found: State = values  # type: ignore[assignment]
        return [entry[:1] for entry in found["log"]]


def flip(data: bytes) -> bytes:
    return data[:4] + bytes([data[4] ^ 4]) + data[5:]


FIELDS: dict[str, tuple[str, Callable[[str], str]]] = {
    "another state": ("state", lambda text: text.replace('"n"', '"m"')),
    "another digest": ("digest", lambda text: text[::-1]),
    "another next": ("next", lambda text: text.replace("pull:c", "pull:d")),
    "another seal": ("seal", lambda text: text[::-1]),
    "a truncated state": ("state", lambda text: text[:-3]),
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_damaged_row_is_mended_and_the_run_goes_on(scene: Scene, field: str) -> None:
    name, change = FIELDS[field]
    if field.startswith("a truncated") and isinstance(scene.vandal, OnPostgres):
        change = lambda text: json.dumps(text[:-3])  # noqa: E731 - JSONB holds no broken text, but the wrong document
    scene.vandal.checkpoint(scene.head().checkpoint_id, name, change)
    assert [finding.kind for finding in verify(scene.store)] == ["checkpoint"]
    assert scene.go_on() == "succeeded", scene.reason
    assert scene.log() == ["a", "x", "c", "d"]
    assert list(verify(scene.store)) == []


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing"])
def test_a_damaged_blob_is_mended_and_the_run_goes_on(scene: Scene, damage: str) -> None:
    [digest] = blobs_named([scene.head().state])
    changes: dict[str, Callable[[bytes], bytes] | None] = {
        "flipped": flip, "truncated": lambda data: data[:-2], "missing": None,
    }  # fmt: skip
    scene.vandal.blob(digest, changes[damage])
    assert [finding.kind for finding in verify(scene.store)] == ["blob"]
    assert scene.go_on() == "succeeded", scene.reason
    assert scene.log() == ["a", "x", "c", "d"]
    assert list(verify(scene.store)) == []


def test_a_missing_checkpoint_holds_the_run_back_with_the_reason(scene: Scene) -> None:
    scene.vandal.checkpoint(scene.head().checkpoint_id, "", None)
    assert scene.go_on() == "blocked"
    assert "missing" in scene.reason
    assert [finding.kind for finding in verify(scene.store)]


def test_what_nothing_proves_holds_the_run_back_and_is_quarantined(scene: Scene) -> None:
    checkpoint_id = scene.head().checkpoint_id
    scene.vandal.checkpoint(checkpoint_id, "state", lambda text: text.replace('"n"', '"m"'))
    scene.vandal.checkpoint(checkpoint_id, "digest", lambda text: "0" * 64)
    assert scene.go_on() == "blocked"
    assert scene.head().quarantined
    assert [finding.quarantined for finding in verify(scene.store)] == [True]
