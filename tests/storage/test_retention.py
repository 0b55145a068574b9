"""What was there an hour ago can be read for an hour, and not for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tree_checker import TINY

from ferrisdb.errors import InvalidParameterValue
from ferrisdb.storage.compaction_filter import Expiry
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import CompactionStyle, StorageOptions

HOUR_S = 3600.0
NOON_S = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now_s = NOON_S

    def __call__(self) -> float:
        return self.now_s


def opened(clock: Clock, options: StorageOptions) -> Engine:
    env = MemoryEnv()
    env.time_of_day = clock
    engine = Engine.open(env, "db", options)
    engine.collect_below(lambda: engine.visible_timestamp)
    return engine


def compact(engine: Engine) -> None:
    engine.flush()
    engine.wait_until_compacted()


def prices_kept(engine: Engine) -> int:
    """Versions of the price in all tables. Compaction leaves some of those that nobody needs:
    a tree is in shape before everything is merged."""
    tables = engine._sources.now.tables
    return sum(key == b"price" for table in tables for key, _, _ in table.entries())


@pytest.mark.parametrize("style", CompactionStyle)
def test_every_commit_of_the_last_hour_reads_as_it_did(style: CompactionStyle) -> None:
    clock = Clock()
    engine = opened(clock, replace(TINY, compaction=style, retention_s=HOUR_S))
    for minute in range(180):
        clock.now_s = NOON_S + minute * 60
        assert engine.commit({b"price": b"%d" % minute, b"row%d" % minute: b""}) == minute + 1
        compact(engine)
        for ago in range(min(minute, 59) + 1):
            assert engine.read(b"price", minute + 1 - ago) == b"%d" % (minute - ago)
    assert 60 <= prices_kept(engine) < 120
    # Given that two hours pass, then nearly all of them go with the next compactions.
    clock.now_s += 2 * HOUR_S
    for number in range(20):
        engine.commit({b"row%d" % number: b"again"})
        compact(engine)
    assert prices_kept(engine) < 20
    assert engine.read(b"price", engine.visible_timestamp) == b"179"
    engine.close()


def test_what_expires_can_still_be_read_as_of_the_time_when_it_lived() -> None:
    # Given a row that lives for ten minutes, and a past that is kept for an hour.
    clock = Clock()
    expiries = (Expiry(b"session/", 600),)
    engine = opened(clock, replace(TINY, retention_s=HOUR_S, expiries=expiries))
    for minute in range(180):
        clock.now_s = NOON_S + minute * 60
        engine.commit({b"session/%d" % minute: b"x" * 20})
        compact(engine)
        # Then whoever looks back by up to an hour sees it for its ten minutes.
        for ago in range(min(minute, 59) + 1):
            seen_from = minute - ago
            for age in range(min(seen_from, 9) + 1):
                assert engine.read(b"session/%d" % (seen_from - age), seen_from + 1) == b"x" * 20
    # And it expires in the end.
    assert engine.read(b"session/0", engine.visible_timestamp) is None
    engine.close()


def test_without_retention_only_what_a_snapshot_needs_is_kept() -> None:
    engine = opened(Clock(), TINY)
    for number in range(50):
        engine.commit({b"price": b"%d" % number})
    compact(engine)
    assert prices_kept(engine) < 10
    engine.close()


@pytest.mark.parametrize("retention_s", [-1.0, float("inf"), float("nan")])
def test_a_retention_that_is_no_time_is_refused(retention_s: float) -> None:
    with pytest.raises(InvalidParameterValue, match="retention_s is"):
        StorageOptions(retention_s=retention_s)
