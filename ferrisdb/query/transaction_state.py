"""The transaction that a session has open, as BEGIN, errors and savepoints leave it.

                BEGIN                    an error
    IDLE  ---------------->  OPEN  -------------------->  FAILED
      ^                      |  ^                          |  |
      |  COMMIT, ROLLBACK    |  |   ROLLBACK TO savepoint  |  |
      +----------------------+  +--------------------------+  |
      +-------------------------------------------------------+
                  ROLLBACK, and COMMIT, which then is one

As in PostgreSQL, an error leaves nothing to go on from but an earlier point. That is also
what makes a statement atomic: what a failed statement wrote before its error is never seen,
because the only ways on are points before it. So no savepoint is set for each statement.

A failed transaction without a savepoint has no such point. It is rolled back in the store
at once, so that others need not wait for its locks until the program notices.

Savepoints have names and form a stack. A name may stand in it twice; the newer one hides
the older until it is released, or undone with what lies below it.
"""

from __future__ import annotations

import enum
import weakref
from collections.abc import Callable

from ferrisdb.errors import Error, InFailedTransaction, InvalidSavepoint
from ferrisdb.query.result import Result
from ferrisdb.query.settings import Mark, SessionSettings
from ferrisdb.query.statement_runner import StatementRunner
from ferrisdb.txn.api import IsolationLevel, Savepoint, Transaction


class SessionStatus(enum.Enum):
    IDLE = "idle"
    OPEN = "open"
    FAILED = "failed"


class TransactionState:
    """Used by one thread at a time, within the session's guard. `runner` runs its statements."""

    def __init__(self, transaction: Transaction, runner: StatementRunner, settings: SessionSettings) -> None:
        self.transaction = transaction
        self.runner = runner
        self._settings = settings
        self._has_failed = False
        self._why_ended: Callable[[], Error] | None = None
        self._savepoints: list[tuple[str, Savepoint, Mark]] = []
        self._results: weakref.WeakSet[Result] = weakref.WeakSet()

    @property
    def status(self) -> SessionStatus:
        return SessionStatus.FAILED if self.is_failed else SessionStatus.OPEN

    @property
    def is_failed(self) -> bool:
        # The store ends a transaction by itself when it is a deadlock's victim or when the
        # store is closed; whoever asked for that may have been using it without SQL.
        return self._has_failed or not self.transaction.is_open

    @property
    def has_savepoints(self) -> bool:
        return bool(self._savepoints)

    def apply_settings(self) -> None:
        """After a change of the settings."""
        self.transaction.lock_timeout_s = self._settings.current.lock_timeout_s

    def begin_anew(self, transaction: Transaction) -> None:
        """Go on with another transaction in the place of this one, which has not been used."""
        self.transaction.rollback()
        self.transaction = transaction
        self.runner = self.runner.for_transaction(transaction)

    def begin_statement(self, text: str) -> None:
        """The next statement, `text`, is about to run."""
        if self.transaction.isolation is IsolationLevel.READ_COMMITTED:
            # Results that are still being read look up rows in the snapshot of their statement,
            # and it goes now.
            self.settle_results()
        self.transaction.begin_statement(text)

    def fail(self) -> None:
        """After any error of a statement."""
        self._has_failed = True
        if not self._savepoints:
            self.revoke_results(InFailedTransaction("the transaction of this result has failed"))
            self.transaction.rollback()

    def end_by_force(self, make_error: Callable[[], Error]) -> None:
        """Roll back, whatever the program thinks. What it does next raises the error."""
        self._has_failed = True
        self._why_ended = make_error
        self.revoke_results(make_error())
        self.transaction.rollback()

    def check_not_ended_by_force(self) -> None:
        """Raises what `end_by_force` was given."""
        if self._why_ended is not None:
            raise self._why_ended()

    def add_savepoint(self, name: str) -> None:
        self._savepoints.append((name, self.transaction.savepoint(), self._settings.mark()))

    def rollback_to(self, name: str) -> None:
        """Undo what was done since the savepoint, which stays. Raises InvalidSavepoint."""
        place = self._find(name)
        self.check_not_ended_by_force()
        if not self.transaction.is_open:
            raise InFailedTransaction(
                "the transaction is over: the store ended it, savepoints included",
                hint="ROLLBACK, and run the transaction again",
            )
        self.settle_results()
        _, savepoint, mark = self._savepoints[place]
        self.transaction.rollback_to(savepoint)
        self._settings.back_to(mark)
        self.apply_settings()
        self.runner.forget_catalog()
        del self._savepoints[place + 1 :]
        self._has_failed = False

    def release(self, name: str) -> None:
        """Forget the savepoint and those set since; what was done stays. Raises InvalidSavepoint."""
        del self._savepoints[self._find(name) :]

    def watch(self, result: Result) -> None:
        """Keep an eye on a result that still reads from this transaction."""
        self._results.add(result)

    def settle_results(self) -> None:
        """Before a write: open results make the rest of their rows now, as they were asked for."""
        for result in list(self._results):
            result.settle()
        self._results.clear()

    def revoke_results(self, error: Error) -> None:
        """The rows not made yet will never be."""
        for result in list(self._results):
            result.revoke(error)
        self._results.clear()

    def _find(self, name: str) -> int:
        for place in range(len(self._savepoints) - 1, -1, -1):
            if self._savepoints[place][0] == name:
                return place
        raise InvalidSavepoint(f'savepoint "{name}" does not exist')
