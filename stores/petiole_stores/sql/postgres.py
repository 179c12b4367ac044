"""Postgres: every operation of the ledger is one call of a function in the database, one round trip and one commit.

The functions stand in ``functions/*.sql``; each says there what it locks, and in which order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from petiole_stores.bases import ToldAnswer, WideBases
from petiole_stores.errors import SchemaError, UnstorableError
from petiole_stores.records import (
    Amendment,
    Answer,
    BeatAnswer,
    ClaimAnswer,
    FinishAnswer,
    NewRun,
    Outcome,
    QueueBacklog,
    Resumption,
    SubmitAnswer,
    SweepReport,
    TaskRef,
    Worker,
)
from petiole_stores.serde import Serde
from petiole_stores.sql import migrate
from petiole_stores.sql.archive import restore, write_backup
from petiole_stores.sql.parameters import as_json, blob_columns
from petiole_stores.sql.silence import unhurried
from petiole_stores.sql.transaction import FINISH, PostgresTransaction, decode_finish, finish_parameters
from petiole_stores.sql.upkeep import PostgresUpkeep
from petiole_stores.store import StoreUrl

WORKERS_KEPT = 7 * 86400.0

_SUBMIT = "SELECT petiole_submit(%s::jsonb, %s::int[], %s::text[], %s::text[], %b::bytea[], %s::text[], %s::float8, %s::float8)"
_CLAIM = (
    "SELECT petiole_claim(%s, %s, %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], "
    "%s::float8, %s::float8, %s::float8)"
)
_BEAT = "SELECT petiole_beat(%s::jsonb, %s::text[], %s::float8, %s::float8, %s::float8)"
_RELEASE = "SELECT petiole_release(%s, %s::text[], %s::bool, %s::bool, %s::float8, %s::float8, %s::int)"
_POSTPONE = "SELECT petiole_postpone(%s::text[], %s::float8, %s::float8)"
_SWEEP = "SELECT petiole_sweep(%s::float8, %s::float8, %s::float8, %s::float8)"
_BACKLOGS = "SELECT petiole_backlogs(%s::float8)"
_DUE = "SELECT petiole_due(%s::int, %s, %s, %s::float8, %s::float8, %s::float8, %s::float8)"
_CANCEL = "SELECT petiole_cancel(%s::text[], %s, %s::float8, %s::float8)"
_REPLAY = "SELECT petiole_replay(%s, %s::text[], %s::text[], %s::float8, %s::float8)"
_RESUME = "SELECT petiole_resume(%s, %s::text[], %s::text[], %s::text[], %s::float8, %s::float8)"
_AMEND = (
    "SELECT petiole_amend(%s::jsonb, %s::text[], %s::text[], %b::bytea[], %s::text[], %s::float8, %s::float8)"
)
_WAKE = "SELECT petiole_wake(%s, %s, %s::float8)"
_HOLD_BACK = "SELECT petiole_hold_back(%s::text[], %s, %s, %s)"
_LET_GO = "SELECT petiole_let_go(%s::text[], %s, %s::float8)"

_submits = msgspec.json.Decoder(list[SubmitAnswer])
_claims = msgspec.json.Decoder(list[ToldAnswer])
_beats = msgspec.json.Decoder(BeatAnswer)
_refs = msgspec.json.Decoder(list[TaskRef])
_reports = msgspec.json.Decoder(SweepReport)
_backlog_lists = msgspec.json.Decoder(list[QueueBacklog])
_answers = msgspec.json.Decoder(list[Answer])
_answer = msgspec.json.Decoder(Answer)


class PostgresStore(PostgresUpkeep):
    """``postgresql://user:password@host:5432/database?schema=…``: for any number of workers on any machines.

    The URL's options are listed in :mod:`petiole_stores.sql.connection`.
    """

    def __init__(self, url: StoreUrl | str, *, serde: Serde | None = None) -> None:
        super().__init__(url, serde=serde)
        self._wide_bases = WideBases()

    # ---------------------------------------------------------------- the connection and the schema

    def connect(self) -> None:
        """Reach the server and check the schema; an empty database is left for :meth:`migrate_schema`.

        Raises StoreUnavailableError when the server cannot be reached, SchemaError when the schema is of another version.
        """
        try:
            self.connections.transact(lambda connection: migrate.check(connection, self.url.shown))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections of this process; the store opens new ones when it is used again."""
        self.connections.close()

    def migrate_schema(self) -> list[str]:
        """Set up an empty database, or bring an older schema up to date; returns the steps taken."""
        if self.connections.transact(migrate.current) == migrate.HEAD:
            return []
        engine, schema = self.connections.engine, self.connections.schema
        with unhurried():
            return self.connections.again(lambda: migrate.upgrade(engine, schema=schema))

    def validate(self) -> None:
        """Raise StoreUnavailableError, or SchemaError when the schema is missing or of another version."""
        if not self.connections.transact(lambda connection: migrate.check(connection, self.url.shown)):
            raise SchemaError(f"{self.url.shown} holds no schema of Petiole: run `petiole db upgrade`")

    def backup(self, path: str | Path) -> int:
        """Write every table, as of one moment, to a new zip file and return how many checkpoints there were."""
        with unhurried():
            return self.connections.transact(lambda c: write_backup(c, path), isolation="REPEATABLE READ")

    def restore(self, path: str | Path) -> int:
        """Fill an empty database from a file that ``backup`` wrote and return how many checkpoints there were.

        Raises StoreError when the database already holds threads, or the file is none of ours or is damaged.
        """
        with unhurried():
            return restore(self.connections, path)

    # ---------------------------------------------------------------- the protocol

    def _submit(self, runs: Sequence[NewRun], now: float | None) -> list[SubmitAnswer]:
        plain = [replace(run, blobs=[]) if run.blobs else run for run in runs]
        columns = blob_columns([run.blobs for run in runs])
        text = self._call(_SUBMIT, (as_json(plain), *columns, now, self.grace))
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
        bases = self._wide_bases.known()
        parameters = (holder, slot, ids, tokens, list(holds), list(published), list(bases), now)
        told = _claims.decode(self._call(_CLAIM, (*parameters, self.grace, self.max_backoff)))
        return [self._wide_bases.whole(answer, bases) for answer in told]

    def _finish(
        self, holder: str, slot: str, outcomes: Sequence[Outcome], now: float | None
    ) -> list[FinishAnswer]:
        try:
            text = self._call(FINISH, finish_parameters(holder, slot, outcomes, now, self.grace))
        except UnstorableError as error:
            if len(outcomes) == 1:
                raise UnstorableError(f"task {outcomes[0].task_id}: {error}") from error
            return self._finish_apart(holder, slot, outcomes, now)
        return decode_finish(text)

    def _finish_apart(
        self, holder: str, slot: str, outcomes: Sequence[Outcome], now: float | None
    ) -> list[FinishAnswer]:
        """One holds a value that Postgres cannot: commit the others, then say which it is."""
        answers: list[FinishAnswer] = []
        faults: list[UnstorableError] = []
        for outcome in outcomes:
            try:
                answers += self._finish(holder, slot, [outcome], now)
            except UnstorableError as error:
                faults.append(error)
        if faults:
            raise UnstorableError("; ".join(map(str, faults))) from faults[0]
        return answers

    def transaction(self) -> PostgresTransaction:
        """A transaction on a connection of its own, which its ``finish`` commits; left without that, it is rolled back."""
        return PostgresTransaction(self.connections, grace=self.grace, clock=self._now)

    def _beat(self, worker: Worker, published: Sequence[str], now: float | None) -> BeatAnswer:
        text = self._call(_BEAT, (as_json(worker), list(published), now, self.grace, self.max_backoff))
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
        self,
        limit: int,
        queue: str | None,
        priority: str | None,
        published_before: float | None,
        now: float | None,
    ) -> list[TaskRef]:
        text = self._call(_DUE, (limit, queue, priority, published_before, now, self.grace, self.max_backoff))
        return _refs.decode(text)

    def _cancel(self, run_ids: Sequence[str], reason: str, now: float | None) -> list[Answer]:
        return _answers.decode(self._call(_CANCEL, (list(run_ids), reason, now, self.grace)))

    def _replay(self, run_id: str, replacements: Sequence[tuple[str, str]], now: float | None) -> Answer:
        old, new = [pair[0] for pair in replacements], [pair[1] for pair in replacements]
        return _answer.decode(self._call(_REPLAY, (run_id, old, new, now, self.grace)))

    def _resume(self, run_id: str, answers: Sequence[Resumption] | None, now: float | None) -> Answer:
        columns: list[list[str | None] | None] = [None, None, None]
        if answers is not None:
            columns = [
                [it.task_id for it in answers],
                [it.token for it in answers],
                [it.progress for it in answers],
            ]
        return _answer.decode(self._call(_RESUME, (run_id, *columns, now, self.grace)))

    def _amend(self, amendment: Amendment, now: float | None) -> Answer:
        columns = blob_columns([amendment.blobs])[1:]
        plain = replace(amendment, blobs=[]) if amendment.blobs else amendment
        return _answer.decode(self._call(_AMEND, (as_json(plain), *columns, now, self.grace)))

    def _wake(self, thread_id: str, name: str, now: float | None) -> list[TaskRef]:
        return _refs.decode(self._call(_WAKE, (thread_id, name, now)))

    def _hold_back(
        self, run_ids: Sequence[str], status: str, kind: str, reason: str, now: float | None
    ) -> list[Answer]:
        return _answers.decode(self._call(_HOLD_BACK, (list(run_ids), status, kind, reason)))

    def _let_go(self, run_ids: Sequence[str], status: str, now: float | None) -> list[Answer]:
        return _answers.decode(self._call(_LET_GO, (list(run_ids), status, now)))
