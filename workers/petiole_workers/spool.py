"""The spool: outcomes that could not reach the store, kept until it answers.

An entry holds outcomes under their tokens, blobs and all. It claims nothing and moves nothing: when it is sent, the ledger
judges it as it would have judged the finish itself, and refuses it where the claim has moved on. So a spool can be sent late,
twice, or by another process, and there is no split brain.

Each worker has a SQLite file of its own beside it (``<data_dir>/spool/<holder>.db``), locked while it lives; a file that nobody
locks was left by a dead worker, and the next one on that machine sends it. For machines without a lasting disk a
``backup_store`` (any checkpoint store) holds the entries instead, each as a checkpoint of the thread ``spool:<holder>``.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

import msgspec

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.contract import CheckpointStore
from petiole_stores.crashpoints import reach
from petiole_stores.errors import PetioleError, StoreUnavailableError
from petiole_stores.ids import new_id
from petiole_stores.records import SETTLED, FinishAnswer, NewTask, Outcome, TaskRef
from petiole_stores.store import Store
from petiole_workers.children import wake_parents

logger = logging.getLogger("petiole.spool")

THREAD_PREFIX = "spool:"
#: In a spool folder: what became of spools, a line of JSON each.
REPORTS = "reports.jsonl"
_TABLE = "CREATE TABLE IF NOT EXISTS entries (id TEXT PRIMARY KEY, at REAL NOT NULL, body BLOB NOT NULL, digest TEXT NOT NULL)"


class Entry(msgspec.Struct, kw_only=True):
    """Outcomes of one slot that belong together, in order; ``refs`` say what each was of."""

    holder: str
    slot: str
    at: float
    outcomes: list[Outcome]
    refs: list[TaskRef]


class Report(msgspec.Struct, kw_only=True):
    """What became of spooled outcomes."""

    committed: int = 0
    already: int = 0  #: they had been committed before
    refused: int = 0  #: their claims had moved on, or their runs were over
    damaged: int = 0  #: entries that cannot be read; they are kept aside

    def __str__(self) -> str:
        return (
            f"{self.committed} outcomes were committed, {self.already} had been, {self.refused} were refused (their claims "
            f"had moved on), {self.damaged} entries cannot be read"
        )

    def __add__(self, other: Report) -> Report:
        return Report(
            committed=self.committed + other.committed,
            already=self.already + other.already,
            refused=self.refused + other.refused,
            damaged=self.damaged + other.damaged,
        )

    def __bool__(self) -> bool:
        return any((self.committed, self.already, self.refused, self.damaged))


class Kept(msgspec.Struct, kw_only=True):
    """A report, and when it was made of whose spool."""

    at: float
    holder: str
    report: Report


class Spool(Protocol):
    """Where entries are kept."""

    def put(self, entry: Entry) -> None:
        """Keep an entry durably. Raises OSError or a StoreError."""

    def entries(self) -> Iterator[tuple[str, Entry | None]]:
        """Every entry with its key; ``None`` for one that is damaged."""

    def remove(self, key: str) -> None:
        """Forget an entry."""

    def set_aside(self, key: str) -> None:
        """Keep a damaged entry where it is not sent again."""


# ---------------------------------------------------------------- a file beside the worker


class FileSpool:
    """A SQLite file; several processes of one worker may use it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, entry: Entry) -> None:
        body = _encoder.encode(entry)
        row = (new_id(), entry.at, body, hashlib.sha256(body).hexdigest())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._insert(row)
        except sqlite3.DatabaseError as error:
            if not self._is_damage(error):
                raise
            self._insert(row)

    def _insert(self, row: tuple[str, float, bytes, str]) -> None:
        with closing(self._open()) as db:
            db.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", row)
            kept = db.execute("SELECT body FROM entries WHERE id = ?", row[:1]).fetchone()
        if kept is None or bytes(kept[0]) != row[2]:
            raise OSError(f"{self.path} gives back another entry than was written")

    def entries(self) -> Iterator[tuple[str, Entry | None]]:
        if not self.path.exists():
            return
        try:
            with closing(self._open()) as db:
                rows = db.execute("SELECT id, body, digest FROM entries ORDER BY at, id").fetchall()
        except sqlite3.DatabaseError as error:
            if not self._is_damage(error):
                raise
            return
        for key, body, digest in rows:
            sound = hashlib.sha256(body).hexdigest() == digest
            yield key, _decoded(body) if sound else None

    def remove(self, key: str) -> None:
        with closing(self._open()) as db:
            db.execute("DELETE FROM entries WHERE id = ?", (key,))

    def set_aside(self, key: str) -> None:
        with closing(self._open()) as db:
            row = db.execute("SELECT body FROM entries WHERE id = ?", (key,)).fetchone()
            if row is not None:
                self.path.with_name(f"{self.path.stem}.{key}.bad").write_bytes(row[0])
                db.execute("DELETE FROM entries WHERE id = ?", (key,))

    def _is_damage(self, error: sqlite3.DatabaseError) -> bool:
        """Whether the file itself is damaged; it is kept aside then."""
        if isinstance(error, sqlite3.OperationalError):  # it is locked, the disk is full
            return False
        aside = self.path.with_name(f"{self.path.stem}.{new_id()}.bad")
        self.path.replace(aside)
        logger.error("the spool %s is damaged and kept aside as %s: %s", self.path, aside.name, error)
        return True

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=30.0, isolation_level=None)
        try:
            db.execute("PRAGMA synchronous = FULL")
            db.execute(_TABLE)
        except BaseException:
            db.close()
            raise
        return db


