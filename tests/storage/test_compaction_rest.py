"""Whatever is written, deleted, held and forgotten: compaction comes to rest, and does nothing twice.

Rest has two sides. What can be done is done: `wait_until_compacted` returns. And what was done
is not done again: at rest, looking at the tree once more changes nothing.
"""

import random
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from tree_checker import STYLES, check_shape, check_tree, contents

from ferrisdb.storage import range_garbage
from ferrisdb.storage.compaction import Compactor
from ferrisdb.storage.compaction_filter import Expired, Expiry
from ferrisdb.storage.compaction_job import CompactionResult
from ferrisdb.storage.compaction_picker import Compaction, Picker
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.retention import Snapshots
from ferrisdb.storage.sources import Sources
from ferrisdb.storage.sstable_reader import SSTableReader

LONGEST_S = 30
"""Only a tree that never comes to rest takes so long."""

both_styles = pytest.mark.parametrize("options", STYLES.values(), ids=STYLES)


@pytest.fixture(autouse=True)
def every_rewrite_has_an_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    merge = Compactor._merge

    def watched(
        self: Compactor, compaction: Compaction, snapshots: Snapshots, expired: Expired
    ) -> tuple[Sequence[SSTableReader], CompactionResult]:
        outputs, result = merge(self, compaction, snapshots, expired)
        if compaction.level == compaction.output_level:
            changed = result.collected_count + result.filtered_count
            assert changed, f"a table of level {compaction.level} was rewritten as it was"
        return outputs, result

    monkeypatch.setattr(Compactor, "_merge", watched)


def wait_for_rest(engine: Engine) -> None:
    outcome: list[BaseException | None] = []

    def wait() -> None:
        try:
            engine.wait_until_compacted()
            outcome.append(None)
        except BaseException as error:
            outcome.append(error)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(LONGEST_S)
    assert outcome == [None], outcome or "compaction does not come to rest"


def work_done(engine: Engine) -> tuple[int, ...]:
    found = engine.statistics()
    return (found.compactions, found.moves, found.dropped_tables, found.live_range_tombstones)


@both_styles
@pytest.mark.parametrize("seed", range(12))
def test_a_random_workload_comes_to_rest_and_stays_there(options: StorageOptions, seed: int) -> None:
    chance = random.Random(seed)
    now_s = [1_800_000_000.0]
    env = MemoryEnv()
    env.time_of_day = lambda: now_s[0]
    engine = Engine.open(env, "db", replace(options, expiries=(Expiry(b"s", 50), Expiry(b"sx", 10))))
    held: list[tuple[int, float, dict[bytes, bytes]]] = []

    def oldest_snapshot() -> int:
        return min([at for at, _, _ in held] + [engine.visible_timestamp])

    def oldest_snapshot_s() -> float:
        return min([at_s for _, at_s, _ in held] + [engine.now_s()])

    def key() -> bytes:
        return chance.choice([b"a", b"s", b"sx", b"z"]) + b"%02d" % chance.randrange(40)

    engine.collect_below(oldest_snapshot, oldest_snapshot_s)
    for _ in range(6):
        for _ in range(chance.randrange(60)):
            writes = {key(): chance.choice([None, chance.randbytes(40)]) for _ in range(3)}
            ranges = [tuple(sorted([key(), key() + b"\0"]))] if chance.random() < 0.1 else []
            engine.commit(writes, deleted_ranges=ranges)
            now_s[0] += chance.choice([0, 0, 1])
            if chance.random() < 0.05:
                held.append((engine.visible_timestamp, engine.now_s(), contents(engine)))
        now_s[0] += chance.choice([0, 20, 100])
        if chance.random() < 0.3:
            now_s[0] -= 1000
        engine.flush()
        chance.shuffle(held)
        del held[chance.randrange(len(held) + 1) :]
        wait_for_rest(engine)
        check_tree(engine)
        check_shape(engine)
        for at, _, seen in held:
            now_seen = contents(engine, at)
            assert {k: v for k, v in now_seen.items() if k[:1] != b"s"} == {
                k: v for k, v in seen.items() if k[:1] != b"s"
            }
            assert now_seen.items() <= seen.items()
        done = work_done(engine)
        wait_for_rest(engine)
        assert work_done(engine) == done, "at rest there was something to do"
    engine.close()


class NeverAtRest:
    """A tree that is out of shape for some time, as beside a writer who does not stop."""

    def __init__(self, picker: Picker) -> None:
        self.live_ranges: list[int] = []
        self._picker = picker

    def pick(self, sources: Sources, watermark: int) -> Compaction | None:
        self.live_ranges.append(len(sources.range_tombstones.all))
        if len(self.live_ranges) > 5:
            return self._picker.pick(sources, watermark)
        table = sources.tables[0]
        return Compaction(0, 6, (table,), (), (), is_move=True)


def test_many_deleted_ranges_are_settled_though_the_tree_is_never_in_shape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a table, and deleted ranges that hide nothing in it: too many to leave them.
    monkeypatch.setattr(range_garbage, "URGENT_RANGE_TOMBSTONES", 10)
    engine = Engine.open(MemoryEnv(), "db", StorageOptions())
    engine.commit({b"a": b"", b"z": b""})
    for number in range(10):
        engine.commit({}, deleted_ranges=[(b"m%d" % number, b"n")])
    engine.flush()
    engine.wait_until_compacted()
    assert engine.statistics().live_range_tombstones == 10
    # When there is always something else to do, too.
    busy = engine._compactor._picker = NeverAtRest(engine._compactor._picker)
    engine.collect_below(lambda: engine.visible_timestamp)
    wait_for_rest(engine)
    # Then they went before it.
    assert busy.live_ranges == [10, 0, 0, 0, 0, 0]
    engine.close()
