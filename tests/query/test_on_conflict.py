"""ON CONFLICT against a model in a dozen lines, and against sqlite3 where the two mean the same.

The model is a list of rows and the sentence "each row in its turn". sqlite3 differs in three
points, which the model knows: it lets a command change a row twice, it looks at the other keys
before the one that is named, and it goes on with a row that is itself wrong.
"""

from __future__ import annotations

import random
import sqlite3
from dataclasses import dataclass, field

import pytest
from index_consistency import check_indexes

from ferrisdb.errors import CardinalityViolation, Error, UniqueViolation
from ferrisdb.query.session import Session, SharedState
from ferrisdb.txn.local import LocalStore

Row = tuple[int, int | None, int]
SCHEMA = "CREATE TABLE t (id INTEGER PRIMARY KEY, u INTEGER UNIQUE, n INTEGER)"


class TwiceError(Exception):
    pass


class TakenError(Exception):
    pass


@dataclass
class Clause:
    """`target` is a column, or None for any; `sets` are None for DO NOTHING."""

    target: int | None
    sets: str | None
    is_only_small: bool

    def sql(self) -> str:
        target = "" if self.target is None else f" ({'id' if self.target == 0 else 'u'})"
        if self.sets is None:
            return f"ON CONFLICT{target} DO NOTHING"
        where = " WHERE t.n < 50" if self.is_only_small else ""
        return f"ON CONFLICT{target} DO UPDATE SET {SETS[self.sets]}{where}"

    def changed(self, old: Row, new: Row) -> Row:
        return {
            "sum": (old[0], old[1], old[2] + new[2]),
            "unique": (old[0], new[1], new[2]),
            "key": (new[0], old[1], old[2]),
            "null": (old[0], None, old[2] + 1),
        }[self.sets or ""]


SETS = {
    "sum": "n = t.n + excluded.n",
    "unique": "u = excluded.u, n = excluded.n",
    "key": "id = excluded.id",
    "null": "u = NULL, n = t.n + 1",
}


@dataclass
class Model:
    rows: list[Row] = field(default_factory=list)
    is_sqlite_elsewhere: bool = False
    """Whether the last command was one that sqlite3 takes in another way."""

    def holder(self, column: int, row: Row) -> Row | None:
        return next((r for r in self.rows if r[column] == row[column] and r[column] is not None), None)

    def insert(self, proposed: list[Row], clause: Clause) -> int:
        before, affected, count = list(self.rows), set(), 0
        self.is_sqlite_elsewhere = False
        try:
            for row in proposed:
                standing = {column: self.holder(column, row) for column in (0, 1)}
                if clause.target is not None and all(standing.values()):
                    self.is_sqlite_elsewhere = True
                arbiters = [0, 1] if clause.target is None else [clause.target]
                old = next((found for column in arbiters if (found := standing[column])), None)
                if old is None:
                    if any(standing.values()):
                        raise TakenError
                    self.rows.append(row)
                    affected.add(row[0])
                elif clause.sets is None:
                    continue
                elif old[0] in affected:
                    raise TwiceError
                elif clause.is_only_small and not old[2] < 50:
                    continue
                else:
                    self.rows.remove(old)
                    new = clause.changed(old, row)
                    if self.holder(0, new) or self.holder(1, new):
                        raise TakenError
                    self.rows.append(new)
                    affected.add(new[0])
                count += 1
        except (TwiceError, TakenError):
            self.rows = before
            raise
        return count


def random_clause(chance: random.Random) -> Clause:
    if chance.random() < 0.4:
        return Clause(chance.choice([None, 0, 1]), None, False)
    return Clause(chance.choice([0, 1]), chance.choice(list(SETS)), chance.random() < 0.3)


def random_row(chance: random.Random) -> Row:
    return chance.randrange(6), chance.choice([None, *range(6)]), chance.randrange(40)


