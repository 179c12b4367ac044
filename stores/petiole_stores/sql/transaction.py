"""A node's own tables and its checkpoint in one transaction on Postgres."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Any

import msgspec
import psycopg
from msgspec.structs import replace
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from petiole_stores.checks import check_outcome
from petiole_stores.errors import StoreError, UnstorableError
from petiole_stores.records import FinishAnswer, Outcome
from petiole_stores.sql.connection import PostgresEngine
from petiole_stores.sql.parameters import as_json, blob_columns
from petiole_stores.store import StoreTransaction

FINISH = "SELECT petiole_finish(%s, %s, %s::jsonb, %s::int[], %s::text[], %s::text[], %b::bytea[], %s::text[], %s::float8, %s::float8)"
_finishes = msgspec.json.Decoder(list[FinishAnswer])


def finish_parameters(
    holder: str, slot: str, outcomes: Sequence[Outcome], now: float | None, grace: float
) -> tuple[object, ...]:
    """The parameters of ``FINISH``; the data of blobs travel beside the outcomes' JSON."""
    plain = [replace(outcome, blobs=[]) if outcome.blobs else outcome for outcome in outcomes]
    columns = blob_columns([outcome.blobs for outcome in outcomes])
    return holder, slot, as_json(plain), *columns, now, grace


def decode_finish(text: str) -> list[FinishAnswer]:
    return _finishes.decode(text)


class PostgresTransaction(StoreTransaction):
    """Entered, it has a ``connection`` of its own (a ``psycopg.Connection``, not of the pool) with a transaction open.

    The connection has psycopg's own rows and adapters and the store's search_path. It refuses ``commit()`` and
    ``rollback()``; its ``transaction()`` is a savepoint. Because it is not of the pool, a node may hold it as long as it
    runs without keeping the ledger's calls waiting.
    """

    connection: psycopg.Connection[tuple[Any, ...]]

    def __init__(
        self, connections: PostgresEngine, *, grace: float, clock: Callable[[], float | None]
    ) -> None:
        self._connections = connections
        self._grace = grace
        self._clock = clock
        self._block: AbstractContextManager[psycopg.Transaction] | None = None

    def __enter__(self) -> PostgresTransaction:
        """Raises StoreUnavailableError when the server cannot be reached."""
        self._connections.again(self._open)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lost = self.connection.broken
        self._close()
        if lost and isinstance(error, psycopg.Error):
            raise self._connections.translate(error) from error

    def finish(self, holder: str, slot: str, outcomes: Sequence[Outcome]) -> Sequence[FinishAnswer]:
        """End attempts in this transaction and commit it; as :meth:`Ledger.finish`.

        If any outcome is refused, all is rolled back (with what was changed before), and the answers say why. So it is if
        all were ended ``already``: what an attempt changed came with the commit that ended it, and stands.

        Raises StoreUnavailableError when the connection is lost: the commit is in doubt, and ``holds`` tells (a finish would
        commit the outcome alone);
        StoreError when a statement before has failed, or a deferred constraint does: nothing was committed.
        """
        for outcome in outcomes:
            check_outcome(outcome)
        if self._block is None:
            raise StoreError("this transaction is over: open another with store.transaction()")
        if self.connection.info.transaction_status is TransactionStatus.INERROR:
            raise StoreError(
                "a statement has failed in this transaction, so that nothing of it can be committed: run what may fail "
                "within `with connection.transaction():`, a savepoint"
            )
        parameters = finish_parameters(holder, slot, outcomes, self._clock(), self._grace)
        try:
            row = self.connection.cursor(row_factory=tuple_row).execute(FINISH, parameters).fetchone()
            assert row is not None
            answers = decode_finish(row[0])
            results = {answer.result for answer in answers}
            if "committed" in results and "refused" not in results:
                block, self._block = self._block, None
                block.__exit__(None, None, None)
        except psycopg.Error as error:
            fault = self._connections.translate(error)
            if isinstance(fault, UnstorableError) and len(outcomes) == 1:
                fault = UnstorableError(f"task {outcomes[0].task_id}: {fault}")
            raise fault from error
        finally:
            self._close()
        return answers

    def _open(self) -> None:
        self.connection = self._connections.alone()
        try:
            # As a block: so it begins at once, commit() and rollback() are refused, and blocks within are savepoints.
            block = self.connection.transaction()
            block.__enter__()
            self._block = block
        except BaseException:
            self.connection.close()
            raise

    def _close(self) -> None:
        block, self._block = self._block, None
        if block is not None:
            with suppress(psycopg.Error):  # the server rolls back what it loses
                block.__exit__(psycopg.Rollback, psycopg.Rollback(), None)
        self.connection.close()
