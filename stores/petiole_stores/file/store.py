"""The file store: checkpoints and blobs are files, a SQLite file beside them is the ledger.

A file is on disk before the ledger names it, and is removed after the ledger has forgotten it: a crash in between leaves
a file that nobody names, which ``collect`` removes. In the ledger, a checkpoint's ``state`` is the name of its file,
and a blob has no bytes.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from petiole_stores.errors import CorruptionError, StoreError, StoreUnavailableError
from petiole_stores.file.archive import pack, unpack
from petiole_stores.file.paper import bare_blob, marker, read_state, write_paper
from petiole_stores.file.reading import FileReads
from petiole_stores.folder import is_older, safe_name
from petiole_stores.records import (
    Amendment,
    Answer,
    Blob,
    FinishAnswer,
    NewCheckpoint,
    NewRun,
    Outcome,
    Settle,
    SubmitAnswer,
    Trimmed,
)
from petiole_stores.references import blobs_named
from petiole_stores.sql.sqlite import amending, checkpoints, finishing, retention, submission
from petiole_stores.sql.sqlite.work import Work
from petiole_stores.store import Store, StoreTransaction

T = TypeVar("T")

COLLECTED = ".collected"
#: A file that nobody names may belong to a call under way; after so many seconds it does not.
ORPHAN_AGE = 3600.0
#: How often ``migrate_schema`` looks for orphans.
COLLECT_EVERY = 86400.0
MOST_TRIES = 10

_THREADS_OF = "SELECT task_id, thread_id FROM tasks WHERE task_id IN (SELECT value FROM json_each(?))"


class FileStore(FileReads):
    """``file:///folder``: for the processes of one machine. Options are those of SQLite's URL."""

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
                    pack(archive, ledger, self.folder, self._named_by(ledger))
                except FileNotFoundError as error:
                    lost = error.filename  # deleted since: take a later moment
                    continue
                archive.rename(path)
                return count
        raise CorruptionError(f"{self.url.shown}: {lost} is missing: restore it, or delete its checkpoint")

    def restore(self, path: str | Path) -> int:
        """Take in what a backup has and this store lacks; returns how many checkpoints the backup has."""
        with tempfile.TemporaryDirectory() as scratch:
            return super().restore(unpack(path, Path(scratch), self.folder))

    def _named_by(self, ledger: Path) -> set[Path]:
        db = sqlite3.connect(ledger)
        try:
            return self._named(db)
        finally:
            db.close()

    # ---------------------------------------------------------------- writing

    def _submit(self, runs: Sequence[NewRun], now: float | None) -> list[SubmitAnswer]:
        bare = [replace(run, blobs=[*map(bare_blob, run.blobs)]) if run.blobs else run for run in runs]

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
        for outcome in outcomes:  # a task that an earlier outcome makes will be of that one's thread
            for made in _settles(outcome) if outcome.task_id in owners else ():
                for task in made.tasks:
                    owners.setdefault(task.task_id, owners[outcome.task_id])
        known = [outcome for outcome in outcomes if outcome.task_id in owners]
        settled = {
            id(checkpoint): owners[outcome.task_id]
            for outcome in known for made in _settles(outcome) for checkpoint in made.checkpoints
        }  # fmt: skip
        places: dict[int, Path] = {}

        def write() -> list[Path]:
            blobs = [path for o in known for path in self._write_blobs(owners[o.task_id], o.blobs)]
            for outcome in known:
                for checkpoint in (c for made in _settles(outcome) for c in made.checkpoints):
                    places[id(checkpoint)] = self._write_checkpoint(checkpoint, settled[id(checkpoint)])
            return [*blobs, *places.values()]

        def short(made: Settle | None) -> Settle | None:
            return made and replace(
                made, checkpoints=[_shortened(c, places[id(c)]) for c in made.checkpoints]
            )

        def bare(outcome: Outcome) -> Outcome:
            blobs = [*map(bare_blob, outcome.blobs)]
            if outcome.task_id not in owners:
                return replace(outcome, blobs=blobs)
            return replace(outcome, settle=short(outcome.settle), nest=short(outcome.nest), blobs=blobs)

        answers = self._behind(
            write,
            lambda work, _: finishing.finish(work, holder, slot, [bare(o) for o in outcomes]),
            now,
            lasting=not all(outcome.relaxed for outcome in outcomes),
        )
        if any(answer.result != "committed" for answer in answers):
            self._discard(places.values(), [*owners.values()])
        for answer in answers:
            self._fill(answer.advance)
        return answers

    def _amend(self, amendment: Amendment, now: float | None) -> Answer:
        thread_id = amendment.thread_id

        def write() -> list[Path]:
            blobs = self._write_blobs(thread_id, amendment.blobs)
            return [*blobs, *(self._write_checkpoint(c, thread_id) for c in amendment.checkpoints)]

        def amend(work: Work, written: list[Path]) -> tuple[Answer, list[Path]]:
            places = written[len(amendment.blobs) :]
            bare = replace(
                amendment,
                checkpoints=[*map(_shortened, amendment.checkpoints, places)],
                blobs=[*map(bare_blob, amendment.blobs)],
            )
            return amending.amend(work, bare), places

        answer, places = self._behind(write, amend, now)
        if answer.result != "committed":
            self._discard(places, [thread_id])
        return answer

    def transaction(self) -> AbstractContextManager[StoreTransaction]:
        # The ledger is a SQLite file, but not one for others' tables: Petiole may rebuild it from the files some day.
        return Store.transaction(self)

    def _save(
        self, checkpoint: NewCheckpoint, thread_id: str, run_id: str | None, at: float, blobs: Sequence[Blob]
    ) -> None:
        def write() -> list[Path]:
            return [*self._write_blobs(thread_id, blobs), self._write_checkpoint(checkpoint, thread_id)]

        def save(work: Work, written: list[Path]) -> tuple[str, Path] | None:
            old = self._place(work.db, checkpoint.checkpoint_id)
            short = _shortened(checkpoint, written[-1])
            checkpoints.save(work, short, thread_id, run_id, at, [*map(bare_blob, blobs)])
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
            self._discard_all(thread_id)
        return done

    def _delete_thread(self, thread_id: str) -> bool:
        done = super()._delete_thread(thread_id)
        if done:
            self._discard_all(thread_id)
        return done

    def _discard_all(self, thread_id: str) -> None:
        """Remove a thread's files. Temporary ones stay: their writers are at work, or collect() finds them."""
        files = self.folder.files(safe_name(thread_id))
        self._discard([path for path in files if not path.name.startswith(".")], [thread_id])

    def _replace_blobs(self, thread_id: str, blobs: Sequence[Blob]) -> None:
        def replace_them(work: Work, written: list[Path]) -> set[Path]:
            old = self._named_blobs(work.db, [thread_id])
            checkpoints.replace_blobs(work, thread_id, [*map(bare_blob, blobs)])
            return old.union(written)

        self._discard(
            self._behind(lambda: self._write_blobs(thread_id, blobs), replace_them, None), [thread_id]
        )

    def _trim(self, thread_id: str, max_checkpoints: int | None) -> Trimmed:
        known: dict[Path, set[str] | None] = {}

        def named(db: sqlite3.Connection, thread_id: str) -> set[str] | None:
            found = retention.blobs_of(db, thread_id)
            for path in self._named_states(db, [thread_id]):
                if path not in known:
                    known[path] = self._blobs_in(path)
                digests = known[path]
                if digests is None:
                    return None  # a file is lost: keep what it may have named for when it is found again
                found |= digests
            return found

        def trim(work: Work) -> tuple[Trimmed, set[Path]]:
            old = self._named(work.db, [thread_id])
            done = retention.trim(work, thread_id, max_checkpoints, named)
            return done, old - self._named(work.db, [thread_id])

        # Files never change, so most of them are read before everybody else has to wait.
        self.connections.read(lambda db: retention.has_blobs(db, thread_id) and named(db, thread_id))
        done, gone = self._work(trim, None)
        self._discard(gone, [thread_id])
        return done

    def _blobs_in(self, path: Path) -> set[str] | None:
        """The digests that a checkpoint's file names; ``None``: it is missing or damaged."""
        try:
            return blobs_named([read_state(self._read(path))])
        except (FileNotFoundError, ValueError):
            return None

    def _behind(
        self,
        write: Callable[[], list[Path]],
        step: Callable[[Work, list[Path]], T],
        now: float | None,
        *,
        lasting: bool = True,
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
            except FileNotFoundError:
                continue  # removed under our hands
            except OSError as error:
                raise StoreUnavailableError(
                    f"{self.url.shown} cannot be written: {error}: check the folder and its space"
                ) from error
            try:
                return self._work(run, now, lasting=lasting)
            except _GoneError:
                continue
        raise StoreError(f"{self.url.shown}: somebody removes its files: leave that to the store")

    def _write_blobs(self, thread_id: str, blobs: Iterable[Blob]) -> list[Path]:
        found = []
        for blob in blobs:
            found.append(self.folder.blob(thread_id, blob.digest, blob.checksum))
            self.folder.put(found[-1], blob.data)
        return found

    def _write_checkpoint(self, new: NewCheckpoint, thread_id: str) -> Path:
        return self.folder.write_checkpoint(thread_id, new.checkpoint_id, write_paper(new, thread_id))


def _settles(outcome: Outcome) -> list[Settle]:
    """What an outcome brings of checkpoints and tasks."""
    return [made for made in (outcome.settle, outcome.nest) if made is not None]


def _shortened(checkpoint: NewCheckpoint, place: Path) -> NewCheckpoint:
    """As the ledger keeps it: with the name of its file for its state."""
    return replace(checkpoint, state=marker(place.name))


class _GoneError(StoreError):
    """A file was removed between its writing and the transaction that names it."""