class SpoolFolder:
    """The spools of one machine's workers."""

    def __init__(self, data_dir: str | Path) -> None:
        self.path = Path(data_dir).absolute() / "spool"
        self._locks: dict[str, int] = {}

    def of(self, holder: str) -> FileSpool:
        """A worker's own spool."""
        return FileSpool(self.path / f"{holder}.db")

    def hold(self, holder: str) -> bool:
        """Lock a spool for as long as this process lives; ``False``: somebody else holds it."""
        self.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path / f"{holder}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return False
        self._locks[holder] = handle
        return True

    def let_go(self, holder: str) -> None:
        """Unlock a spool, and remove its files where nothing is in it."""
        if not any(True for _ in self.of(holder).entries()):
            for path in (self.path / f"{holder}.db", self.path / f"{holder}.lock"):
                path.unlink(missing_ok=True)
        if (handle := self._locks.pop(holder, None)) is not None:
            os.close(handle)

    def keep_report(self, holder: str, report: Report) -> None:
        """Say what became of a spool, in the log and in a file that ``petiole worker spool`` shows."""
        if not report:
            return
        logger.warning("the spool of worker %s was sent: %s", holder, report)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with (self.path / REPORTS).open("ab") as file:
                file.write(msgspec.json.encode(Kept(at=time.time(), holder=holder, report=report)) + b"\n")
        except OSError as error:
            logger.warning("the report cannot be kept: %s", error)

    def reports(self) -> list[Kept]:
        """What became of spools, the newest last."""
        path = self.path / REPORTS
        return [_kept.decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def holders(self) -> list[str]:
        """The workers, living or dead, that have a spool here."""
        return sorted(path.stem for path in self.path.glob("*.db")) if self.path.is_dir() else []


# ---------------------------------------------------------------- a store elsewhere


class BackupSpool:
    """Entries as checkpoints of a backup store: it never claims, and no head of the real store is in it."""

    def __init__(self, store: CheckpointStore, holder: str) -> None:
        self._store, self._thread = store, THREAD_PREFIX + holder

    def put(self, entry: Entry) -> None:
        self._store.save(Checkpoint(thread_id=self._thread, state={"entry": _encoder.encode(entry)}))

    def entries(self) -> Iterator[tuple[str, Entry | None]]:
        for checkpoint in reversed(list(self._store.list(self._thread))):
            body = checkpoint.state.get("entry")
            yield checkpoint.id, _decoded(body) if isinstance(body, bytes) else None

    def remove(self, key: str) -> None:
        self._store.delete(key)

    def set_aside(self, key: str) -> None:
        damaged = self._store.load(key)
        self._store.save(Checkpoint(thread_id=f"{self._thread}.bad", state=damaged.state))
        self._store.delete(key)


# ---------------------------------------------------------------- sending


def entry_of(holder: str, slot: str, outcomes: Sequence[Outcome], refs: Sequence[TaskRef]) -> Entry:
    """The entry of outcomes that their slot does not commit itself."""
    return Entry(holder=holder, slot=slot, at=time.time(), outcomes=list(outcomes), refs=list(refs))


def send(spool: Spool, store: Store) -> tuple[Report, list[TaskRef]]:
    """Send every entry to the store; gives what became of them, and what is to be published.

    Raises StoreUnavailableError where the store is away again; what was not sent stays. Safe to call at any time, and
    again.
    """
    report, publish = Report(), list[TaskRef]()
    for key, entry in spool.entries():
        if entry is None:
            spool.set_aside(key)
            report.damaged += 1
            logger.error("the spooled entry %s is damaged and kept aside", key)
            continue
        reach("spool.before")
        try:
            answers, ready = commit(entry, store)
        except StoreUnavailableError:
            raise
        except PetioleError as error:
            spool.set_aside(key)
            report.damaged += 1
            logger.error("the spooled entry %s cannot be stored and is kept aside: %s", key, error)
            continue
        reach("spool.after")
        spool.remove(key)
        publish += ready
        for ref, answer in zip(entry.refs, answers, strict=True):
            setattr(report, answer.result, getattr(report, answer.result) + 1)
            if answer.result == "refused":
                logger.warning(
                    "a spooled output of %s (run %s) is dropped: %s", ref.node, ref.run_id, answer.reason
                )
    return report, publish


def send_left(folder: SpoolFolder, holder: str, store: Store) -> list[TaskRef]:
    """Send what a dead worker left in its file, if it did; gives what is to be published.

    To be called before its claims are given back, for that voids their tokens.
    """
    if holder not in folder.holders() or not folder.hold(holder):
        return []
    try:
        report, publish = send(folder.of(holder), store)
    finally:
        folder.let_go(holder)
    folder.keep_report(holder, report)
    return publish


def left_in(backup: CheckpointStore) -> list[str]:
    """The workers, living or dead, that have a spool in a backup store."""
    threads = (it for it in backup.threads() if it.startswith(THREAD_PREFIX) and not it.endswith(".bad"))
    return sorted(thread.removeprefix(THREAD_PREFIX) for thread in threads)


def commit(entry: Entry, store: Store) -> tuple[list[FinishAnswer], list[TaskRef]]:
    """The ledger's answers, one an outcome, and what is to be published. Safe to call again.

    What the last outcome claims for its slot (the next task, an ``advance``) is given back: the slot does not go on with
    it. That may have been committed long ago, its answer lost, so that the claim cannot just be left out.
    """
    for ref, outcome in zip(entry.refs, entry.outcomes, strict=True):
        settled = outcome.settle.tasks if outcome.settle is not None else []
        ids = [ref.run_id, ref.task_id, outcome.advance_id, *(task.task_id for task in settled)]
        store.hint(ref.thread_id, [id for id in ids if id])
    answers = store.finish(entry.holder, entry.slot, entry.outcomes)
    publish: list[TaskRef] = []
    claims: list[tuple[str, str]] = []
    for ref, outcome, answer in zip(entry.refs, entry.outcomes, answers, strict=True):
        if answer.result == "refused":
            continue
        publish += answer.publish
        is_last = outcome is entry.outcomes[-1]
        for task in outcome.settle.tasks if outcome.settle is not None else ():
            if task.token is None or is_last:
                publish.append(_of(task, ref))
            if task.token is not None and is_last:
                claims.append((task.task_id, task.token))
        if answer.advance is not None:
            advance = answer.advance.task
            claims.append((advance.task_id, advance.token or ""))
            publish.append(
                msgspec.structs.replace(ref, task_id=advance.task_id, node=advance.node, queue=advance.queue)
            )
        if outcome.ending in ("retry", "parked") and not outcome.delay:
            publish.append(ref)
        if answer.run_status in SETTLED:
            publish += wake_parents(store, [ref.run_id])
    if claims:  # refused where they do not stand, which is as good
        back = [Outcome(task_id=task_id, token=token, ending="parked") for task_id, token in claims]
        store.finish(entry.holder, entry.slot, back)
    return answers, publish


def _of(task: NewTask, ref: TaskRef) -> TaskRef:
    return msgspec.structs.replace(
        ref, task_id=task.task_id, node=task.node, queue=task.queue, priority=task.priority
    )


def _decoded(body: bytes) -> Entry | None:
    try:
        return _decoder.decode(body)
    except msgspec.DecodeError:
        return None


_kept = msgspec.json.Decoder(Kept)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)
