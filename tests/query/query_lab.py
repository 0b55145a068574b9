"""A small shop, and what the query tests do with it.

`item` has a primary key and two indexes, `sale` has no key at all, `maker` is small. NULLs
stand in every column that may have them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from ferrisdb.query import ast
from ferrisdb.query.algebra.operators import Plan
from ferrisdb.query.bind.query_binder import QueryBinder
from ferrisdb.query.catalog import CatalogCache
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.parse import parse_statement
from ferrisdb.query.plan import PlannedQuery, plan_query
from ferrisdb.query.session import Session, SharedState
from ferrisdb.txn.local import LocalStore

NOON = datetime(2024, 2, 29, 12, 0)

SCHEMA = [
    """CREATE TABLE item (id INTEGER PRIMARY KEY, maker INTEGER, name TEXT, price DOUBLE,
       stock INTEGER NOT NULL)""",
    "CREATE INDEX item_by_maker ON item (maker, stock)",
    "CREATE UNIQUE INDEX item_by_name ON item (name)",
    "CREATE TABLE maker (id INTEGER PRIMARY KEY, name TEXT NOT NULL, town TEXT)",
    "CREATE TABLE sale (item INTEGER, day INTEGER, amount INTEGER)",
    "CREATE TABLE visit (town TEXT, day INTEGER, guests INTEGER, PRIMARY KEY (town, day))",
]

ITEMS = [
    (n, None if n % 7 == 0 else n % 5, f"i{n}" if n % 4 else None, None if n % 6 == 0 else n / 4, n % 3)
    for n in range(1, 31)
]
MAKERS = [(n, f"m{n}", ("rome", "oslo", None)[n % 3]) for n in range(6)]
SALES = [(None if n % 9 == 0 else n % 13, n % 4, None if n % 11 == 0 else n) for n in range(40)]
VISITS = [(town, day, day * 3 % 7) for town in ("oslo", "rome", "wien") for day in range(4)]
ROWS = {"item": ITEMS, "maker": MAKERS, "sale": SALES, "visit": VISITS}


class Lab:
    """One database with the shop in it, and the same rows in sqlite3."""

    def __init__(self, *, has_indexes: bool = True) -> None:
        self.store = LocalStore.in_memory()
        self.session = Session(self.store, SharedState(clock=lambda: NOON))
        for statement in SCHEMA:
            if has_indexes or "INDEX" not in statement:
                self.session.execute(statement)
        for table, rows in ROWS.items():
            marks = ", ".join("?" * len(rows[0]))
            self.session.execute_many(f"INSERT INTO {table} VALUES ({marks})", rows)
        self.catalog = CatalogCache().view(self.store.begin())

    def plan(self, sql: str, parameters: Parameters) -> PlannedQuery:
        return plan_query(self.query(sql), self.catalog, parameters)

    def query(self, sql: str) -> ast.Query:
        syntax = parse_statement(sql)
        assert isinstance(syntax, ast.Query)
        return syntax

    def bound(self, sql: str) -> Plan:
        """The plan before any rule."""
        return QueryBinder(self.catalog, Parameters.of(None)).bind(self.query(sql)).plan

    def rows(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        parameters = Parameters.of(values)
        tx = self.store.begin()
        try:
            batches = self.plan(sql, parameters).run(tx, parameters, NOON)
            return [row for batch in batches for row in batch]
        finally:
            tx.rollback()

    def explain(self, sql: str) -> list[str]:
        return self.plan(sql, Parameters.of(None)).explain()


def sqlite_with_the_same_rows() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA case_sensitive_like = 1")
    for statement in SCHEMA:
        connection.execute(statement)
    for table, rows in ROWS.items():
        connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
    return connection


def plain(rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Rows as both databases can say them: sqlite3 has neither BOOLEAN nor NUMERIC."""
    return [tuple(float(v) if isinstance(v, (bool, Decimal, int)) else v for v in row) for row in rows]


def blocks(text: str) -> list[list[str]]:
    """The paragraphs of a fixture."""
    return [block.split("\n") for block in text.strip("\n").split("\n\n")]


def answered(text: str, answer: Callable[[str], list[str]]) -> str:
    """The fixture with each paragraph's answer, four spaces in, written anew below its SQL."""
    written = []
    for block in blocks(text):
        asked = [line for line in block if not line.startswith("    ")]
        sql = "\n".join(line for line in asked if not line.startswith("#"))
        lines = asked + ["    " + line for line in (answer(sql) if sql else [])]
        written.append("\n".join(line.rstrip() for line in lines))
    return "\n\n".join(written) + "\n"
