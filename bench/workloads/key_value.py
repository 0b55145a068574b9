"""Warm reads of ordered bytes: one key at a time, and all of them in order.

The rows are written, flushed to a table file, and read once before the clock starts, so
both sides read from memory. Each side does a round inside one read transaction. sqlite3
has the same pairs in a two-column table without a rowid, which is its own ordered map.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import ferrisdb
from bench.contest import Contest, Side, Work
from bench.workloads.keys import VALUE, key_of
from bench.workloads.peers import open_sqlite

SEED = 20


class _Reads(Side):
    """Draws the keys of a round. `_total_read` is bytes or pairs, the same on both sides."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._random = random.Random(SEED)
        self._keys: list[bytes] = []
        self._total_read = 0

    def prepare_round(self) -> None:
        self._keys = [key_of(self._random.randrange(self._work.rows)) for _ in range(self._work.count)]

    def answer(self) -> object:
        return self._total_read


class _Ferris(_Reads):
    def __init__(self, folder: Path, work: Work) -> None:
        super().__init__(work)
        self._db = ferrisdb.open(str(folder / "bench.ferris"))
        with self._db.transaction() as tx:
            for number in range(work.rows):
                tx.put(key_of(number), VALUE)
        self._db.flush()

    def close(self) -> None:
        self._db.close()


class _Sqlite(_Reads):
    def __init__(self, folder: Path, work: Work) -> None:
        super().__init__(work)
        self._connection = open_sqlite(folder, "FULL")
        self._connection.execute("CREATE TABLE kv (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID")
        self._connection.execute("BEGIN")
        pairs = ((key_of(number), VALUE) for number in range(work.rows))
        self._connection.executemany("INSERT INTO kv VALUES (?, ?)", pairs)
        self._connection.execute("COMMIT")

    def close(self) -> None:
        self._connection.close()


class _FerrisGet(_Ferris):
    def run_round(self) -> int:
        total = 0
        with self._db.transaction(read_only=True) as tx:
            get = tx.get
            for key in self._keys:
                value = get(key)
                if value is not None:
                    total += len(value)
        self._total_read += total
        return len(self._keys)


class _SqliteGet(_Sqlite):
    def run_round(self) -> int:
        total = 0
        execute = self._connection.execute
        execute("BEGIN")
        for key in self._keys:
            row = execute("SELECT v FROM kv WHERE k = ?", (key,)).fetchone()
            if row is not None:
                total += len(row[0])
        execute("COMMIT")
        self._total_read += total
        return len(self._keys)


class _FerrisScan(_Ferris):
    def run_round(self) -> int:
        with self._db.transaction(read_only=True) as tx:
            count = _length(tx.scan())
        self._total_read += count
        return count


class _SqliteScan(_Sqlite):
    def run_round(self) -> int:
        count = _length(self._connection.execute("SELECT k, v FROM kv ORDER BY k"))
        self._total_read += count
        return count


def _length(pairs: Iterable[tuple[bytes, bytes]]) -> int:
    count = 0
    for _key, _value in pairs:  # taken apart, as a program that reads them would
        count += 1
    return count


CONTESTS = (
    Contest(
        name="point-get",
        what="a random key of a warm table",
        unit="gets",
        target=1.3,
        work=Work(count=50_000, rows=100_000),
        peer_name="sqlite3",
        ours=_FerrisGet,
        peer=_SqliteGet,
    ),
    Contest(
        name="ordered-scan",
        what="every key and value of a warm table in key order",
        unit="pairs",
        target=2,
        work=Work(count=100_000, rows=100_000),
        peer_name="sqlite3",
        ours=_FerrisScan,
        peer=_SqliteScan,
    ),
)
