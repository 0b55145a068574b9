"""One statement in a transaction that is given: prepare it, lock its table, run it.

    text, catalog version, kinds of parameters  ->  prepared statement     cached
    INSERT, UPDATE, DELETE    lock the table against DDL, run, count
    executemany               one preparation, rows gathered into batches

Which transaction, and what becomes of it, is the session's business.

A statement that changes rows first takes its table's catalog key in share mode, which DDL
writes. So no writer works on a table while it is altered, and one whose snapshot is older
than a committed DDL gets a SerializationFailure instead of writing rows in an old shape. At
read committed it is prepared anew, on the newest catalog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from ferrisdb.errors import ReadOnlyTransaction, UndefinedParameter, broken
from ferrisdb.query import ast
from ferrisdb.query.catalog import CatalogView, lock_catalog, table_key
from ferrisdb.query.change.execution import Execution
from ferrisdb.query.change.targets import find_table
from ferrisdb.query.define.statements import SchemaStatement, run_schema_statement
from ferrisdb.query.guard import Guard
from ferrisdb.query.parameters import NO_PARAMETERS, Parameters
from ferrisdb.query.plan import Row
from ferrisdb.query.prepared import (
    EXPLAIN_COLUMNS,
    ChangeStatement,
    Prepared,
    PreparedChange,
    PreparedExplain,
    PreparedQuery,
    prepare_change,
    prepare_explain,
    prepare_query,
)
from ferrisdb.query.result import Result, RowSource
from ferrisdb.query.shared_state import ParsedStatement, SharedState
from ferrisdb.query.statement_cache import MAX_CACHED_CHARACTERS
from ferrisdb.txn.api import IsolationLevel, LockMode, Transaction, Waiting

ParameterRow = Sequence[object] | Mapping[str, object]


class StatementRunner:
    """Runs the statements of one transaction. `now` is what CURRENT_TIMESTAMP gives."""

    def __init__(self, shared: SharedState, transaction: Transaction, now: datetime) -> None:
        self._shared = shared
        self._transaction = transaction
        self._now = now
        self._catalog: CatalogView | None = None

    def for_transaction(self, transaction: Transaction) -> StatementRunner:
        """One with the same clock."""
        return StatementRunner(self._shared, transaction, self._now)

    def check_writable(self, word: str) -> None:
        """Raises ReadOnlyTransaction. `word` is what the statement is called."""
        if self._transaction.is_read_only:
            raise ReadOnlyTransaction(f"cannot execute {word} in a read-only transaction")

    def forget_catalog(self) -> None:
        """After the transaction's own DDL, and after a part of it was undone."""
        self._catalog = None

    def prepare(self, parsed: ParsedStatement, given: Parameters) -> Prepared:
        """From the cache, or anew. Raises what binding and planning raise."""
        catalog = self._catalog or self._see_catalog()
        key = (parsed.sql, catalog.version, given.signature)
        prepared = self._shared.plans.get(key)
        if prepared is not None:
            return prepared
        check_parameters(parsed, given)
        syntax = parsed.syntax
        if isinstance(syntax, ast.Query):
            prepared = prepare_query(syntax, catalog, given)
        elif isinstance(syntax, ast.Explain):
            prepared = prepare_explain(syntax, catalog, given)
        elif isinstance(syntax, ChangeStatement):
            prepared = prepare_change(syntax, catalog, given)
        else:
            broken("only queries and changes are prepared")
        if len(parsed.sql) <= MAX_CACHED_CHARACTERS:
            self._shared.plans.put(key, prepared)
        return prepared

    def query(self, prepared: PreparedQuery, given: Parameters) -> Iterator[list[Row]]:
        """The rows, made while they are taken."""
        return prepared.plan.run(self._transaction, given, self._now)

    def result(
        self,
        parsed: ParsedStatement,
        given: Parameters,
        *,
        guard: Guard,
        end: Callable[[BaseException | None], None],
        abandon: Callable[[], None],
    ) -> Result:
        """The result of a query or an EXPLAIN, with its first rows made. See `RowSource`."""
        prepared = self.prepare(parsed, given)
        if isinstance(prepared, PreparedExplain):
            end(None)
            return Result("EXPLAIN", EXPLAIN_COLUMNS, ready=[(line,) for line in prepared.lines])
        if not isinstance(prepared, PreparedQuery):
            broken("a query is prepared as one")
        source = RowSource(self.query(prepared, given), guard, end, abandon)
        result = Result("SELECT", prepared.plan.columns, source=source)
        result.make_first_rows()
        return result

    def locking_query(self, parsed: ParsedStatement, given: Parameters) -> tuple[PreparedQuery, list[Row]]:
        """Run a query that locks rows, to its end: whoever asked holds them all."""
        while True:
            prepared = self.prepare(parsed, given)
            if not isinstance(prepared, PreparedQuery):
                broken("a query is prepared as one")
            tables = [table_key(name) for name in prepared.plan.locked_tables]
            # As a change does: no DDL while its rows are held.
            if not self._transaction.lock(tables, LockMode.SHARE).changed:
                return prepared, [row for batch in self.query(prepared, given) for row in batch]
            self._transaction.begin_statement(parsed.sql)

    def define(self, syntax: SchemaStatement) -> None:
        """Run a CREATE or DROP."""
        if self._transaction.isolation is IsolationLevel.READ_COMMITTED:
            lock_catalog(self._transaction)
        catalog = self._see_catalog()
        self.forget_catalog()
        run_schema_statement(syntax, self.execution(NO_PARAMETERS), catalog)

    def change(self, parsed: ParsedStatement, given: Parameters) -> int:
        """Run an INSERT, UPDATE or DELETE: the number of rows."""
        prepared = self.prepare_change(parsed, given)
        return prepared.run(self.execution(given))

    def change_many(self, parsed: ParsedStatement, rows: Iterable[ParameterRow]) -> int:
        """Run it with each of the parameters, in order: the number of rows together."""
        # It brings along what inserts; see prepared.prepare_change.
        from ferrisdb.query.many_runs import ManyRuns  # noqa: PLC0415

        return ManyRuns(self, parsed).run(rows)

    def prepare_change(self, parsed: ParsedStatement, given: Parameters) -> PreparedChange:
        """As `prepare`, and its tables are locked against DDL."""
        while True:
            prepared = self.prepare(parsed, given)
            if isinstance(prepared, (PreparedQuery, PreparedExplain)):
                broken("a change is prepared as one")
            locked = self._transaction.lock(
                [table_key(name) for name in prepared.table_names], LockMode.SHARE
            )
            if not locked.changed:
                return prepared
            # At read committed: the table was altered after the statement had seen it.
            self._transaction.begin_statement(parsed.sql)

    def lock_tables(self, syntax: ast.LockTable) -> None:
        """Keep others from changing the tables, or, in a shared mode, from locking them whole."""
        mode = LockMode.SHARE if syntax.is_shared else LockMode.EXCLUSIVE
        waiting = Waiting.NOWAIT if syntax.is_nowait else Waiting.WAIT
        # Before anything is read: of a transaction that begins with it, the snapshot has all that
        # was waited for.
        for table in syntax.tables:
            self._transaction.lock([table_key(table.text)], mode, waiting)
        catalog = self._see_catalog()
        for table in syntax.tables:
            find_table(catalog, table.text, table.position)

    def _see_catalog(self) -> CatalogView:
        catalog = self._shared.catalog.view(self._transaction)
        # One snapshot shows one catalog. At read committed the next statement may see another.
        if self._transaction.isolation is not IsolationLevel.READ_COMMITTED:
            self._catalog = catalog
        return catalog

    def execution(self, given: Parameters) -> Execution:
        return Execution(self._transaction, given, self._now, self._shared.row_ids)


def check_parameters(parsed: ParsedStatement, given: Parameters) -> None:
    """Values without a place are an error; a mapping may hold more than is used."""
    wanted = parsed.parameters
    surplus = [key for key in given.values if isinstance(key, int) and key not in wanted]
    if surplus and max(surplus) > max((key for key in wanted if isinstance(key, int)), default=0):
        places = sum(isinstance(key, int) for key in wanted)
        raise UndefinedParameter(
            f"{len(given.values)} values were given for {places} parameter{'' if places == 1 else 's'}"
        )
