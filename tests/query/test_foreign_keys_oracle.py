"""Random statements over tables that refer to one another, in FerrisDB and in sqlite3.

A tree of tables with every pair of actions that comes up, by primary key, by unique key, by two
columns, and to itself. After each statement both say the same: it went through or it did not,
and every table has the same rows.
"""

from __future__ import annotations

import random
import sqlite3

import pytest
from index_consistency import check_indexes

from ferrisdb.errors import Error, IntegrityError
from ferrisdb.query.session import Session, SharedState
from ferrisdb.txn.local import LocalStore

ACTIONS = ["NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT"]
TABLES = ["p", "c", "g", "q", "r", "t"]


def actions(chance: random.Random, among: list[str] = ACTIONS) -> str:
    delete, update = chance.choice(among), chance.choice(among)
    said = [f"ON DELETE {delete}", f"ON UPDATE {update}"]
    return " ".join(said if chance.random() < 0.5 else reversed(said))


def schema(chance: random.Random) -> list[str]:
    """Where a row refers to the same parent twice, or to its own table, RESTRICT depends on what is
    looked at first: there it is left out."""
    milder = [action for action in ACTIONS if action != "RESTRICT"]
    made = [
        "CREATE TABLE p (id INTEGER PRIMARY KEY, u INTEGER UNIQUE, v INTEGER)",
        f"CREATE TABLE c (id INTEGER PRIMARY KEY, "
        f"pid INTEGER DEFAULT 3 REFERENCES p {actions(chance, milder)}, "
        f"pu INTEGER DEFAULT 2 REFERENCES p (u) {actions(chance, milder)})",
        f"CREATE TABLE g (cid INTEGER DEFAULT 1 REFERENCES c (id) {actions(chance)}, n INTEGER)",
        "CREATE TABLE q (x INTEGER NOT NULL, y INTEGER NOT NULL, PRIMARY KEY (x, y))",
        f"CREATE TABLE r (y INTEGER DEFAULT 1, x INTEGER DEFAULT 1, n INTEGER, "
        f"CONSTRAINT r_fk FOREIGN KEY (y, x) REFERENCES q (y, x) {actions(chance)})",
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, "
        f"up INTEGER DEFAULT 1 REFERENCES t {actions(chance, milder)})",
    ]
    for index in (
        "CREATE INDEX c_pid ON c (pid, id)",
        "CREATE INDEX c_pu ON c (pu)",
        "CREATE INDEX g_cid ON g (cid)",
        f"CREATE INDEX r_xy ON r ({chance.choice(['x, y', 'y, x'])}, n)",
        "CREATE UNIQUE INDEX t_up ON t (up, id)",
    ):
        if chance.random() < 0.5:
            made.append(index)
    return made


def statement(chance: random.Random) -> str:
    def key() -> str:
        return chance.choice([*map(str, range(5)), *map(str, range(5)), "NULL"])

    def number() -> int:
        return chance.randrange(5)

    table = chance.choice(TABLES)
    rows = {
        "p": lambda: f"({number()}, {key()}, {number()})",
        "c": lambda: f"({number()}, {key()}, {key()})",
        "g": lambda: f"({key()}, {number()})",
        "q": lambda: f"({number()}, {number()})",
        "r": lambda: f"({key()}, {key()}, {number()})",
        "t": lambda: f"({number()}, {key()})",
    }
    columns = {"p": "id u v", "c": "id pid pu", "g": "cid n", "q": "x y", "r": "y x n", "t": "id up"}[table]
    column, other = chance.choice(columns.split()), chance.choice(columns.split())
    kind = chance.random()
    if kind < 0.5:
        count = chance.choice([1, 1, 2, 3])
        conflict = chance.choice(["", " ON CONFLICT DO NOTHING"]) if count == 1 else ""
        if table == "p" and chance.random() < 0.2:
            conflict = " ON CONFLICT (id) DO UPDATE SET u = excluded.u, id = p.id + 1"
            count = 1
        return f"INSERT INTO {table} VALUES {', '.join(rows[table]() for _ in range(count))}{conflict}"
    if kind < 0.75:
        return f"DELETE FROM {table} WHERE {column} = {number()}"
    value = chance.choice([key(), key(), f"{column} + 1", "v"]) if (table, column) == ("p", "u") else key()
    return f"UPDATE {table} SET {column} = {value} WHERE {other} = {number()}"


@pytest.mark.parametrize("round", range(8))
def test_both_keep_the_same_rows(round: int) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    store = LocalStore.in_memory()
    session = Session(store, SharedState())
    peer = sqlite3.connect(":memory:", isolation_level=None)
    peer.execute("PRAGMA foreign_keys = ON")
    for sql in schema(chance):
        session.execute(sql)
        peer.execute(sql)
    session.execute("BEGIN")
    peer.execute("BEGIN")
    failures = 0
    for _ in range(250):
        sql = statement(chance)
        session.execute("SAVEPOINT s")
        try:
            ours: Error | None = None
            session.execute(sql)
        except IntegrityError as error:
            ours = error
            session.execute("ROLLBACK TO s")
        try:
            theirs: Exception | None = None
            peer.execute(sql)
        except sqlite3.IntegrityError as error:
            theirs = error
        if ours is None and " + 1" in sql and "UNIQUE" in str(theirs):
            # sqlite3 moves the rows one by one, and one of them meets the next.
            session.execute("ROLLBACK TO s")
            continue
        assert (ours is None) == (theirs is None), f"{sql}: {ours!r}, {theirs!r}"
        failures += ours is not None
        for table in TABLES:
            assert rows_of(session, table) == rows_of(peer, table), f"{table} after {sql}"
    print(f"{failures} refused")
    session.execute("COMMIT")
    check_indexes(store.begin(read_only=True))


def rows_of(database: Session | sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    sql = f"SELECT * FROM {table}"
    if isinstance(database, Session):
        found = list(database.execute(sql).fetch_all())
    else:
        found = list(database.execute(sql))
    return sorted(found, key=repr)
