"""One pass over many rows: grouping. The same code on both sides, through PEP 249."""

from __future__ import annotations

import random
from pathlib import Path

from bench.contest import Contest, Side, Work
from bench.workloads.rows import SEED, Connect, connect_ferris, connect_sqlite

REGIONS = ("north", "south", "east", "west", "centre", "coast", "hills", "islands")
CREATE = """
    CREATE TABLE sale (
        id INTEGER PRIMARY KEY, region TEXT NOT NULL, product INTEGER NOT NULL, amount INTEGER NOT NULL)
"""
QUERY = "SELECT region, count(*), sum(amount), min(amount), max(amount) FROM sale GROUP BY region"


class GroupBy(Side):
    def __init__(self, connect: Connect, folder: Path, work: Work) -> None:
        self._work = work
        self._connection = connect(folder)
        self._cursor = self._connection.cursor()
        self._cursor.execute(CREATE)
        draw = random.Random(SEED)
        sales = [
            (number, draw.choice(REGIONS), draw.randrange(1000), draw.randrange(100_000))
            for number in range(work.rows)
        ]
        self._cursor.execute("BEGIN")
        self._cursor.executemany("INSERT INTO sale VALUES (?, ?, ?, ?)", sales)
        self._cursor.execute("COMMIT")
        self._groups: list[tuple[object, ...]] = []

    def run_round(self) -> int:
        self._cursor.execute(QUERY)
        self._groups = self._cursor.fetchall()
        return self._work.rows

    def answer(self) -> object:
        return sorted(tuple(group) for group in self._groups)

    def close(self) -> None:
        self._connection.close()


CONTESTS = (
    Contest(
        name="group-by",
        what="count, sum, min and max of eight groups",
        unit="rows",
        target=2,
        work=Work(count=200_000, rows=200_000),
        peer_name="sqlite3",
        ours=lambda folder, work: GroupBy(connect_ferris, folder, work),
        peer=lambda folder, work: GroupBy(connect_sqlite, folder, work),
    ),
)
