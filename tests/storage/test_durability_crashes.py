"""The crash sweep over commits of all durability levels, with space reserved in the log.

Scenarios are drawn: commits at full, normal and off, background syncs, flushes, reopening. What
is acknowledged in the sweep's sense is every FULL commit, and all that a sync, of whatever
kind, has covered.
"""

import os
import random

import pytest
from test_crash_sweep import Scenario, Session, crash_recoveries, sweep

from ferrisdb.storage import wal
from ferrisdb.storage.options import Durability, StorageOptions

SCENARIO_COUNT = 60 if os.environ.get("FERRISDB_CRASH_SWEEP") == "night" else 2


def sync_in_background(session: Session) -> None:
    """What the thread does when its time has come, at this very place."""
    assert session.engine is not None
    session.engine._log.sync_acknowledged()
    session.acknowledged = session.attempted


def draw_steps(seed: int) -> list[str]:
    chance = random.Random(seed)
    words = ["full", "normal", "normal", "off", "sync", "flush", "reopen"]
    return chance.choices(words, weights=[6, 4, 4, 4, 4, 1, 1], k=9)


def run_steps(session: Session, steps: list[str]) -> None:
    session.open()
    for step in steps:
        if step == "sync":
            sync_in_background(session)
        elif step == "flush":
            session.flush()
        elif step == "reopen":
            session.close()
            session.open()
        else:
            session.commit(1, Durability(step))
    session.close()


@pytest.mark.parametrize("number", range(SCENARIO_COUNT))
def test_whatever_is_lost_the_survivors_are_a_prefix_with_all_that_was_synced(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    monkeypatch.setattr(wal, "RESERVE_FROM_BYTES", chance.choice([50, 400, 1500]))
    monkeypatch.setattr(wal, "RESERVE_BYTES", chance.choice([100, 700, 5000]))
    options = StorageOptions(
        memtable_bytes=chance.choice([900, 2000, 1 << 20]),
        # Longer than any test: only the steps sync, so that every run is the same.
        sync_interval_ms=1_000_000_000,
    )
    steps = draw_steps(seed)
    print(f"seed {seed}: {steps}")
    scenario = Scenario(
        lambda session: run_steps(session, steps), options, size_bytes=chance.choice([40, 300, 900])
    )
    disks, calls = sweep(scenario, seed)
    recoveries = crash_recoveries(disks, scenario, seed)
    with capsys.disabled():
        print(f"\n  seed {seed}: {calls} calls, {len(disks)} disks, {recoveries} recoveries", end="")
