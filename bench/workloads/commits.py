"""Small commits: one key each, as fast as each side can make them last.

FerrisDB: `begin`, `put`, `commit` on the ordered bytes, all threads on one `Database`.
sqlite3: one INSERT in autocommit, a connection for each thread. With several threads the
difference is group commit: FerrisDB's committers share an fsync, SQLite's wait in turn.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import ferrisdb
from bench.contest import Contest, Side, Work
from bench.workloads.keys import VALUE, key_of
from bench.workloads.peers import open_sqlite


class _Commits(Side):
    """Shares out the keys of a round to the threads. The rest is the sides' own."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._rounds = 0
        self._keys: list[bytes] = []
        self._pool = ThreadPoolExecutor(work.threads)

    def prepare_round(self) -> None:
        first = self._rounds * self._work.count
        self._keys = [key_of(number) for number in range(first, first + self._work.count)]
        self._rounds += 1

    def run_round(self) -> int:
        threads = self._work.threads
        if threads == 1:
            self.commit_each(0, self._keys)
        else:
            shares = [self._keys[thread::threads] for thread in range(threads)]
            # list() so that an error in a thread is raised here
            list(self._pool.map(self.commit_each, range(threads), shares))
        return len(self._keys)

    def commit_each(self, thread: int, keys: list[bytes]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._pool.shutdown()


class _Ferris(_Commits):
    def __init__(self, durability: str, folder: Path, work: Work) -> None:
        super().__init__(work)
        self._db = ferrisdb.open(str(folder / "bench.ferris"), durability=durability)

    def commit_each(self, thread: int, keys: list[bytes]) -> None:
        begin = self._db.begin
        for key in keys:
            tx = begin()
            tx.put(key, VALUE)
            tx.commit()

    def answer(self) -> object:
        with self._db.transaction() as tx:
            return sum(1 for _ in tx.scan())

    def close(self) -> None:
        super().close()
        self._db.close()


class _Sqlite(_Commits):
    def __init__(self, synchronous: str, folder: Path, work: Work) -> None:
        super().__init__(work)
        self._connections = [open_sqlite(folder, synchronous) for _ in range(work.threads)]
        self._connections[0].execute("CREATE TABLE kv (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID")

    def commit_each(self, thread: int, keys: list[bytes]) -> None:
        execute = self._connections[thread].execute
        for key in keys:
            execute("INSERT INTO kv VALUES (?, ?)", (key, VALUE))

    def answer(self) -> object:
        return self._connections[0].execute("SELECT count(*) FROM kv").fetchone()[0]

    def close(self) -> None:
        super().close()
        for connection in self._connections:
            connection.close()


def _durable(threads: int, target: float) -> Contest:
    return Contest(
        name=f"durable-commits-{threads}",
        what="one key a commit, on disk before the commit returns",
        unit="commits",
        target=target,
        # Many for each thread: a round must not be decided by how long the last one slept.
        work=Work(count=500 * (threads + 1), threads=threads),
        peer_name="sqlite3 FULL",
        ours=partial(_Ferris, "full"),
        peer=partial(_Sqlite, "FULL"),
    )


CONTESTS = (
    _durable(threads=1, target=1.2),
    _durable(threads=8, target=6),
    Contest(
        name="commits-no-fsync",
        what="one key a commit, left to the operating system",
        unit="commits",
        target=3,
        work=Work(count=10_000),
        peer_name="sqlite3 OFF",
        ours=partial(_Ferris, "off"),
        peer=partial(_Sqlite, "OFF"),
    ),
)
