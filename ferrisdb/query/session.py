"""A session: statements one after the other, and the transaction they run in.

    execute(sql, parameters)
        parse        text -> syntax tree                     cached by text
        control      BEGIN, COMMIT, SAVEPOINT ...            done here
        otherwise    the open transaction, or one of its own
                     prepare and run                         statement_runner

Without BEGIN each statement is a transaction of its own. One that changes something commits
before `execute` returns. A query's ends when its rows are taken or its result is closed.

Inside a transaction an error makes it FAILED (see `transaction_state`).

A session is used by one thread at a time; a second one is turned away (see `guard`).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar

from ferrisdb.errors import (
    ActiveTransaction,
    Error,
    InFailedTransaction,
    InterfaceError,
    NoActiveTransaction,
    ReadOnlyStore,
    SerializationFailure,
)
from ferrisdb.query import ast
from ferrisdb.query.bind.coercion import located
from ferrisdb.query.conflict_words import explain_in_words
from ferrisdb.query.define.statements import SchemaStatement, schema_word
from ferrisdb.query.guard import Guard
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.plan import ResultColumn
from ferrisdb.query.prepared import ChangeStatement
from ferrisdb.query.result import Result
from ferrisdb.query.schema import Table
from ferrisdb.query.setting_statements import SettingStatements
from ferrisdb.query.settings import SessionSettings, Settings, timeout_ms
from ferrisdb.query.shared_state import ParsedStatement, SharedState
from ferrisdb.query.statement_runner import ParameterRow, StatementRunner, check_parameters
from ferrisdb.query.transaction_state import SessionStatus, TransactionState
from ferrisdb.storage.options import Durability
from ferrisdb.storage.yield_points import reach
from ferrisdb.txn.api import CommitToken, IsolationLevel, Store, Transaction

__all__ = ["Result", "ResultColumn", "Session", "SessionStatus", "SharedState"]

ControlStatement = (
    ast.Begin
    | ast.Commit
    | ast.Rollback
    | ast.CreateSavepoint
    | ast.RollbackToSavepoint
    | ast.ReleaseSavepoint
)

T = TypeVar("T")


class Session:
    """One conversation with a store. `shared` is the same for all sessions of a database."""

    def __init__(
        self,
        store: Store,
        shared: SharedState,
        *,
        default_isolation: IsolationLevel = IsolationLevel.SNAPSHOT,
        idle_in_transaction_timeout_s: float | None = None,
        guard: Guard | None = None,
    ) -> None:
        """`guard` is that of who made the session, if he is to be kept out, too. The rest: settings."""
        self._store = store
        self._shared = shared
        initial = Settings(
            default_transaction_isolation=default_isolation,
            idle_in_transaction_session_timeout_ms=timeout_ms(idle_in_transaction_timeout_s),
        )
        self.settings = SessionSettings(initial)
        self._setting_statements = SettingStatements(store, self.settings)
        self._guard = guard or Guard("session")
        self._state: TransactionState | None = None
        self._streaming: weakref.WeakSet[Result] = weakref.WeakSet()
        self._is_closed = False

    # --- what a program asks ------------------------------------------------------------

    @property
    def status(self) -> SessionStatus:
        """IDLE outside of a transaction; FAILED after an error in one."""
        state = self._state
        return SessionStatus.IDLE if state is None else state.status

    @property
    def idle_in_transaction_timeout_s(self) -> float | None:
        """A transaction that is not used for so long is ended, by whoever made the session."""
        return self.settings.current.idle_in_transaction_session_timeout_s

    @property
    def transaction(self) -> Transaction | None:
        """The transaction that is open; already over when FAILED without a savepoint."""
        state = self._state
        return None if state is None else state.transaction

    def execute(self, sql: str, parameters: ParameterRow | None = None) -> Result:
        """Run one statement.

        Raises any Error. In an open transaction the error makes it FAILED: only ROLLBACK,
        COMMIT (which then rolls back) and ROLLBACK TO a savepoint go on from there.
        """
        given = Parameters.of(parameters)
        reach("statement", sql)
        with self._guard:
            self._check_usable()
            try:
                return self._execute(self._shared.parse(sql), given)
            except BaseException as error:
                self._fail()
                explain_in_words(error, self._store, self._shared)
                raise

    def execute_many(self, sql: str, rows: Iterable[ParameterRow]) -> int:
        """Run an INSERT, UPDATE or DELETE with each of the parameters: all of them, or none.

        The number of rows that were changed. `rows` is taken as it is needed, and must not
        use this session meanwhile.
        """
        if not isinstance(rows, Iterable):
            raise InterfaceError(
                f"execute_many takes an iterable of parameters, not {type(rows).__name__}",
                hint="one row needs a list around it: [(value, ...)]",
            )
        with self._guard:
            self._check_usable()
            try:
                return self._execute_many(self._shared.parse(sql), rows)
            except BaseException as error:
                self._fail()
                explain_in_words(error, self._store, self._shared)
                raise

    def begin(
        self,
        isolation: IsolationLevel | None = None,
        *,
        read_only: bool = False,
        durability: Durability | None = None,
        lock_timeout_s: float | None = None,
        as_of: CommitToken | None = None,
    ) -> None:
        """Open a transaction; what is not said is as the settings say.

        Raises ActiveTransaction, NotSupportedError.
        """
        with self._guard:
            self._check_usable()
            self._begin(isolation, read_only or None, durability, as_of)
            self._limit_waits(lock_timeout_s)

    def begin_statement(self, text: str) -> None:
        """For a program that uses the open transaction past SQL: a statement of its own begins.
        Nothing without one."""
        with self._guard:
            self._check_usable()
            if self._state is not None and not self._state.is_failed:
                self._state.begin_statement(text)

    def take_over(self, transaction: Transaction, begun_at: datetime) -> None:
        """Go on with a transaction that was begun without a session. Within the guard."""
        runner = StatementRunner(self._shared, transaction, begun_at)
        self._state = TransactionState(transaction, runner, self.settings)
        self._limit_waits(transaction.lock_timeout_s)

    def commit(self) -> None:
        """Commit the open transaction, which is then over, whatever happens.

        Raises NoActiveTransaction; InFailedTransaction when it had failed: it is rolled back.
        """
        with self._guard:
            self._check_usable()
            try:
                is_committed = self._commit()
            except SerializationFailure as error:
                explain_in_words(error, self._store, self._shared)
                raise
            if not is_committed:
                raise InFailedTransaction(
                    "a transaction in which a statement failed can't be committed; it was rolled back",
                    hint="run it again, or go back to a savepoint after an error",
                )

    def rollback(self) -> None:
        """Undo the open transaction. Raises NoActiveTransaction."""
        with self._guard:
            self._check_usable()
            self._rollback()

    def end_by_force(self, make_error: Callable[[], Error]) -> None:
        """Within the guard: roll back the open transaction, if there is one. Until the program ends
        it, too, whatever it does there raises the error."""
        if self._state is not None and self._state.transaction.is_open:
            self._state.end_by_force(make_error)

    def check_not_ended_by_force(self) -> None:
        """Raises what `end_by_force` was given for the transaction that is open."""
        if self._state is not None:
            self._state.check_not_ended_by_force()

    def tables(self) -> tuple[Table, ...]:
        """The tables that the session sees now, by name."""
        with self._guard:
            self._check_usable()
            if self._state is not None and not self._state.is_failed:
                return tuple(self._shared.catalog.view(self._state.transaction).tables())
            transaction = self._begin_alone("", read_only=True)
            try:
                return tuple(self._shared.catalog.view(transaction).tables())
            finally:
                transaction.rollback()

    def close(self) -> None:
        """Roll back what is open. Rows of results that were not made are gone."""
        with self._guard:
            if self._is_closed:
                return
            self._is_closed = True
            if self._state is not None:
                self._rollback()
            for result in list(self._streaming):
                result.revoke(InterfaceError("the session of this result is closed"))

    # --- one statement ------------------------------------------------------------------

    def _execute(self, parsed: ParsedStatement, given: Parameters) -> Result:
        syntax = parsed.syntax
        self._check_not_failed(syntax)
        if isinstance(syntax, ast.Query) and parsed.locks_rows:
            prepared, rows = self._writing(
                parsed, "SELECT FOR UPDATE", lambda runner: runner.locking_query(parsed, given)
            )
            return Result("SELECT", prepared.plan.columns, ready=rows)
        if isinstance(syntax, ast.PastQuery):
            return self._query_past(parsed, syntax, given)
        if isinstance(syntax, (ast.Query, ast.Explain)):
            return self._query(parsed, given)
        if isinstance(syntax, ChangeStatement):
            word = type(syntax).__name__.upper()
            count = self._writing(parsed, word, lambda runner: runner.change(parsed, given))
            return Result(word, row_count=count)
        check_parameters(parsed, given)
        if isinstance(syntax, ast.SettingStatement):
            return self._setting_statements.run(syntax, self._state)
        if isinstance(syntax, SchemaStatement):
            word = schema_word(syntax)
            self._writing(parsed, word, lambda runner: runner.define(syntax))
            return Result(word)
        if isinstance(syntax, ast.LockTable):
            self._open_state("LOCK TABLE")
            self._writing(parsed, "LOCK TABLE", lambda runner: runner.lock_tables(syntax))
            return Result("LOCK TABLE")
        return Result(self._control(syntax, given))

    def _execute_many(self, parsed: ParsedStatement, rows: Iterable[ParameterRow]) -> int:
        syntax = parsed.syntax
        self._check_not_failed(syntax)
        if not isinstance(syntax, ChangeStatement):
            raise InterfaceError(
                "execute_many runs INSERT, UPDATE or DELETE", hint="run other statements with execute"
            )
        word = type(syntax).__name__.upper()
        return self._writing(parsed, word, lambda runner: runner.change_many(parsed, rows))

    def _query(self, parsed: ParsedStatement, given: Parameters) -> Result:
        state = self._state
        if state is None:
            return self._query_alone(parsed, given)

        def end(error: BaseException | None) -> None:
            if error is not None:
                state.fail()

        state.begin_statement(parsed.sql)
        result = state.runner.result(parsed, given, guard=self._guard, end=end, abandon=_nothing)
        if not result.is_complete:
            state.watch(result)
        return result

    def _query_past(self, parsed: ParsedStatement, syntax: ast.PastQuery, given: Parameters) -> Result:
        # What is only asked in the past is loaded only for that.
        from ferrisdb.query.past import begin_past, present_of  # noqa: PLC0415

        present = present_of(parsed, syntax, given)
        self._shared.end_abandoned()
        return self._query_in(begin_past(self._store, syntax.as_of, given), present, given)

    def _query_alone(self, parsed: ParsedStatement, given: Parameters) -> Result:
        return self._query_in(self._begin_alone(parsed.sql, read_only=True), parsed, given)

    def _query_in(self, transaction: Transaction, parsed: ParsedStatement, given: Parameters) -> Result:
        """In a transaction that nobody else has, and that ends with its rows."""
        shared = self._shared
        runner = StatementRunner(shared, transaction, shared.clock())

        def end(error: BaseException | None) -> None:
            if error is not None:
                transaction.rollback()
                return
            try:
                transaction.commit()
            except SerializationFailure as failure:
                explain_in_words(failure, self._store, shared)
                raise

        try:
            result = runner.result(
                parsed,
                given,
                guard=Guard("result"),
                end=end,
                abandon=lambda: shared.abandon(transaction),
            )
        except BaseException:
            transaction.rollback()
            raise
        if not result.is_complete:
            self._streaming.add(result)
        return result

    def _writing(self, parsed: ParsedStatement, word: str, work: Callable[[StatementRunner], T]) -> T:
        """Do `work` in the open transaction, or in one of its own."""
        if self._store.is_read_only:
            raise ReadOnlyStore(f"execute {word}")
        state = self._state
        if state is not None:
            state.runner.check_writable(word)
            state.settle_results()
            state.begin_statement(parsed.sql)
            return work(state.runner)
        transaction = self._begin_alone(parsed.sql, read_only=False)
        runner = StatementRunner(self._shared, transaction, self._shared.clock())
        try:
            runner.check_writable(word)
            done = work(runner)
            transaction.commit()
        except BaseException:
            transaction.rollback()
            raise
        return done

    # --- transactions -------------------------------------------------------------------

    def _control(self, syntax: ControlStatement, given: Parameters) -> str:
        """BEGIN and its kin; the tag."""
        if isinstance(syntax, ast.Begin):
            self._begin_as_said(syntax, given)
            return "BEGIN"
        if isinstance(syntax, ast.Commit):
            return "COMMIT" if self._commit() else "ROLLBACK"
        if isinstance(syntax, ast.Rollback):
            self._rollback()
            return "ROLLBACK"
        if isinstance(syntax, ast.CreateSavepoint):
            self._open_state("SAVEPOINT").add_savepoint(syntax.name)
            return "SAVEPOINT"
        if isinstance(syntax, ast.RollbackToSavepoint):
            self._open_state("ROLLBACK TO SAVEPOINT").rollback_to(syntax.name)
            return "ROLLBACK"
        self._open_state("RELEASE SAVEPOINT").release(syntax.name)
        return "RELEASE"

    def _begin_as_said(self, syntax: ast.Begin, given: Parameters) -> None:
        if syntax.is_read_only is False and self._store.is_read_only:
            raise ReadOnlyStore("begin a transaction READ WRITE")
        if syntax.as_of is None:
            self._begin(syntax.isolation, syntax.is_read_only)
            return
        from ferrisdb.query.past import check_level, version_of  # noqa: PLC0415

        check_level(syntax.isolation)
        with located(syntax.as_of.position):
            as_of = version_of(syntax.as_of, given, self._store)
            self._begin(syntax.isolation, True, as_of=as_of)

    def _begin(
        self,
        isolation: IsolationLevel | None,
        read_only: bool | None,
        durability: Durability | None = None,
        as_of: CommitToken | None = None,
    ) -> None:
        if self._state is not None:
            raise ActiveTransaction(
                "there is already a transaction in progress",
                hint="COMMIT or ROLLBACK it first; a part of it is a SAVEPOINT",
            )
        self._shared.end_abandoned()
        settings = self.settings.current
        level = isolation or settings.default_transaction_isolation
        if read_only is None:
            read_only = settings.default_transaction_read_only
        transaction = self._store.begin(level, read_only=read_only, durability=durability, as_of=as_of)
        runner = StatementRunner(self._shared, transaction, self._shared.clock())
        self._state = TransactionState(transaction, runner, self.settings)
        self._state.apply_settings()

    def _limit_waits(self, lock_timeout_s: float | None) -> None:
        """In the transaction that was just begun, if it is said for this one."""
        if self._state is not None and lock_timeout_s is not None:
            self.settings.change(is_local=True, lock_timeout_ms=timeout_ms(lock_timeout_s))
            self._state.apply_settings()

    def _begin_alone(self, text: str, *, read_only: bool) -> Transaction:
        self._shared.end_abandoned()
        settings = self.settings.current
        read_only = read_only or settings.default_transaction_read_only
        transaction = self._store.begin(settings.default_transaction_isolation, read_only=read_only)
        transaction.lock_timeout_s = settings.lock_timeout_s
        transaction.begin_statement(text)
        return transaction

    def _commit(self) -> bool:
        """False when the transaction had failed and was rolled back instead."""
        state = self._open_state("COMMIT")
        if state.is_failed:
            self._rollback()
            state.check_not_ended_by_force()
            return False
        state.settle_results()
        try:
            state.transaction.commit()
        except BaseException:
            self._rollback()
            raise
        self._state = None
        self.settings.commit()
        return True

    def _rollback(self) -> None:
        state = self._open_state("ROLLBACK")
        self.settings.rollback()
        state.revoke_results(InterfaceError("the transaction of this result was rolled back"))
        state.transaction.rollback()
        # Only now: one that an interrupt leaves half ended is found, by the program or a finaliser.
        self._state = None

    def _open_state(self, word: str) -> TransactionState:
        if self._state is None:
            raise NoActiveTransaction(f"{word} outside of a transaction", hint="BEGIN opens one")
        return self._state

    # --- checks -------------------------------------------------------------------------

    def _check_usable(self) -> None:
        if self._is_closed:
            raise InterfaceError("the session is closed")

    def _check_not_failed(self, syntax: ast.Statement) -> None:
        state = self._state
        if state is None or not state.is_failed:
            return
        if not isinstance(syntax, (ast.Commit, ast.Rollback, ast.RollbackToSavepoint)):
            state.check_not_ended_by_force()
            raise InFailedTransaction(
                "the transaction has failed: commands are ignored until it ends",
                hint="ROLLBACK, or ROLLBACK TO a savepoint",
            )

    def _fail(self) -> None:
        if self._state is not None:
            self._state.fail()


def _nothing() -> None:
    """A result of an open transaction leaves nothing behind: the transaction goes on."""
