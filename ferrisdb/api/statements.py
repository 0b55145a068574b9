"""A lease and one session on it: what transactions and connections have in common.

Every call asks the lease first, so a closed database and a forked child answer the same
everywhere. What happens to rows that are still to be taken is the session's affair: before
it changes or commits anything it reads them into memory, so a result always shows what was
true when its statement ran (`ferrisdb.query.result`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ferrisdb.api.choices import checked_statement
from ferrisdb.api.engine import Lease
from ferrisdb.query.schema import Table
from ferrisdb.query.session import Result, Session, SessionStatus
from ferrisdb.txn.api import IsolationLevel

Parameters = Sequence[Any] | Mapping[str, Any]
Row = tuple[Any, ...]


class Statements:
    """One session of a lease. Used by one thread at a time."""

    def __init__(self, lease: Lease, isolation: IsolationLevel) -> None:
        self.lease = lease
        self.session: Session = lease.session(isolation)

    def __del__(self) -> None:
        # A transaction that the program dropped would keep its locks for ever. It is not ended
        # here: the collector may run inside the store, under a lock that this would wait for.
        session = getattr(self, "session", None)
        if session is not None and session.transaction is not None:
            self.lease.engine.shared.abandon(session.transaction)

    @property
    def status(self) -> SessionStatus:
        return self.session.status

    @property
    def has_live_transaction(self) -> bool:
        """False also where a conflict has ended the transaction that the session still holds."""
        transaction = self.session.transaction
        return transaction is not None and transaction.is_open

    def run(self, sql: str, parameters: Parameters = ()) -> Result:
        self.lease.require_usable()
        return self.session.execute(checked_statement(sql), parameters)

    def run_many(self, sql: str, rows: Iterable[Parameters]) -> int:
        self.lease.require_usable()
        return self.session.execute_many(checked_statement(sql), rows)

    def begin(self, isolation: IsolationLevel, *, read_only: bool = False) -> None:
        self.lease.require_usable()
        self.session.begin(isolation, read_only=read_only)

    def commit(self) -> None:
        """Raises NoActiveTransaction; InFailedTransaction, and then it is rolled back."""
        self.lease.require_usable()
        self.session.commit()

    def rollback(self) -> None:
        """Fine where no transaction is open, and on a closed database."""
        self.lease.require_own_process()
        if self.session.status is not SessionStatus.IDLE:
            self.session.rollback()

    def tables(self) -> tuple[Table, ...]:
        """The tables that the open transaction sees, or without one those that are committed."""
        self.lease.require_usable()
        return self.session.tables()

    def close(self) -> None:
        """Roll back what is open. Rows that were not taken are gone."""
        self.session.close()
