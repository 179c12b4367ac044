"""The reading half of the file store: rows of the ledger, with what their files hold."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec.structs import replace

from petiole_stores.errors import ConfigurationError, StoreUnavailableError
from petiole_stores.file.paper import markers, read_state
from petiole_stores.folder import Folder, is_safe
from petiole_stores.records import Blob, Checkpointed, Claim, ClaimAnswer
from petiole_stores.serde import Serde
from petiole_stores.sql.sqlite import SQLiteStore
from petiole_stores.sql.sqlite.reading import read_damaged
from petiole_stores.store import StoreUrl

LEDGER = "ledger.db"

_OF_THREADS = " WHERE thread_id IN (SELECT value FROM json_each(?))"
_NAMED = "SELECT thread_id, checkpoint_id, state FROM checkpoints"
_NAMED_BLOBS = "SELECT thread_id, digest, checksum FROM blobs"
_PLACE = "SELECT thread_id, checkpoint_id, state FROM checkpoints WHERE checkpoint_id = ?"


class FileReads(SQLiteStore):
    """A ledger in SQLite whose checkpoints and blobs are files of ``folder``."""

    def __init__(self, url: StoreUrl | str, *, serde: Serde | None = None) -> None:
        super().__init__(url, serde=serde)
        self.folder = Folder(self.connections.path.parent)

    def _file(self) -> Path:
        parts = urlsplit(self.url.text)
        name = unquote(parts.netloc + parts.path)
        if not name.strip("/"):
            raise ConfigurationError(f"store URL {self.url.text!r} names no folder: write file:///folder")
        return Path(name).absolute() / LEDGER

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
        return self._named_states(db, thread_ids) | self._named_blobs(db, thread_ids)

    def _named_states(self, db: sqlite3.Connection, thread_ids: Sequence[str] | None) -> set[Path]:
        return {self._path(*row) for row in read_damaged(db, *_of_threads(_NAMED, thread_ids))}

    def _named_blobs(self, db: sqlite3.Connection, thread_ids: Sequence[str] | None) -> set[Path]:
        return {self.folder.blob(*row) for row in db.execute(*_of_threads(_NAMED_BLOBS, thread_ids))}

    def _place(self, db: sqlite3.Connection, checkpoint_id: str) -> tuple[str, Path] | None:
        """A checkpoint's thread and file."""
        rows = read_damaged(db, _PLACE, (checkpoint_id,))
        return (rows[0][0], self._path(*rows[0])) if rows else None

    def _path(self, thread_id: str, checkpoint_id: str, marker: str) -> Path:
        """A checkpoint's file; the one of its usual name when the marker is damaged: its digest tells whether it is."""
        try:
            name = markers.decode(marker).file
        except ValueError:
            name = ""
        return self.folder.checkpoint(thread_id, name if is_safe(name) else self.folder.usual(checkpoint_id))

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
        self, thread_id: str, ns: str | None, before: int | None, limit: int | None, brief: bool = False
    ) -> list[Checkpointed]:
        rows = super()._list_checkpoints(thread_id, ns, before, limit, brief)
        if brief:
            return rows
        found = map(self._filled, rows)
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
        if claim is not None and claim.child is not None:
            claim.child = self._filled(claim.child)

    def _filled(self, record: Checkpointed) -> Checkpointed | None:
        """The record with the state of its file; ``None``: it was deleted meanwhile.

        Without that state it keeps the ledger's marker, which does not match its digest, and ``quarantined`` says why.
        """
        path = self._path(record.thread_id, record.checkpoint_id, record.state)
        try:
            return replace(record, state=read_state(self._read(path)))
        except FileNotFoundError:
            place = self.connections.read(lambda db: self._place(db, record.checkpoint_id))
            if place is None:
                return None
            if place != (record.thread_id, path):
                return self._get_checkpoint(record.checkpoint_id)
            damage = f"its file {path} is missing"
        except ValueError as error:
            damage = f"its file {path} is damaged: {error}"
        return replace(record, quarantined=record.quarantined or damage)

    def _read(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreUnavailableError(
                f"{self.url.shown} cannot be read: {error}: check the folder"
            ) from error


def _of_threads(statement: str, thread_ids: Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    if thread_ids is None:
        return statement, ()
    return statement + _OF_THREADS, (msgspec.json.encode([*thread_ids]).decode(),)
