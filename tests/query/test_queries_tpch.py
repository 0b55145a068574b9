"""TPC-H at scale 0.01: the rows are loaded as bytes, the answers compared."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ferrisdb.query import ast
from ferrisdb.query.catalog import CatalogCache, CatalogView
from ferrisdb.query.encoding.key_codec import KeyCodec
from ferrisdb.query.encoding.row_codec import RowCodec
from ferrisdb.query.keyspace import row_prefix
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.parse import parse_statement
from ferrisdb.query.plan import PlannedQuery, plan_query
from ferrisdb.query.session import Session, SharedState
from ferrisdb.query.types import Kind
from ferrisdb.txn.api import Transaction
from ferrisdb.txn.local import LocalStore

TPCH = Path(__file__).parents[3] / "shared" / "suites" / "tpch"
QUERIES = sorted((TPCH / "queries").glob("*.sql"))

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not QUERIES, reason="the TPC-H suite does not lie beside this checkout"),
]

READERS: dict[Kind, Callable[[str], Any]] = {
    Kind.INTEGER: int,
    Kind.NUMERIC: Decimal,
    Kind.DATE: date.fromisoformat,
    Kind.TEXT: str,
}


@pytest.fixture(scope="module")
def database() -> tuple[Transaction, CatalogView]:
    store = LocalStore.in_memory()
    session = Session(store, SharedState())
    for statement in (TPCH / "schema.sql").read_text().split(";"):
        if statement.strip():
            session.execute(statement)
    tx = store.begin()
    catalog = CatalogCache().view(tx)
    for table in catalog.tables():
        codec, prefix = RowCodec(table.columns), row_prefix(table.id)
        key = KeyCodec([table.columns[position].type for position in table.primary_key])
        readers = [READERS[column.type.kind] for column in table.columns]
        with gzip.open(TPCH / f"{table.name}.csv.gz", "rt") as lines:
            for cells in list(csv.reader(lines))[1:]:
                row = [read(cell) for read, cell in zip(readers, cells, strict=True)]
                tx.put(prefix + key.encode([row[p] for p in table.primary_key]), codec.encode(row))
    return tx, catalog


def planned(path: Path, catalog: CatalogView) -> PlannedQuery:
    query = parse_statement(path.read_text())
    assert isinstance(query, ast.Query)
    return plan_query(query, catalog, Parameters.of(None))


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
def test_the_answer_is_the_published_one(path: Path, database: tuple[Transaction, CatalogView]) -> None:
    tx, catalog = database
    plan = planned(path, catalog)
    assert not [line for line in plan.explain() if "Cross join" in line or "Loop join" in line]
    (answer,) = (TPCH / "answers").glob(f"{path.stem}.*")
    expected = [line.split("|") for line in answer.read_text().splitlines()[1:]]
    batches = plan.run(tx, Parameters.of(None), datetime(2024, 1, 1))
    rows = [row for batch in batches for row in batch]
    assert len(rows) == len(expected)
    for row, cells in zip(rows, expected, strict=True):
        assert all(is_same(value, cell) for value, cell in zip(row, cells, strict=True)), (row, cells)


def is_same(value: object, cell: str) -> bool:
    """Published answers round; money to the cent."""
    if isinstance(value, (int, Decimal)):
        return abs(float(value) - float(cell)) <= 0.006 + 1e-9 * abs(float(cell))
    return str(value) == cell
