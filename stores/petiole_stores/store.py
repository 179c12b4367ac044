"""A full store: checkpoints, ledger and items in one place, so that a finish is one transaction.

The public checkpoint methods turn :class:`Checkpoint` objects into documents and blobs and back; a backend fills in
``_save``, ``_delete``, ``_clear`` and the primitives of :class:`Ledger`, :class:`ItemStore` and :class:`EventStore`.
"""

from __future__ import annotations

import builtins
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.checks import check_id
from petiole_stores.contract import CheckpointStore, json_text
from petiole_stores.errors import ConfigurationError, ConflictError, CorruptionError, NotFoundError
from petiole_stores.events import EventStore
from petiole_stores.integrity import damage_of, seal_of
from petiole_stores.items import ItemStore
from petiole_stores.ledger import Ledger
from petiole_stores.records import Blob, Checkpointed, FinishAnswer, NewCheckpoint, Outcome
from petiole_stores.serde import Serde, digest_document


class StoreUrl(msgspec.Struct, frozen=True):
    """A store's URL taken apart: ``options`` are its query parameters."""

    text: str
    scheme: str
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> StoreUrl:
        """Raises ConfigurationError for what is not a URL."""
        parts = urlsplit(text)
        if not parts.scheme or "://" not in text:
            raise ConfigurationError(
                f"store URL {text!r} has no scheme: write memory://, file:///dir, sqlite:///file.db, "
                "postgresql://user@host/db or redis://host:6379/0"
            )
        options = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        return cls(text, parts.scheme, options)

    @property
    def shown(self) -> str:
        """The URL without its password."""
        parts = urlsplit(self.text)
        if parts.password is None:
            return self.text
        return self.text.replace(f":{parts.password}@", ":***@", 1)


class StoreTransaction(ABC):
    """An open transaction on the store's database. Left without :meth:`finish`, it is rolled back."""

    #: ``psycopg.Connection`` or ``sqlite3.Connection``; it must be neither committed nor rolled back by who gets it.
    connection: Any

    @abstractmethod
    def finish(self, holder: str, slot: str, outcomes: Sequence[Outcome]) -> Sequence[FinishAnswer]:
        """End attempts in this transaction and commit it; as :meth:`Ledger.finish`.

        If any outcome is refused, all is rolled back (with what was changed before), and the answers say why. Raises
        StoreUnavailableError when the connection is lost: the commit is in doubt, and ``holds`` tells (a finish would commit
        the outcome alone).
        """


