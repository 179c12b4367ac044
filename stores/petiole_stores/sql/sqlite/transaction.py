"""A node's own tables and its checkpoint in one transaction on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from types import TracebackType

from petiole_stores.checks import check_outcome
from petiole_stores.errors import InputError, StoreError
from petiole_stores.records import FinishAnswer, Outcome
from petiole_stores.sql.sqlite import finishing
from petiole_stores.sql.sqlite.connection import Connections
from petiole_stores.sql.sqlite.work import Work
from petiole_stores.store import StoreTransaction


class SQLiteTransaction(StoreTransaction):
    """Entered, it has a ``connection`` of its own, and the file for itself: nobody else writes until it is left.

    So it is to be short, at most a part of the workers' lease, and calls of the store that write wait for it, those of
    its own thread in vain. The connection refuses COMMIT and ROLLBACK; savepoints are its user's to make.
    """

    connection: sqlite3.Connection

    def __init__(self, connections: Connections, begun: Callable[[sqlite3.Connection], Work]) -> None:
        self._connections = connections
        self._begun = begun
        self._open = False
        self._meddled = False

    def __enter__(self) -> SQLiteTransaction:
        """Raises StoreUnavailableError when another holds the file for longer than ``busy_timeout``."""
        self.connection = self._connections.begin()
        self._open = True
        self.connection.set_authorizer(self._authorize)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        if self._meddled and isinstance(error, sqlite3.DatabaseError):
            raise InputError(
                "this connection's transaction is committed by the node's finish: leave out commit(), rollback(), "
                "executescript() and `with connection:`; use SAVEPOINT to undo a part"
            ) from error

    def finish(self, holder: str, slot: str, outcomes: Sequence[Outcome]) -> Sequence[FinishAnswer]:
        """End attempts in this transaction and commit it; as :meth:`Ledger.finish`.

        If any outcome is refused, all is rolled back (with what was changed before), and the answers say why. So it is if
        all were ended ``already``: what an attempt changed came with the commit that ended it, and stands.

        Raises StoreError when the transaction is over, or the file's disk fails: nothing was committed.
        """
        for outcome in outcomes:
            check_outcome(outcome)
        db = self.connection
        try:
            if not self._open or not db.in_transaction:  # some errors of SQLite roll all back
                raise StoreError("this transaction is over: open another with store.transaction()")
            db.row_factory, db.text_factory = None, str
            answers = finishing.finish(self._begun(db), holder, slot, outcomes)
            results = {answer.result for answer in answers}
            if "committed" in results and "refused" not in results:
                db.set_authorizer(None)
                db.execute("COMMIT")
        except (sqlite3.Error, UnicodeEncodeError, OverflowError) as error:
            raise self._connections.translate(error) from error
        finally:
            self._close()
        return answers

    def _authorize(self, action: int, name: str | None, *_: str | None) -> int:
        """Refuse to end the transaction, or to begin another: that is this object's to do."""
        if action != sqlite3.SQLITE_TRANSACTION:
            return sqlite3.SQLITE_OK
        self._meddled = True
        return sqlite3.SQLITE_DENY

    def _close(self) -> None:
        if self._open:
            self._open = False
            self.connection.close()  # rolls back what is not committed
