"""The file store: checkpoints and blobs are files, a SQLite file beside them is the ledger.

A file is on disk before the ledger names it, and is removed after the ledger has forgotten it: a crash in between leaves
a file that nobody names, which ``collect`` removes. In the ledger, a checkpoint's ``state`` is the name of its file,
and a blob has no bytes.
"""

from __future__ import annotations

import sqlite3
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec.structs import replace

from petiole_stores.errors import ConfigurationError, CorruptionError, StoreError, StoreUnavailableError
from petiole_stores.folder import Folder, is_older, is_safe, safe_name
from petiole_stores.records import (
    Blob,
    Checkpointed,
    Claim,
    ClaimAnswer,
    FinishAnswer,
    NewCheckpoint,
    NewRun,
    Outcome,
    SubmitAnswer,
)
from petiole_stores.serde import Serde
from petiole_stores.sql.sqlite import SQLiteStore, checkpoints, finishing, submission
from petiole_stores.sql.sqlite.work import Work
from petiole_stores.store import StoreUrl

T = TypeVar("T")

LEDGER = "ledger.db"
COLLECTED = ".collected"
#: A file that nobody names may belong to a call under way; after so many seconds it does not.
ORPHAN_AGE = 3600.0
#: How often ``migrate_schema`` looks for orphans.
COLLECT_EVERY = 86400.0
MOST_TRIES = 10

_THREADS_OF = "SELECT task_id, thread_id FROM tasks WHERE task_id IN (SELECT value FROM json_each(?))"
_OF_THREADS = " WHERE thread_id IN (SELECT value FROM json_each(?))"
_NAMED = "SELECT thread_id, state FROM checkpoints"
_NAMED_BLOBS = "SELECT thread_id, digest, checksum FROM blobs"
_PLACE = "SELECT thread_id, state FROM checkpoints WHERE checkpoint_id = ?"
_RENAME = "UPDATE checkpoints SET state = ? WHERE thread_id = ? AND state = ?"


class _Paper(msgspec.Struct, kw_only=True):
    """A checkpoint's file."""

    checkpoint_id: str
    thread_id: str
    parent_id: str | None
    ns: str
    step: int
    source: str
    node_names: list[str]
    version: int
    digest: str
    state: msgspec.Raw
    next: msgspec.Raw
    control: msgspec.Raw
    metadata: msgspec.Raw


class _Marker(msgspec.Struct):
    """What the ledger keeps in place of a state."""

    file: str = msgspec.field(name="$file")


_papers = msgspec.json.Decoder(_Paper)
_markers = msgspec.json.Decoder(_Marker)


