"""Postgres: every operation of the ledger is one call of a function in the database, one round trip and one commit.

The functions stand in ``functions/*.sql``; each says there what it locks, and in which order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from petiole_stores.errors import StoreError
from petiole_stores.records import (
    Answer,
    BeatAnswer,
    Blob,
    ClaimAnswer,
    FinishAnswer,
    NewRun,
    Outcome,
    QueueBacklog,
    SubmitAnswer,
    SweepReport,
    TaskRef,
    Worker,
)
from petiole_stores.serde import Serde
from petiole_stores.sql.base import SQLStore
from petiole_stores.sql.connection import PostgresEngine
from petiole_stores.store import StoreUrl

WORKERS_KEPT = 7 * 86400.0

_SUBMIT = "SELECT petiole_submit(%s::jsonb, %s::int[], %s::text[], %s::text[], %b::bytea[], %s::text[], %s::float8, %s::float8)"
_CLAIM = "SELECT petiole_claim(%s, %s, %s::text[], %s::text[], %s::text[], %s::text[], %s::float8, %s::float8, %s::float8)"
_FINISH = (
    "SELECT petiole_finish(%s, %s, %s::jsonb, %s::int[], %s::text[], %s::text[], %b::bytea[], %s::text[], %s::float8, %s::float8)"
)
_BEAT = "SELECT petiole_beat(%s::jsonb, %s::text[], %s::float8, %s::float8, %s::float8)"
_RELEASE = "SELECT petiole_release(%s, %s::text[], %s::bool, %s::bool, %s::float8, %s::float8, %s::int)"
_POSTPONE = "SELECT petiole_postpone(%s::text[], %s::float8, %s::float8)"
_SWEEP = "SELECT petiole_sweep(%s::float8, %s::float8, %s::float8, %s::float8)"
_BACKLOGS = "SELECT petiole_backlogs(%s::float8)"
_DUE = "SELECT petiole_due(%s::int, %s, %s, %s::float8, %s::float8, %s::float8, %s::float8)"
_CANCEL = "SELECT petiole_cancel(%s::text[], %s, %s::float8, %s::float8)"
_REPLAY = "SELECT petiole_replay(%s, %s::text[], %s::text[], %s::float8, %s::float8)"
_RESUME = "SELECT petiole_resume(%s, %s::float8, %s::float8)"

_submits = msgspec.json.Decoder(list[SubmitAnswer])
_claims = msgspec.json.Decoder(list[ClaimAnswer])
_finishes = msgspec.json.Decoder(list[FinishAnswer])
_beats = msgspec.json.Decoder(BeatAnswer)
_refs = msgspec.json.Decoder(list[TaskRef])
_reports = msgspec.json.Decoder(SweepReport)
_backlog_lists = msgspec.json.Decoder(list[QueueBacklog])
_answers = msgspec.json.Decoder(list[Answer])
_answer = msgspec.json.Decoder(Answer)


class PostgresStore(SQLStore):
    """``postgresql://user:password@host:5432/database?schema=…``: for any number of workers on any machines.

    The URL's options are listed in :mod:`petiole_stores.sql.connection`.
    """

    def __init__(self, url: StoreUrl | str, *, serde: Serde | None = None) -> None:
        super().__init__(url, serde=serde)
        self.connections = PostgresEngine(self.url)

    # ---------------------------------------------------------------- the protocol

    def _submit(self, runs: Sequence[NewRun], now: float | None) -> list[SubmitAnswer]:
        plain = [replace(run, blobs=[]) if run.blobs else run for run in runs]
        columns = _blob_columns([run.blobs for run in runs])
        text = self._call(_SUBMIT, (_json(plain), *columns, now, self.grace))
        return _submits.decode(text)

    def _claim(
        self,
        holder: str,
        slot: str,
        wants: Sequence[tuple[str, str]],
        holds: Sequence[str],
        published: Sequence[str],
        now: float | None,
    ) -> list[ClaimAnswer]:
        ids, tokens = [task_id for task_id, _ in wants], [token for _, token in wants]
        text = self._call(
            _CLAIM,
            (holder, slot, ids, tokens, list(holds), list(published), now, self.grace, self.max_backoff),
        )
        return _claims.decode(text)

    def _finish(self, holder: str, slot: str, outcomes: Sequence[Outcome], now: float | None) -> list[FinishAnswer]:
        plain = [replace(outcome, blobs=[]) if outcome.blobs else outcome for outcome in outcomes]
        columns = _blob_columns([outcome.blobs for outcome in outcomes])
        text = self._call(_FINISH, (holder, slot, _json(plain), *columns, now, self.grace))
        return _finishes.decode(text)

    def _beat(self, worker: Worker, published: Sequence[str], now: float | None) -> BeatAnswer:
        text = self._call(_BEAT, (_json(worker), list(published), now, self.grace, self.max_backoff))
        return _beats.decode(text)

    def _release(
        self, holder: str, slots: Sequence[str] | None, crashed: bool, final: bool, now: float | None
    ) -> list[TaskRef]:
        chosen = None if slots is None else list(slots)
        text = self._call(_RELEASE, (holder, chosen, crashed, final, now, self.grace, self.max_crashes))
        return _refs.decode(text)

    def _postpone(self, task_ids: Sequence[str], delay: float, now: float | None) -> None:
        self.connections.call(_POSTPONE, (list(task_ids), delay, now))

    def _sweep(self, observed: float, now: float | None) -> SweepReport:
        return _reports.decode(self._call(_SWEEP, (observed, now, self.grace, WORKERS_KEPT)))

    def _backlogs(self, now: float | None) -> list[QueueBacklog]:
        return _backlog_lists.decode(self._call(_BACKLOGS, (now,)))

    def _due(
        self, limit: int, queue: str | None, priority: str | None, published_before: float | None, now: float | None
    ) -> list[TaskRef]:
        text = self._call(_DUE, (limit, queue, priority, published_before, now, self.grace, self.max_backoff))
        return _refs.decode(text)

    def _cancel(self, run_ids: Sequence[str], reason: str, now: float | None) -> list[Answer]:
        return _answers.decode(self._call(_CANCEL, (list(run_ids), reason, now, self.grace)))

    def _replay(self, run_id: str, replacements: Sequence[tuple[str, str]], now: float | None) -> Answer:
        old, new = [pair[0] for pair in replacements], [pair[1] for pair in replacements]
        return _answer.decode(self._call(_REPLAY, (run_id, old, new, now, self.grace)))

    def _resume(self, run_id: str, now: float | None) -> Answer:
        return _answer.decode(self._call(_RESUME, (run_id, now, self.grace)))

    def _call(self, statement: str, parameters: Sequence[object]) -> str:
        text = self.connections.call(statement, parameters)
        if text is None:
            raise StoreError(f"{self.url.shown}: {statement} answered nothing: run `petiole db verify`")
        return text


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


_NO_BLOBS: tuple[list[Any], ...] = ([], [], [], [], [])


def _blob_columns(groups: Sequence[Sequence[Blob]]) -> tuple[list[Any], ...]:
    """The blobs of several owners as columns: the owner's position from 1, digest, codec, data, checksum."""
    if not any(groups):
        return _NO_BLOBS
    rows = [
        (owner, blob.digest, blob.codec, blob.data, blob.checksum)
        for owner, blobs in enumerate(groups, 1)
        for blob in blobs
    ]
    return tuple(list(column) for column in zip(*rows, strict=True))