@pytest.mark.parametrize("round", range(6))
def test_each_row_meets_those_before_it(round: int) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    store = LocalStore.in_memory()
    session = Session(store, SharedState())
    peer = sqlite3.connect(":memory:", isolation_level=None)
    session.execute(SCHEMA)
    peer.execute(SCHEMA)
    model = Model()
    for _ in range(150):
        proposed = [random_row(chance) for _ in range(chance.choice([1, 1, 2, 4]))]
        clause = random_clause(chance)
        sql = f"INSERT INTO t VALUES {', '.join(map(_values, proposed))} {clause.sql()}"
        expected: int | type[Error]
        try:
            expected = model.insert(proposed, clause)
        except TwiceError:
            expected = CardinalityViolation
        except TakenError:
            expected = UniqueViolation
        try:
            said: int | type[Error] = session.execute(sql).row_count
        except Error as error:
            said = type(error)
        assert said == expected, sql
        rows = session.execute("SELECT * FROM t ORDER BY id").fetch_all()
        assert rows == sorted(model.rows), sql
        _compare_with_sqlite(peer, model, sql, expected)
        if chance.random() < 0.1:
            key = chance.randrange(6)
            session.execute("DELETE FROM t WHERE id = ?", (key,))
            peer.execute("DELETE FROM t WHERE id = ?", (key,))
            model.rows = [row for row in model.rows if row[0] != key]
    check_indexes(store.begin(read_only=True))


def _compare_with_sqlite(
    peer: sqlite3.Connection, model: Model, sql: str, expected: int | type[Error]
) -> None:
    if not model.is_sqlite_elsewhere and expected is not CardinalityViolation:
        try:
            assert peer.execute(sql).rowcount == expected, sql
        except sqlite3.IntegrityError:
            assert expected is UniqueViolation, sql
        assert sorted(peer.execute("SELECT * FROM t")) == sorted(model.rows), sql
    peer.execute("DELETE FROM t")
    peer.executemany("INSERT INTO t VALUES (?, ?, ?)", model.rows)


def _values(row: Row) -> str:
    return f"({', '.join('NULL' if value is None else str(value) for value in row)})"


@pytest.mark.parametrize("has_subquery", [False, True])
@pytest.mark.parametrize("target", [0, 1])
def test_in_executemany_each_row_is_a_command(target: int, has_subquery: bool) -> None:
    # The short way takes a thousand rows at once, and a subquery or a parameter in SET keeps off it.
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    store = LocalStore.in_memory()
    session = Session(store, SharedState())
    session.execute(SCHEMA)
    model = Model()
    clause = Clause(target, "sum", True)
    column = ("id", "u")[target]
    rows = [(chance.randrange(100), chance.randrange(100, 200), chance.randrange(9)) for _ in range(2500)]
    if target == 1:
        rows = [(n + 1000, u, value) for n, (_, u, value) in enumerate(rows)]
    else:
        rows = [(key, None, value) for key, _, value in rows]
    count = sum(model.insert([row], clause) for row in rows)
    added = "(SELECT excluded.n)" if has_subquery else "excluded.n"
    sql = (
        f"INSERT INTO t VALUES (?, ?, ?) ON CONFLICT ({column}) "
        f"DO UPDATE SET n = t.n + {added} WHERE t.n < 50"
    )
    assert session.execute_many(sql, rows) == count
    assert session.execute("SELECT * FROM t ORDER BY id").fetch_all() == sorted(model.rows)
    check_indexes(store.begin(read_only=True))


def test_executemany_takes_the_values_of_set_from_each_row() -> None:
    session = Session(LocalStore.in_memory(), SharedState())
    session.execute(SCHEMA)
    sql = "INSERT INTO t VALUES (?, NULL, 0) ON CONFLICT (id) DO UPDATE SET n = t.n * 10 + ?"
    assert session.execute_many(sql, [(1, 1), (1, 2), (2, 3), (1, 4), (2, 5)]) == 5
    assert session.execute("SELECT id, n FROM t ORDER BY id").fetch_all() == [(1, 24), (2, 5)]


def test_executemany_counts_only_what_did_go_in() -> None:
    session = Session(LocalStore.in_memory(), SharedState())
    session.execute(SCHEMA)
    sql = "INSERT INTO t VALUES (?, ?, 0) ON CONFLICT DO NOTHING"
    assert session.execute_many(sql, [(n % 1100, None) for n in range(3000)]) == 1100
