"""Postgres' upkeep: checkpoints made by hand, damaged rows, old checkpoints, old threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from petiole_stores.records import Blob, NewCheckpoint, Trimmed
from petiole_stores.sql.events import PostgresEvents
from petiole_stores.sql.items import PostgresItems
from petiole_stores.sql.parameters import as_json, blob_columns

_SAVE = "SELECT petiole_save(%s::jsonb, %s, %s, %s::float8, %s::text[], %s::text[], %b::bytea[], %s::text[])"
_DELETE = "SELECT petiole_delete(%s)"
_CLEAR = "SELECT petiole_clear(%s)"
_NOTE = "SELECT petiole_note(%s, %s, %s)"
_DROP = "SELECT petiole_drop(%s::text[])"
_QUARANTINE = "SELECT petiole_quarantine(%s, %s)"
_REPLACE_BLOBS = "SELECT petiole_replace_blobs(%s, %s::text[], %s::text[], %b::bytea[], %s::text[])"
_RECENT = "SELECT petiole_recent(%s::int8, %s::int)"
_LATEST = "SELECT coalesce(max(seq), 0)::text FROM checkpoints"
_TRIM = "SELECT petiole_trim(%s, %s::int)"
_EXPIRED = "SELECT petiole_expired(%s::jsonb, %s::int, %s::float8)"
_DELETE_THREAD = "SELECT petiole_delete_thread(%s)"

_news = msgspec.json.Decoder(tuple[list[str], str])
_trimmed = msgspec.json.Decoder(Trimmed)
_ids = msgspec.json.Decoder(list[str])


class PostgresUpkeep(PostgresItems, PostgresEvents):
    """What looks after rows without running anything."""

    # ---------------------------------------------------------------- checkpoints by hand

    def _save(
        self, checkpoint: NewCheckpoint, thread_id: str, run_id: str | None, at: float, blobs: Sequence[Blob]
    ) -> None:
        _, *columns = blob_columns([blobs])
        self._call(_SAVE, (as_json(checkpoint), thread_id, run_id, at, *columns))

    def _delete(self, checkpoint_id: str) -> bool:
        return self._call(_DELETE, (checkpoint_id,)) == "true"

    def _clear(self, thread_id: str) -> bool:
        return self._call(_CLEAR, (thread_id,)) == "true"

    # ---------------------------------------------------------------- tasks

    def _note(self, task_id: str, token: str, progress: str) -> bool:
        return self._call(_NOTE, (task_id, token, progress)) == "true"

    def _drop(self, task_ids: Sequence[str]) -> int:
        return int(self._call(_DROP, (list(task_ids),)))

    # ---------------------------------------------------------------- damage

    def _quarantine(self, checkpoint_id: str, reason: str) -> bool:
        return self._call(_QUARANTINE, (checkpoint_id, reason)) == "true"

    def _replace_blobs(self, thread_id: str, blobs: Sequence[Blob]) -> None:
        _, *columns = blob_columns([blobs])
        self._call(_REPLACE_BLOBS, (thread_id, *columns))

    # ---------------------------------------------------------------- age

    def _recent(self, cursor: str, limit: int) -> tuple[list[str], str]:
        return _news.decode(self._call(_RECENT, (int(cursor or 0), limit)))

    def _latest(self) -> str:
        return self._call(_LATEST, ())

    def _trim(self, thread_id: str, max_checkpoints: int | None) -> Trimmed:
        return _trimmed.decode(self._call(_TRIM, (thread_id, max_checkpoints)))

    def _expired(self, ages: Mapping[str, float], limit: int, now: float | None) -> list[str]:
        return _ids.decode(self._call(_EXPIRED, (as_json(dict(ages)), limit, now)))

    def _delete_thread(self, thread_id: str) -> bool:
        return self._call(_DELETE_THREAD, (thread_id,)) == "true"
