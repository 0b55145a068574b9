"""The slowest commit in a hundred, while a compaction runs and when all is quiet.

    write     tables for level 0, with a compaction that is told to start late
    open      with the default: the compaction begins at once, in a child process
    busy      one thread commits durably, one key each, as long as the compaction runs
    quiet     the same number of commits more, when it is at rest

Three times, in one run on one disk; of busy and of quiet the median of the three p99.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import ferrisdb
from bench.trial import Figure, Trial
from bench.workloads.keys import VALUE, key_of
from ferrisdb.errors import invariant
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.options import Durability, StorageOptions
from ferrisdb.storage.os_env import OsEnv

ROUNDS = 3
TABLES = 6
KEYS_A_TABLE = 150_000
FEWEST_COMMITS = 200
MOST_BUSY_TO_QUIET = 3.0


def run(folder: Path, factor: float) -> list[Figure]:
    rounds = [_round(str(folder / f"round-{number}"), factor) for number in range(ROUNDS)]
    busy_s, quiet_s = (statistics.median(_p99(times) for times in side) for side in zip(*rounds, strict=True))
    ratio = busy_s / quiet_s
    count = sum(len(busy) for busy, _ in rounds)
    return [
        Figure("commits beside a compaction", f"{count:,} in {ROUNDS} rounds"),
        *(
            Figure(f"p50 {name}", f"{statistics.median(map(statistics.median, side)) * 1e6:.0f} µs")
            for name, side in zip(("busy", "quiet"), zip(*rounds, strict=True), strict=True)
        ),
        Figure("p99 busy", f"{busy_s * 1e6:.0f} µs"),
        Figure("p99 quiet", f"{quiet_s * 1e6:.0f} µs"),
        Figure(
            "p99 busy by quiet", f"{ratio:.2f}", f"under {MOST_BUSY_TO_QUIET}", ratio < MOST_BUSY_TO_QUIET
        ),
    ]


def _round(path: str, factor: float) -> tuple[list[float], list[float]]:
    _write_tables(path, max(10, round(KEYS_A_TABLE * factor)))
    with ferrisdb.open(path) as db:
        busy: list[float] = []
        while db.statistics().is_compacting or len(busy) < FEWEST_COMMITS:
            busy += _timed_commits(db, FEWEST_COMMITS)
        db.wait_until_compacted()
        quiet = _timed_commits(db, len(busy))
    return busy, quiet


def _write_tables(path: str, keys_a_table: int) -> None:
    """Level 0 as a burst of writes leaves it, with nothing compacted yet."""
    late = StorageOptions(
        durability=Durability.OFF,
        memtable_bytes=2**40,
        compaction_start_tables=10 * TABLES,
        compaction_slow_tables=10 * TABLES,
        compaction_stop_tables=10 * TABLES,
        table_bytes=2**40,
    )
    engine = Engine.open(OsEnv(), path, late)
    for table in range(TABLES):
        numbers = range(table * keys_a_table, (table + 1) * keys_a_table)
        for first in range(0, keys_a_table, 1_000):
            engine.commit({key_of(number): VALUE for number in numbers[first : first + 1_000]})
        engine.flush()
    # With more of them writers would be held up on purpose, and that is not what is measured.
    invariant(engine.statistics().tables_per_level[0] == TABLES, "level 0 has the tables that were meant")
    engine.close()


def _timed_commits(db: ferrisdb.Database, count: int) -> list[float]:
    times_s = []
    for number in range(count):
        start_s = time.perf_counter()
        with db.transaction() as tx:
            tx.put(b"latency/%d" % number, VALUE)
        times_s.append(time.perf_counter() - start_s)
    return times_s


def _p99(times_s: list[float]) -> float:
    return statistics.quantiles(times_s, n=100)[-1]


TRIAL = Trial(
    name="commit-latency",
    what="the slowest durable commit in a hundred, beside a compaction and without one",
    run=run,
)
