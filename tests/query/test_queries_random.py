"""Random queries: sqlite3, and FerrisDB by several plans, give the same rows.

The plans are those with indexes, those without, and those of an optimiser that has lost one
of its rules. A rule that may be left out must change what a query costs, never what it
says. FERRISDB_QUERIES=20000 asks more; FERRISDB_SEED=7 asks others.
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
import random_queries
from query_lab import NOON
from random_queries import QueryMaker

from ferrisdb.query import optimise
from ferrisdb.query.algebra.operators import Join, LoopJoin, Plan, Scan
from ferrisdb.query.ast import JoinKind
from ferrisdb.query.catalog import CatalogCache, CatalogView
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.parse import parse_statement
from ferrisdb.query.plan import plan_query
from ferrisdb.query.session import Session, SharedState
from ferrisdb.txn.api import Transaction
from ferrisdb.txn.local import LocalStore

SEED = int(os.environ.get("FERRISDB_SEED", "20240229"))
QUERIES = int(os.environ.get("FERRISDB_QUERIES", "300"))
QUERIES_PER_DATABASE = 60

Rule = Callable[[Plan], Plan]
Rows = dict[str, list[tuple[object, ...]]]


def nested_loops(plan: Plan) -> Plan:
    """What order_joins must do at the least."""
    plan = plan.with_inputs([nested_loops(child) for child in plan.inputs()])
    if not isinstance(plan, Join):
        return plan
    kind = JoinKind.INNER if plan.kind is JoinKind.CROSS else plan.kind
    return LoopJoin(plan.left, plan.right, kind, plan.conditions, False)


def every_column(plan: Plan) -> Plan:
    """What prune_columns must do at the least."""
    plan = plan.with_inputs([every_column(child) for child in plan.inputs()])
    return replace(plan, columns=tuple(plan.source.slots.values())) if isinstance(plan, Scan) else plan


LEAST: dict[str, Rule] = {"order_joins": nested_loops, "prune_columns": every_column}


def without(lost: Rule) -> tuple[Rule, ...]:
    """All rules but one; what nothing can run without stays as little as it can be."""
    kept = [LEAST.get(rule.__name__) if rule is lost else rule for rule in optimise.RULES]
    return tuple(rule for rule in kept if rule is not None)


PLANS: dict[str, tuple[Rule, ...]] = {
    "all rules": optimise.RULES,
    "no rules": (nested_loops, every_column),
    **{f"without {rule.__name__}": without(rule) for rule in optimise.RULES},
}


class Ferris:
    def __init__(self, rows: Rows, *, has_indexes: bool) -> None:
        store = LocalStore.in_memory()
        session = Session(store, SharedState(clock=lambda: NOON))
        for statement in random_queries.schema() + random_queries.INDEXES * has_indexes:
            session.execute(statement)
        for table, listed in rows.items():
            session.execute_many(insertion(table), listed)
        self._tx: Transaction = store.begin()
        self._catalog: CatalogView = CatalogCache().view(self._tx)

    def answer(self, sql: str, values: list[object]) -> list[tuple[object, ...]]:
        parameters = Parameters.of(values)
        plan = plan_query(parse_statement(sql), self._catalog, parameters)  # type: ignore[arg-type]
        return [row for batch in plan.run(self._tx, parameters, NOON) for row in batch]


def insertion(table: str) -> str:
    return f"INSERT INTO {table} VALUES ({', '.join('?' * len(random_queries.TABLES[table]))})"


def sqlite(rows: Rows) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute("PRAGMA case_sensitive_like = 1")
    for statement in random_queries.schema():
        connection.execute(statement)
    for table, listed in rows.items():
        connection.executemany(insertion(table), listed)
    return connection


def comparable(rows: list[tuple[object, ...]], sql: str) -> list[tuple[object, ...]]:
    """Numbers of one kind, and an order of our own where the query asked for none."""
    plain = [
        tuple(round(float(v), 6) if isinstance(v, (int, float, Decimal)) else v for v in row) for row in rows
    ]
    is_ordered = ")" not in sql.rpartition("ORDER BY")[2] and "ORDER BY" in sql
    return plain if is_ordered else sorted(plain, key=repr)


def test_all_plans_and_sqlite_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    print(f"seed {SEED}, {QUERIES} queries")
    chance = random.Random(SEED)
    for number in range(QUERIES):
        if number % QUERIES_PER_DATABASE == 0:
            rows = random_queries.rows(chance)
            indexed, plain, oracle = (
                Ferris(rows, has_indexes=True),
                Ferris(rows, has_indexes=False),
                sqlite(rows),
            )
        maker = QueryMaker(chance)
        query = maker.query()
        sql = query.replace(" @last", "").replace(" @first", "")
        theirs = query.replace("@last", "NULLS LAST").replace("@first", "NULLS FIRST")
        expected = comparable(oracle.execute(theirs, maker.parameters).fetchall(), sql)
        for database, rules in (
            (indexed, "all rules"),
            (plain, "all rules"),
            (indexed, chance.choice([*PLANS])),
        ):
            monkeypatch.setattr(optimise, "RULES", PLANS[rules])
            shown = f"query {number}, {rules}: {sql} {maker.parameters} over {rows}"
            assert comparable(database.answer(sql, maker.parameters), sql) == expected, shown
