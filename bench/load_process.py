"""The process of the large load: `python -m bench.load_process PATH COUNT`.

It prints what it found as JSON. Nothing else runs in it, so its greatest resident memory is
the database's.
"""

from __future__ import annotations

import hashlib
import json
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

import ferrisdb
from bench.workloads.keys import key_of

SAMPLE = 10_000
ABSENT = 1_000
KEYS_A_COMMIT = 1_000
SEED = 20


def value_of(number: int, edition: int) -> bytes:
    """100 bytes that look random, and can be told again."""
    return hashlib.blake2b(b"%d/%d" % (number, edition), digest_size=50).hexdigest().encode()


def load(path: str, count: int) -> dict[str, Any]:
    start_s = time.perf_counter()
    with ferrisdb.open(path, durability="off") as db:
        _write(db, range(count), edition=0)
        _write(db, range(0, count, 10), edition=1)
        loaded_s = time.perf_counter()
        db.wait_until_compacted()
        rested_s = time.perf_counter()
        statistics = db.statistics()
        right = _count_right(db, count)
    open_start_s = time.perf_counter()
    with ferrisdb.open(path) as db:
        open_s = time.perf_counter() - open_start_s
        right = min(right, _count_right(db, count))
    return {
        "load_s": loaded_s - start_s,
        "rest_s": rested_s - loaded_s,
        "tables_per_level": statistics.tables_per_level,
        "table_bytes": statistics.table_bytes,
        "live_bytes": count * (len(key_of(0)) + len(value_of(0, 0))),
        "resident_bytes": _greatest_resident_bytes(),
        "child_resident_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        "right": right,
        "open_s": open_s,
    }


def _greatest_resident_bytes() -> int:
    """`ru_maxrss` would not do: a process inherits it from the one that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _write(db: ferrisdb.Database, numbers: range, *, edition: int) -> None:
    for first in range(0, len(numbers), KEYS_A_COMMIT):
        with db.transaction() as tx:
            for number in numbers[first : first + KEYS_A_COMMIT]:
                tx.put(key_of(number), value_of(number, edition))
    db.flush()


def _count_right(db: ferrisdb.Database, count: int) -> int:
    chosen = random.Random(SEED)
    right = 0
    with db.transaction() as tx:
        for _ in range(SAMPLE):
            number = chosen.randrange(count)
            right += tx.get(key_of(number)) == value_of(number, 1 if number % 10 == 0 else 0)
        for number in range(count, count + ABSENT):
            right += tx.get(key_of(number)) is None
    return right


if __name__ == "__main__":
    json.dump(load(sys.argv[1], int(sys.argv[2])), sys.stdout)
