"""Money is neither made nor lost: not by eight threads, not in any snapshot, not by SIGKILL."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import ferrisdb

SECONDS = float(os.environ.get("FERRISDB_BANK_SECONDS", "10"))
BANK = Path(__file__).parent / "bank.py"


def test_the_sum_never_changes_and_no_acknowledged_transfer_is_lost(tmp_path: Path) -> None:
    path = str(tmp_path / "bank.ferris")
    output = tmp_path / "said.txt"
    with output.open("wb") as said:
        process = subprocess.Popen([sys.executable, str(BANK), path, str(SECONDS)], stdout=said)
        time.sleep(SECONDS + 1)
        assert process.poll() is None, "the bank stopped by itself: an unexpected error"
        process.kill()
        process.wait(30)

    lines = [line.split() for line in output.read_text().splitlines(keepends=True) if line.endswith("\n")]
    seed = next(line[1] for line in lines if line[0] == "seed")
    sums = [line[1] for line in lines if line[0] == "sum"]
    acknowledged = {line[1] for line in lines if line[0] == "transfer"}
    print(f"seed {seed}: {len(acknowledged)} transfers, {len(sums)} sums")
    assert set(sums) == {"100000"}
    assert len(acknowledged) > 50
    workers = {name.split("-")[0] for name in acknowledged}
    assert len(workers) == 8, "every thread got its turn"

    with ferrisdb.connect(path) as con:
        assert con.execute("SELECT sum(balance), count(*) FROM account").fetchone() == (100_000, 100)
        found = {name for (name,) in con.execute("SELECT id FROM transfer")}
    assert acknowledged <= found
    # At most one transfer a thread was committed and not yet announced.
    assert len(found - acknowledged) <= 8