class FileStore(SQLiteStore):
    """``file:///folder``: for the processes of one machine. Options are those of SQLite's URL."""

    def __init__(self, url: StoreUrl | str, *, serde: Serde | None = None) -> None:
        super().__init__(url, serde=serde)
        self.folder = Folder(self.connections.path.parent)

    def _file(self) -> Path:
        parts = urlsplit(self.url.text)
        name = unquote(parts.netloc + parts.path)
        if not name.strip("/"):
            raise ConfigurationError(f"store URL {self.url.text!r} names no folder: write file:///folder")
        return Path(name).absolute() / LEDGER

    # ---------------------------------------------------------------- the folder

    def connect(self) -> None:
        """Open the folder, made anew where there is none, and check the ledger's schema."""
        try:
            self.folder.make()
        except OSError as error:
            raise StoreUnavailableError(
                f"{self.url.shown} cannot be used: {error}: name a folder that may be written"
            ) from error
        super().connect()

    def migrate_schema(self) -> list[str]:
        """Bring the ledger up to date; once a day, remove the files that crashes left behind."""
        steps = super().migrate_schema()
        mark = self.folder.path / COLLECTED
        if not mark.exists() or is_older(mark, COLLECT_EVERY):
            self.collect()
            mark.touch()
        return steps

    def collect(self, *, older_than: float = ORPHAN_AGE) -> int:
        """Remove files older than so many seconds that the ledger does not name; returns how many."""
        found = (path for thread_dir in self.folder.thread_dirs() for path in self.folder.files(thread_dir))
        return self._discard([path for path in found if is_older(path, older_than)], None)

    def validate(self) -> None:
        """As SQLite's, and every file that the ledger names must be there."""
        super().validate()
        missing = sorted(path for path in self.connections.read(self._named) if not path.exists())
        if missing:
            raise CorruptionError(
                f"{self.url.shown}: {len(missing)} files are missing, the first is {missing[0]}: restore a backup"
            )

    def backup(self, path: str | Path) -> int:
        """Write ledger and files, as of one moment, to a new zip file; returns how many checkpoints it has."""
        path = Path(path)
        if path.exists():
            raise FileExistsError(f"{path} exists: name a new file for the backup")
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
            for attempt in range(MOST_TRIES):
                ledger, archive = Path(scratch) / f"{attempt}.db", Path(scratch) / f"{attempt}.zip"
                count = super().backup(ledger)
                try:
                    self._pack(ledger, archive)
                except FileNotFoundError as error:
                    lost = error  # deleted since: take a later moment
                    continue
                archive.rename(path)
                return count
        raise CorruptionError(
            f"{self.url.shown}: {lost.filename} is missing: restore it, or delete its checkpoint"
        )

    def restore(self, path: str | Path) -> int:
        """Take in what a backup has and this store lacks; returns how many checkpoints the backup has."""
        try:
            with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(path) as archive:
                ledger = Path(archive.extract(LEDGER, scratch))
                db = sqlite3.connect(ledger)
                try:
                    for name in archive.namelist():
                        if name != LEDGER:
                            self._unpack(archive, name, db)
                    db.commit()
                finally:
                    db.close()
                return super().restore(ledger)
        except FileNotFoundError as error:
            raise StoreError(f"{path} does not exist: name a file that backup() wrote") from error
        except (zipfile.BadZipFile, KeyError, ValueError, sqlite3.Error) as error:
            raise StoreError(f"{path} is no backup of a file store, or is damaged: {error}") from error

    def _pack(self, ledger: Path, archive: Path) -> None:
        db = sqlite3.connect(ledger)
        try:
            named = sorted(self._named(db))
        finally:
            db.close()
        with zipfile.ZipFile(archive, "x", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            file.write(ledger, LEDGER)
            for path in named:
                file.write(path, path.relative_to(self.folder.path))

    def _unpack(self, archive: zipfile.ZipFile, name: str, ledger: sqlite3.Connection) -> None:
        """Put one file of a backup in its place; where another has its name, tell the backup's ledger of a new one."""
        _, thread_dir, *rest = name.split("/")
        data = archive.read(name)
        if rest[0] == "blobs":
            if not (is_safe(thread_dir) and is_safe(rest[1])):
                raise ValueError(f"{name!r} is no name of a blob")
            self.folder.put(self.folder.path / "threads" / thread_dir / "blobs" / rest[1], data)
            return
        paper = _papers.decode(data)
        made = self.folder.write_checkpoint(paper.thread_id, paper.checkpoint_id, data)
        if made.name != rest[0]:
            ledger.execute(_RENAME, (_marker(made.name), paper.thread_id, _marker(rest[0])))

    # ---------------------------------------------------------------- writing

    def _submit(self, runs: Sequence[NewRun], now: float | None) -> list[SubmitAnswer]:
        bare = [replace(run, blobs=[*map(_bare, run.blobs)]) if run.blobs else run for run in runs]

        def write() -> list[Path]:
            return [path for run in runs for path in self._write_blobs(run.thread_id, run.blobs)]

        return self._behind(write, lambda work, _: submission.submit(work, bare), now)

    def _finish(
        self, holder: str, slot: str, outcomes: Sequence[Outcome], now: float | None
    ) -> list[FinishAnswer]:
        ids = msgspec.json.encode([outcome.task_id for outcome in outcomes]).decode()
        owners: dict[str, str] = self.connections.read(
            lambda db: dict(db.execute(_THREADS_OF, (ids,)).fetchall())
        )
        known = [outcome for outcome in outcomes if outcome.task_id in owners]
        settled = {
            id(checkpoint): owners[outcome.task_id]
            for outcome in known if outcome.settle is not None for checkpoint in outcome.settle.checkpoints
        }  # fmt: skip
        places: dict[int, Path] = {}

        def write() -> list[Path]:
            blobs = [path for o in known for path in self._write_blobs(owners[o.task_id], o.blobs)]
            for outcome in known:
                for checkpoint in outcome.settle.checkpoints if outcome.settle else ():
                    places[id(checkpoint)] = self._write_checkpoint(checkpoint, settled[id(checkpoint)])
            return [*blobs, *places.values()]

        def bare(outcome: Outcome) -> Outcome:
            settle = outcome.settle
            if settle is not None and outcome.task_id in owners:
                short = [replace(c, state=_marker(places[id(c)].name)) for c in settle.checkpoints]
                settle = replace(settle, checkpoints=short)
            return replace(outcome, settle=settle, blobs=[*map(_bare, outcome.blobs)])

        answers = self._behind(
            write, lambda work, _: finishing.finish(work, holder, slot, [bare(o) for o in outcomes]), now
        )
        if any(answer.result != "committed" for answer in answers):
            self._discard(places.values(), [*owners.values()])
        for answer in answers:
            self._fill(answer.advance)
        return answers

    def _save(
        self, checkpoint: NewCheckpoint, thread_id: str, run_id: str | None, at: float, blobs: Sequence[Blob]
    ) -> None:
        def write() -> list[Path]:
            return [*self._write_blobs(thread_id, blobs), self._write_checkpoint(checkpoint, thread_id)]

        def save(work: Work, written: list[Path]) -> tuple[str, Path] | None:
            old = self._place(work.db, checkpoint.checkpoint_id)
            short = replace(checkpoint, state=_marker(written[-1].name))
            checkpoints.save(work, short, thread_id, run_id, at, [*map(_bare, blobs)])
            return old

        replaced = self._behind(write, save, None)
        if replaced is not None:
            self._discard([replaced[1]], [replaced[0], thread_id])

    def _delete(self, checkpoint_id: str) -> bool:
        def delete(work: Work) -> tuple[bool, tuple[str, Path] | None]:
            old = self._place(work.db, checkpoint_id)
            return checkpoints.delete(work, checkpoint_id), old

        done, old = self._work(delete, None)
        if done and old is not None:
            self._discard([old[1]], [old[0]])
        return done

    def _clear(self, thread_id: str) -> bool:
        done = super()._clear(thread_id)
        if done:
            # Temporary files stay: their writers are at work, or collect() finds them.
            files = self.folder.files(safe_name(thread_id))
            self._discard([path for path in files if not path.name.startswith(".")], [thread_id])
        return done

    def _behind(
        self, write: Callable[[], list[Path]], step: Callable[[Work, list[Path]], T], now: float | None
    ) -> T:
        """Write files, then run ``step`` in its transaction.

        Files that were there already might be removed as nobody's before the ledger names them; since that happens in
        a transaction too, they are looked for within this one.
        """

        def run(work: Work) -> T:
            if not all(path.exists() for path in written):
                raise _GoneError
            return step(work, written)

        for _ in range(MOST_TRIES):
            try:
                written = write()
            except OSError as error:
                raise StoreUnavailableError(
                    f"{self.url.shown} cannot be written: {error}: check the folder and its space"
                ) from error
            try:
                return self._work(run, now)
            except _GoneError:
                continue
        raise StoreError(f"{self.url.shown}: somebody removes its files: leave that to the store")

    def _write_checkpoint(self, new: NewCheckpoint, thread_id: str) -> Path:
        raw = {
            name: msgspec.Raw(getattr(new, name).encode())
            for name in ("state", "next", "control", "metadata")
        }
        paper = _Paper(
            checkpoint_id=new.checkpoint_id, thread_id=thread_id, parent_id=new.parent_id, ns=new.ns, step=new.step,
            source=new.source, node_names=new.node_names, version=new.version, digest=new.digest, **raw,
        )  # fmt: skip
        data = msgspec.json.format(msgspec.json.encode(paper), indent=2)
        return self.folder.write_checkpoint(thread_id, new.checkpoint_id, data + b"\n")

    def _write_blobs(self, thread_id: str, blobs: Iterable[Blob]) -> list[Path]:
        found = []
        for blob in blobs:
            found.append(self.folder.blob(thread_id, blob.digest, blob.checksum))
            self.folder.put(found[-1], blob.data)
        return found

    # ---------------------------------------------------------------- what the ledger names

    def _discard(self, paths: Iterable[Path], thread_ids: Sequence[str] | None) -> int:
        """Remove those of these files, of these threads (``None``: of any), that the ledger does not name."""
        chosen = list(paths)

        def remove(db: sqlite3.Connection) -> int:
            named = self._named(db, thread_ids)
            gone = [path for path in chosen if path not in named]
            for path in gone:
                self.folder.remove(path)
            return len(gone)

        return self.connections.write(remove, lasting=False) if chosen else 0

    def _named(self, db: sqlite3.Connection, thread_ids: Sequence[str] | None = None) -> set[Path]:
        """The files that the ledger names, of some threads or of all."""
        where = "" if thread_ids is None else _OF_THREADS
        values = () if thread_ids is None else (msgspec.json.encode([*thread_ids]).decode(),)
        states = {self._path(thread_id, state) for thread_id, state in db.execute(_NAMED + where, values)}
        return states | {self.folder.blob(*row) for row in db.execute(_NAMED_BLOBS + where, values)}

    def _place(self, db: sqlite3.Connection, checkpoint_id: str) -> tuple[str, Path] | None:
        """A checkpoint's thread and file."""
        row = db.execute(_PLACE, (checkpoint_id,)).fetchone()
        return None if row is None else (row[0], self._path(*row))

    def _path(self, thread_id: str, marker: str) -> Path:
        return self.folder.checkpoint(thread_id, _markers.decode(marker).file)

    # ---------------------------------------------------------------- reading

    def _claim(
        self,
        holder: str,
        slot: str,
        wants: Sequence[tuple[str, str]],
        holds: Sequence[str],
        published: Sequence[str],
        now: float | None,
    ) -> list[ClaimAnswer]:
        answers = super()._claim(holder, slot, wants, holds, published, now)
        for answer in answers:
            self._fill(answer.claim)
        return answers

    def _head(self, thread_id: str, ns: str) -> Checkpointed | None:
        found = super()._head(thread_id, ns)
        # One that was deleted meanwhile is the head no more.
        return None if found is None else self._filled(found) or self._head(thread_id, ns)

    def _get_checkpoint(self, checkpoint_id: str) -> Checkpointed | None:
        found = super()._get_checkpoint(checkpoint_id)
        return None if found is None else self._filled(found)

    def _list_checkpoints(
        self, thread_id: str, ns: str | None, before: int | None, limit: int | None
    ) -> list[Checkpointed]:
        found = map(self._filled, super()._list_checkpoints(thread_id, ns, before, limit))
        return [checkpoint for checkpoint in found if checkpoint is not None]

    def _get_blobs(self, thread_id: str, digests: Sequence[str]) -> dict[str, Blob]:
        found = {}
        for digest, blob in super()._get_blobs(thread_id, digests).items():
            try:
                data = self._read(self.folder.blob(thread_id, digest, blob.checksum))
            except FileNotFoundError:
                continue
            found[digest] = Blob(digest=digest, codec=blob.codec, data=data, checksum=blob.checksum)
        return found

    def _fill(self, claim: Claim | None) -> None:
        if claim is not None and claim.base is not None:
            claim.base = self._filled(claim.base)

    def _filled(self, record: Checkpointed) -> Checkpointed | None:
        """The record with the state of its file; ``None``: it was deleted meanwhile."""
        path = self._path(record.thread_id, record.state)
        try:
            data = self._read(path)
        except FileNotFoundError as error:
            row = self.connections.read(lambda db: db.execute(_PLACE, (record.checkpoint_id,)).fetchone())
            if row is None:
                return None
            if row == (record.thread_id, record.state):
                raise CorruptionError(
                    f"checkpoint {record.checkpoint_id!r} of thread {record.thread_id!r}: its file {path} is missing: "
                    "restore it from a backup or replay from its parent"
                ) from error
            return self._get_checkpoint(record.checkpoint_id)
        try:
            state = bytes(_papers.decode(data).state).decode()
        except ValueError as error:
            raise CorruptionError(
                f"checkpoint {record.checkpoint_id!r} of thread {record.thread_id!r}: its file {path} is damaged "
                f"({error}): restore it from a backup or replay from its parent"
            ) from error
        return replace(record, state=msgspec.json.format(state, indent=-1))

    def _read(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreUnavailableError(
                f"{self.url.shown} cannot be read: {error}: check the folder"
            ) from error


class _GoneError(StoreError):
    """A file was removed between its writing and the transaction that names it."""


def _marker(name: str) -> str:
    return msgspec.json.encode(_Marker(name)).decode()


def _bare(blob: Blob) -> Blob:
    """What the ledger keeps of a blob."""
    return Blob(digest=blob.digest, codec=blob.codec, data=b"", checksum=blob.checksum)
