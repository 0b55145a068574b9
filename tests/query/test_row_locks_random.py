"""Looking again at a row that has not changed shows the same row.

At read committed a locked row that others have changed goes through the query once more, by a
plan of its own: its newest bytes in the place of the table, all other tables as they were. Here
every row is taken for changed, whatever the query: what comes out must be what the query gives
without locks. FERRISDB_QUERIES=20000 asks more; FERRISDB_SEED=7 asks others.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import random_queries
from random_queries import QueryMaker
from test_queries_random import Ferris, comparable

from ferrisdb.errors import NotSupportedError
from ferrisdb.query import ast
from ferrisdb.query.parse import parse_statement
from ferrisdb.query.row_locks import RowLocker

SEED = int(os.environ.get("FERRISDB_SEED", random.randrange(10**6)))
QUERIES = int(os.environ.get("FERRISDB_QUERIES", "400"))


def tables_that_are_always_there(items: Sequence[ast.FromItem]) -> Iterator[str]:
    for item in items:
        if isinstance(item, ast.Join):
            sides = [item.left] if item.kind is ast.JoinKind.LEFT else [item.left, item.right]
            yield from tables_that_are_always_there(sides)
        elif isinstance(item, ast.TableRef):
            yield item.alias or item.name


def test_looking_again_at_the_same_row_shows_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    print(f"seed {SEED}, {QUERIES} queries")
    chance = random.Random(SEED)
    looked_at, asked = 0, 0

    def look_again(self: RowLocker, shown: Any, stored: Any, kept: Any) -> Any:
        nonlocal looked_at
        looked_at += 1
        return self._look_again(stored, kept)

    monkeypatch.setattr(RowLocker, "lock", look_again)
    while asked < QUERIES:
        rows = random_queries.rows(chance)
        database = Ferris(rows, has_indexes=chance.random() < 0.5)
        for _ in range(40):
            maker = QueryMaker(chance)
            sql = maker.query().replace(" @last", "").replace(" @first", "")
            syntax = parse_statement(sql)
            assert isinstance(syntax, ast.Query)
            if not isinstance(syntax.body, ast.Select):
                continue
            tables = list(tables_that_are_always_there(syntax.body.from_items))
            named = chance.sample(tables, chance.randint(0, len(tables)))
            of = f" OF {', '.join(named)}" if named else ""
            locking = f"{sql} FOR {chance.choice(('UPDATE', 'KEY SHARE'))}{of}"
            try:
                found = database.answer(locking, maker.parameters)
            except NotSupportedError:
                continue  # Grouped, DISTINCT, or with a table that may be absent.
            asked += 1
            expected = comparable(database.answer(sql, maker.parameters), sql)
            assert comparable(found, sql) == expected, f"{locking} {maker.parameters} over {rows}"
    assert looked_at > QUERIES