class Store(CheckpointStore, Ledger, ItemStore, EventStore):
    """Checkpoints, ledger, items and events of one backend. ``shared`` tells whether several processes may work on it."""

    shared = True
    serde: Serde

    def __init__(self, url: StoreUrl | str, *, serde: Serde | None = None) -> None:
        self.url = StoreUrl.parse(url) if isinstance(url, str) else url
        self.serde = serde or Serde()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url.shown}>"

    # ---------------------------------------------------------------- the checkpoint contract

    def save(self, checkpoint: Checkpoint, *, kept: Mapping[str, bytes] | None = None) -> str:
        """Store a checkpoint by hand; without an active run on its thread it becomes the thread's head.

        ``kept`` is the text of values as they stand in an earlier checkpoint of the thread, by their keys there; it is
        taken over in place of the values themselves, and what blobs it names stay that one's.
        """
        check_id("checkpoint id", checkpoint.id)
        check_id("thread_id", checkpoint.thread_id)
        record, blobs = self.to_record(checkpoint, kept)
        self._save(record, checkpoint.thread_id, checkpoint.run_id, checkpoint.timestamp.timestamp(), blobs)
        return checkpoint.id

    def load(self, checkpoint_id: str) -> Checkpoint:
        record = self.get_checkpoint(checkpoint_id)
        if record is None:
            raise NotFoundError(f"checkpoint {checkpoint_id!r} does not exist in {self.url.shown}")
        return self.from_record(record)

    def list(
        self, thread_id: str, *, run_id: str | None = None, ns: str | None = "", limit: int | None = None
    ) -> builtins.list[Checkpoint]:
        """Checkpoints of a thread, newest first; those of one run only with ``run_id``; ``ns=None``: every namespace."""
        records = self.list_checkpoints(thread_id, ns=ns, limit=limit if run_id is None else None)
        chosen = [r for r in records if run_id in (None, r.run_id)][:limit]
        return [self.from_record(record) for record in chosen]

    def delete(self, checkpoint_id: str) -> None:
        """Remove one checkpoint; if it was the head, its parent is. Raises ConflictError while a run is active."""
        if not self._delete(checkpoint_id):
            raise ConflictError(
                f"checkpoint {checkpoint_id!r} is of a thread with an active run: cancel the run first"
            )

    def clear(self, thread_id: str) -> None:
        """Remove all checkpoints of a thread; its runs stay on record. Raises ConflictError while a run is active."""
        if not self._clear(thread_id):
            raise ConflictError(
                f"thread {thread_id!r} has an active run: cancel it before its checkpoints are cleared"
            )

    def mend(self, damaged: Checkpointed, sound: NewCheckpoint, blobs: Sequence[Blob]) -> None:
        """Put a sound copy in the place of a damaged checkpoint, and its blobs in the place of theirs."""
        self.replace_blobs(damaged.thread_id, blobs)
        self._save(sound, damaged.thread_id, damaged.run_id, damaged.created_at, blobs)

    def bring(self, checkpoint: NewCheckpoint, thread_id: str, *, at: float, blobs: Sequence[Blob]) -> None:
        """Store a checkpoint of another store, of no run here; without an active run it becomes its namespace's head.

        ``at`` is when it was made. Its ``digest`` and ``seal`` have to be its own.
        """
        check_id("checkpoint id", checkpoint.checkpoint_id)
        check_id("thread_id", thread_id)
        self._save(checkpoint, thread_id, None, at, blobs)

    def _history(self, thread_id: str) -> Sequence[Checkpoint]:
        return self.list(thread_id, ns=None)

    def validate(self) -> None:
        """Check that the store can be reached and that its schema is the one this version works with."""
        self.head("petiole-validate")

    def durability(self) -> builtins.list[str]:
        """What could make the store forget acknowledged commits, in sentences (empty: nothing that it knows of)."""
        return []

    def transaction(self) -> AbstractContextManager[StoreTransaction]:
        """A transaction in which a node changes tables of its own and which its finish commits.

        Only SQL stores have it; others raise ConfigurationError.
        """
        raise ConfigurationError(
            f"the store {self.url.shown} has no tables that a node could change: runtime.transaction() needs postgresql:// "
            "or sqlite://"
        )

    # ---------------------------------------------------------------- documents

    def to_record(
        self, checkpoint: Checkpoint, kept: Mapping[str, bytes] | None = None
    ) -> tuple[NewCheckpoint, Sequence[Blob]]:
        """The checkpoint as a row, and the blobs that its state refers to (but for those of ``kept``, see :meth:`save`)."""
        state, blobs = self.serde.dump_values(checkpoint.state, thread_id=checkpoint.thread_id, kept=kept)
        metadata, more = self.serde.dump_values(checkpoint.metadata, thread_id=checkpoint.thread_id)
        record = NewCheckpoint(
            checkpoint_id=checkpoint.id,
            parent_id=checkpoint.parent_id,
            ns=checkpoint.ns,
            step=checkpoint.step,
            source=checkpoint.source,
            node_names=[*checkpoint.node_names],
            state=state,
            next=json_text([{"path": f"pull:{name}", "node": name} for name in checkpoint.next]),
            metadata=metadata,
            digest=digest_document(state),
            version=checkpoint.version,
        )
        record.seal = seal_of(record)
        return record, [*blobs.values(), *more.values()]

    def from_record(self, record: Checkpointed) -> Checkpoint:
        """The checkpoint that a row stands for. Raises CorruptionError when its state does not match its digest."""
        if damage := damage_of(record):
            raise CorruptionError(
                f"checkpoint {record.checkpoint_id!r} of thread {record.thread_id!r} is damaged ({record.quarantined or damage}): "
                "`petiole db verify --repair` rebuilds it from its parent; else restore a backup, or replay from its parent"
            )
        blobs = self.load_blobs(record.thread_id, [record.state, record.metadata])
        return Checkpoint(
            id=record.checkpoint_id,
            thread_id=record.thread_id,
            run_id=record.run_id,
            ns=record.ns,
            parent_id=record.parent_id,
            step=record.step,
            source=record.source,
            node_names=tuple(record.node_names),
            state=self.serde.load_values(record.state, blobs, thread_id=record.thread_id),
            next=tuple(task["node"] for task in msgspec.json.decode(record.next)),
            metadata=self.serde.load_values(record.metadata, blobs, thread_id=record.thread_id),
            timestamp=datetime.fromtimestamp(record.created_at, UTC),
            version=record.version,
        )

    def load_blobs(self, thread_id: str, documents: Sequence[str]) -> dict[str, Blob]:
        """The blobs that these documents refer to. Raises CorruptionError when one is gone."""
        digests = sorted({digest for text in documents for digest in self.serde.blob_digests(text)})
        blobs = self.get_blobs(thread_id, digests)
        missing = [digest for digest in digests if digest not in blobs]
        if missing:
            raise CorruptionError(
                f"thread {thread_id!r}: {len(missing)} blobs are missing, the first is {missing[0]}"
            )
        return blobs

    # ---------------------------------------------------------------- primitives of a backend

    @abstractmethod
    def _save(
        self, checkpoint: NewCheckpoint, thread_id: str, run_id: str | None, at: float, blobs: Sequence[Blob]
    ) -> None:
        """Insert or replace one checkpoint (a replaced one keeps its ``seq`` and leaves quarantine; a new one is the head
        of its thread and namespace unless a run is active)."""

    @abstractmethod
    def _delete(self, checkpoint_id: str) -> bool:
        """Remove it and mend the head (its parent, else the newest left); ``False``: a run is active, nothing done."""

    @abstractmethod
    def _clear(self, thread_id: str) -> bool:
        """Remove a thread's checkpoints, heads and blobs; ``False``: a run is active, nothing done."""
