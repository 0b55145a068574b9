"""What all sessions of one open database share.

    catalog      the schema of each catalog version, decoded once
    statements   text -> syntax tree
    plans        text, catalog version, kinds of parameters -> prepared statement
    row_ids      hidden keys of tables without a primary key
    abandoned    transactions of results that were dropped half-read

Everything here is thread-safe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from datetime import UTC, datetime

from ferrisdb.immutable import immutable
from ferrisdb.query import ast
from ferrisdb.query.catalog import CatalogCache
from ferrisdb.query.change.row_ids import RowIdAllocator
from ferrisdb.query.change.syntax import locks_rows, parameter_keys
from ferrisdb.query.parse import parse_statement
from ferrisdb.query.prepared import Prepared
from ferrisdb.query.statement_cache import MAX_CACHED_CHARACTERS, MAX_PLANS, MAX_STATEMENTS, LruCache
from ferrisdb.txn.api import Transaction

PlanKey = tuple[str, Hashable, Hashable]


@immutable
class ParsedStatement:
    """`parameters` are the numbers and names of the parameters it mentions; `locks_rows`: it
    says FOR UPDATE or one of its kin, somewhere."""

    sql: str
    syntax: ast.Statement
    parameters: frozenset[int | str]
    locks_rows: bool


def utc_now() -> datetime:
    """The clock behind CURRENT_TIMESTAMP: UTC, as TIMESTAMP has no time zone."""
    return datetime.now(UTC).replace(tzinfo=None)


class SharedState:
    """One for each open database. `clock` gives the time of statements."""

    def __init__(self, *, clock: Callable[[], datetime] = utc_now) -> None:
        self.catalog = CatalogCache()
        self.plans: LruCache[PlanKey, Prepared] = LruCache(MAX_PLANS)
        self.row_ids = RowIdAllocator()
        self.clock = clock
        self._statements: LruCache[str, ParsedStatement] = LruCache(MAX_STATEMENTS)
        self._abandoned: deque[Transaction] = deque()

    def parse(self, sql: str) -> ParsedStatement:
        """Exactly one statement. Raises SqlSyntaxError."""
        parsed = self._statements.get(sql)
        if parsed is None:
            syntax = parse_statement(sql)
            parsed = ParsedStatement(sql, syntax, parameter_keys(syntax), locks_rows(syntax))
            if len(sql) <= MAX_CACHED_CHARACTERS:
                self._statements.put(sql, parsed)
        return parsed

    def abandon(self, transaction: Transaction) -> None:
        """Leave a transaction that nobody holds any more to whoever comes next.

        Called from a finaliser, which may run inside the store's own locks: ending the
        transaction there could wait for a lock that this very thread holds.
        """
        self._abandoned.append(transaction)

    def end_abandoned(self) -> None:
        """Roll back what was abandoned. Cheap when there is nothing."""
        while self._abandoned:
            try:
                transaction = self._abandoned.popleft()
            except IndexError:  # another thread took the last one
                return
            transaction.rollback()
