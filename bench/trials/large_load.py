"""Five million values: does memory stay bounded, is the tree in shape, is all of it there?

    load       5,000,000 keys of 16 bytes in no visible order, 100 bytes each that no
               compression makes smaller; every tenth is then written again
    at rest    wait until compaction has nothing to do; weigh the tables
    read       10,000 random keys, and 1,000 that were never written
    close      and open, timed
    check      every checksum, every order, every level

The load runs in a process of its own, whose greatest resident memory the operating system
knows. It may use what the options allow (memtables, block cache) and 150 MiB more: the
interpreter, the tables' indexes and filters. The child processes of the compaction are told
apart, as their memory is given back when one ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.load_process import ABSENT, KEYS_A_COMMIT, SAMPLE
from bench.trial import Figure, Trial
from ferrisdb.storage.check import check_folder
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.os_env import OsEnv

VALUES = 5_000_000
MIB = 1024 * 1024

MOST_BEYOND_OPTIONS_BYTES = 150 * MIB
MOST_SPACE = 1.3
MOST_OPEN_S = 1.0


def run(folder: Path, factor: float) -> list[Figure]:
    count = max(KEYS_A_COMMIT, round(VALUES * factor))
    path = str(folder / "large.ferris")
    done = subprocess.run(
        [sys.executable, "-m", "bench.load_process", path, str(count)],
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    found: dict[str, Any] = json.loads(done.stdout)
    report = check_folder(OsEnv(), path)
    return _figures(count, found, [str(finding) for finding in report.findings])


def _figures(count: int, found: dict[str, Any], findings: list[str]) -> list[Figure]:
    options = StorageOptions()
    allowed_bytes = (
        options.memtable_bytes * (1 + options.max_flushing_memtables)
        + options.cache_bytes
        + MOST_BEYOND_OPTIONS_BYTES
    )
    space = found["table_bytes"] / found["live_bytes"]
    return [
        Figure("values loaded", f"{count:,} and {count // 10:,} again, {found['load_s']:.0f} s"),
        Figure("until compaction is at rest", f"{found['rest_s']:.1f} s more"),
        Figure("tables by level", " ".join(map(str, found["tables_per_level"]))),
        Figure(
            "resident memory, greatest",
            f"{found['resident_bytes'] / MIB:.0f} MiB",
            f"{allowed_bytes / MIB:.0f} MiB: memtables, cache and 150 MiB",
            found["resident_bytes"] <= allowed_bytes,
        ),
        Figure("of the largest child, at most", f"{found['child_resident_bytes'] / MIB:.0f} MiB"),
        Figure("space amplification", f"{space:.2f}", f"under {MOST_SPACE}", space < MOST_SPACE),
        Figure(
            "sample of keys read right",
            f"{found['right']:,} of {SAMPLE + ABSENT:,}",
            "all",
            found["right"] == SAMPLE + ABSENT,
        ),
        Figure(
            "open",
            f"{found['open_s'] * 1000:.0f} ms",
            f"under {MOST_OPEN_S} s",
            found["open_s"] < MOST_OPEN_S,
        ),
        Figure("check of every file", "; ".join(findings) or "nothing found", "nothing found", not findings),
    ]


TRIAL = Trial(
    name="large-load",
    what="five million values of 100 bytes: memory, space, order, a sample, opening",
    run=run,
)
