"""Rows through PEP 249: both sides run the same code on the same interface.

`Connect` is all that differs, which is the point: a program that moves from sqlite3 to
FerrisDB sees this ratio. A statement's text is the same each time, so both sides prepare it
once and take it from their caches afterwards.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ferrisdb
from bench.contest import Contest, Side, Work
from bench.workloads.peers import open_sqlite

Connect = Callable[[Path], Any]
SEED = 21
CREATE = "CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance INTEGER NOT NULL)"
INSERT = "INSERT INTO account (id, owner, balance) VALUES (?, ?, ?)"
SELECT = "SELECT owner, balance FROM account WHERE id = ?"


def connect_ferris(folder: Path) -> Any:
    return ferrisdb.connect(str(folder / "bench.ferris"), autocommit=True)


def connect_sqlite(folder: Path) -> Any:
    return open_sqlite(folder, "FULL")


def account(number: int) -> tuple[int, str, int]:
    return number, f"owner {number}", number % 1000


class _Accounts(Side):
    def __init__(self, connect: Connect, folder: Path, work: Work) -> None:
        self._work = work
        self._connection = connect(folder)
        self._cursor = self._connection.cursor()
        self._cursor.execute(CREATE)
        self._insert(range(work.rows))

    def close(self) -> None:
        self._connection.close()

    def _insert(self, numbers: range) -> None:
        self._cursor.execute("BEGIN")
        self._cursor.executemany(INSERT, [account(number) for number in numbers])
        self._cursor.execute("COMMIT")


class PointSelect(_Accounts):
    def __init__(self, connect: Connect, folder: Path, work: Work) -> None:
        super().__init__(connect, folder, work)
        self._random = random.Random(SEED)
        self._ids: list[int] = []
        self._balances = 0

    def prepare_round(self) -> None:
        self._ids = [self._random.randrange(self._work.rows) for _ in range(self._work.count)]

    def run_round(self) -> int:
        cursor = self._cursor
        for number in self._ids:
            cursor.execute(SELECT, (number,))
            _owner, balance = cursor.fetchone()
            self._balances += balance
        return len(self._ids)

    def answer(self) -> object:
        return self._balances


class PointSelectInTransaction(PointSelect):
    """All selects of a round in one transaction, which spares sqlite3 its file locks."""

    def run_round(self) -> int:
        self._cursor.execute("BEGIN")
        count = super().run_round()
        self._cursor.execute("COMMIT")
        return count


class InsertMany(_Accounts):
    """One transaction a round, durable at its end."""

    def __init__(self, connect: Connect, folder: Path, work: Work) -> None:
        super().__init__(connect, folder, work)
        self._accounts: list[tuple[int, str, int]] = []
        self._upcoming = work.rows

    def prepare_round(self) -> None:
        self._accounts = [account(self._upcoming + each) for each in range(self._work.count)]
        self._upcoming += self._work.count

    def run_round(self) -> int:
        self._cursor.execute("BEGIN")
        self._cursor.executemany(INSERT, self._accounts)
        self._cursor.execute("COMMIT")
        return len(self._accounts)

    def answer(self) -> object:
        self._cursor.execute("SELECT count(*), sum(balance) FROM account")
        return self._cursor.fetchone()


CONTESTS = (
    Contest(
        name="point-select",
        what="a row by its primary key, prepared, each select for itself",
        unit="selects",
        target=1.0,
        work=Work(count=20_000, rows=50_000),
        peer_name="sqlite3",
        ours=lambda folder, work: PointSelect(connect_ferris, folder, work),
        peer=lambda folder, work: PointSelect(connect_sqlite, folder, work),
    ),
    Contest(
        name="point-select-in-tx",
        what="the same, many selects in one transaction",
        unit="selects",
        target=1.0,
        work=Work(count=20_000, rows=50_000),
        peer_name="sqlite3",
        ours=lambda folder, work: PointSelectInTransaction(connect_ferris, folder, work),
        peer=lambda folder, work: PointSelectInTransaction(connect_sqlite, folder, work),
    ),
    Contest(
        name="insert-executemany",
        what="rows by executemany, one durable transaction",
        unit="rows",
        target=0.5,
        work=Work(count=20_000),
        peer_name="sqlite3",
        ours=lambda folder, work: InsertMany(connect_ferris, folder, work),
        peer=lambda folder, work: InsertMany(connect_sqlite, folder, work),
    ),
)
