"""One statement in a transaction that is given: prepare it, lock its table, run it.

    text, catalog version, kinds of parameters  ->  prepared statement     cached
    INSERT, UPDATE, DELETE    lock the table against DDL, run, count
    executemany               one preparation, rows gathered into batches

Which transaction, and what becomes of it, is the session's business.

A statement that changes rows first takes its table's catalog key in share mode, which DDL
writes. So no writer works on a table while it is altered, and one whose snapshot is older
than a committed DDL gets a SerializationFailure instead of writing rows in an old shape.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from ferrisdb.errors import InterfaceError, UndefinedParameter, invariant
from ferrisdb.query import ast
from ferrisdb.query.catalog import table_key
from ferrisdb.query.change.execution import Execution
from ferrisdb.query.change.insert import INSERT_BATCH_ROWS, PreparedInsert
from ferrisdb.query.define import Definition, SchemaStatement, run_schema_statement
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.prepared import (
    Prepared,
    PreparedChange,
    PreparedExplain,
    PreparedQuery,
    prepare_change,
    prepare_explain,
    prepare_query,
)
from ferrisdb.query.result import Row
from ferrisdb.query.shared_state import ParsedStatement, SharedState
from ferrisdb.query.statement_cache import MAX_CACHED_CHARACTERS
from ferrisdb.query.types import Value
from ferrisdb.txn.api import LockMode, Transaction

ParameterRow = Sequence[object] | Mapping[str, object]


class StatementRunner:
    """Runs statements of one transaction at one moment. `now` is what CURRENT_TIMESTAMP gives."""

    def __init__(self, shared: SharedState, transaction: Transaction, now: datetime) -> None:
        self._shared = shared
        self._transaction = transaction
        self._now = now

    def prepare(self, parsed: ParsedStatement, given: Parameters) -> Prepared:
        """From the cache, or anew. Raises what binding and planning raise."""
        catalog = self._shared.catalog.view(self._transaction)
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
        else:
            invariant(is_change(syntax), "only queries and changes are prepared")
            prepared = prepare_change(syntax, catalog, given)  # type: ignore[arg-type]
        if len(parsed.sql) <= MAX_CACHED_CHARACTERS:
            self._shared.plans.put(key, prepared)
        return prepared

    def query(self, prepared: PreparedQuery, given: Parameters) -> Iterator[list[Row]]:
        """The rows, made while they are taken."""
        return prepared.plan.run(self._transaction, given, self._now)

    def define(self, syntax: SchemaStatement) -> str:
        """Run a CREATE or DROP: its tag."""
        catalog = self._shared.catalog.view(self._transaction)
        definition = Definition(self._transaction, catalog, self._now)
        return run_schema_statement(syntax, definition)

    def change(self, parsed: ParsedStatement, given: Parameters) -> int:
        """Run an INSERT, UPDATE or DELETE: the number of rows."""
        prepared = self._prepare_change(parsed, given)
        self._lock(prepared)
        return prepared.run(self._execution(given))

    def change_many(self, parsed: ParsedStatement, rows: Iterable[ParameterRow]) -> int:
        """Run it with each of the parameters, in order: the number of rows together."""
        by_signature: dict[Hashable, PreparedChange] = {}
        batch = _InsertBatch()
        count = 0
        for row in rows:
            given = Parameters.of(row)
            prepared = by_signature.get(given.signature)
            if prepared is None:
                prepared = by_signature[given.signature] = self._prepare_change(parsed, given)
                self._lock(prepared)
            execution = self._execution(given)
            if isinstance(prepared, PreparedInsert) and not prepared.reads_store:
                count += batch.add(prepared, execution)
            else:
                batch.write()
                count += prepared.run(execution)
        batch.write()
        return count

    def _prepare_change(self, parsed: ParsedStatement, given: Parameters) -> PreparedChange:
        prepared = self.prepare(parsed, given)
        if isinstance(prepared, (PreparedQuery, PreparedExplain)):
            raise InterfaceError(
                "execute_many runs INSERT, UPDATE or DELETE", hint="run a query with execute"
            )
        return prepared

    def _lock(self, prepared: PreparedChange) -> None:
        self._transaction.lock([table_key(prepared.table_name)], LockMode.SHARE)

    def _execution(self, given: Parameters) -> Execution:
        return Execution(self._transaction, given, self._now, self._shared.row_ids)


class _InsertBatch:
    """Rows of the same INSERT, run many times, on their way to be written together."""

    def __init__(self) -> None:
        self._rows: list[list[Value]] = []
        self._last: tuple[PreparedInsert, Execution] | None = None

    def add(self, prepared: PreparedInsert, execution: Execution) -> int:
        rows = prepared.rows(execution)
        self._rows += rows
        self._last = (prepared, execution)
        if len(self._rows) >= INSERT_BATCH_ROWS:
            self.write()
        return len(rows)

    def write(self) -> None:
        if self._last is not None:
            prepared, execution = self._last
            rows, self._rows, self._last = self._rows, [], None
            prepared.write(execution, rows)


def is_change(syntax: ast.Statement) -> bool:
    return isinstance(syntax, (ast.Insert, ast.Update, ast.Delete))


def check_parameters(parsed: ParsedStatement, given: Parameters) -> None:
    """Values without a place are an error; a mapping may hold more than is used."""
    wanted = parsed.parameters
    surplus = [key for key in given.values if isinstance(key, int) and key not in wanted]
    if surplus and max(surplus) > max((key for key in wanted if isinstance(key, int)), default=0):
        places = sum(isinstance(key, int) for key in wanted)
        raise UndefinedParameter(
            f"{len(given.values)} values were given for {places} parameter{'' if places == 1 else 's'}"
        )
