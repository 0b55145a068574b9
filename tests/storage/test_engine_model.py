"""The whole engine against a list of commits, over the grid of its options.

The model is the history: what each commit wrote, in order. To read at a timestamp is to play
the history up to it. The engine does the same work through logs, memtables, tables, levels
and compactions, is closed and opened again with other options, and must never differ: not at
the newest timestamp and not at any snapshot that is held.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tree_checker import check_tree

from ferrisdb.storage.check import check_folder
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import CompactionStyle, Durability, MemtableKind, StorageOptions

FOLDER = "shop.ferris"

KEYS = [b"", b"\0", b"a", b"a\0", b"a\xff", *(b"k%02d" % n for n in range(24)), b"\xff", b"\xff\xff"]
keys = st.sampled_from(KEYS)
bounds = st.tuples(keys, st.none() | keys)
values = st.none() | st.binary(max_size=8) | st.sampled_from([b"v" * 120, b"w" * 700])
writes = st.dictionaries(keys, values, min_size=1, max_size=6)
pairs = st.dictionaries(keys, st.binary(max_size=8) | st.just(b"i" * 300), max_size=12)


def _options(levels: tuple[int, int, int], tables: tuple[int, int, int], **chosen: object) -> StorageOptions:
    table_bytes, level_base_bytes, level_growth = levels
    start, slow, stop = tables
    return StorageOptions(
        table_bytes=table_bytes,
        level_base_bytes=level_base_bytes,
        level_growth=level_growth,
        compaction_start_tables=start,
        compaction_slow_tables=slow,
        compaction_stop_tables=stop,
        **chosen,  # type: ignore[arg-type]
    )


option_grid = st.builds(
    _options,
    levels=st.sampled_from([(300, 800, 2), (2_000, 4_000, 4), (2**20, 2**22, 10)]),
    tables=st.sampled_from([(1, 3, 4), (2, 6, 8), (4, 8, 12)]),
    memtable=st.sampled_from(MemtableKind),
    memtable_bytes=st.sampled_from([1, 1_500, 2**20]),
    block_bytes=st.sampled_from([1, 100, 4_096]),
    cache_bytes=st.sampled_from([0, 3_000, 2**20]),
    manifest_bytes=st.sampled_from([1, 2_000]),
    durability=st.sampled_from(Durability),
    compaction=st.sampled_from(CompactionStyle),
)


class EngineBesideItsHistory(RuleBasedStateMachine):
    """`history[n]` is what the commit with timestamp n + 1 wrote."""

    @initialize(options=option_grid)
    def create(self, options: StorageOptions) -> None:
        self.env = MemoryEnv()
        self.history: list[dict[bytes, bytes | None]] = []
        self.snapshots: list[int] = []
        self.open(options)

    def open(self, options: StorageOptions) -> None:
        self.engine = Engine.open(self.env, FOLDER, options)
        self.engine.collect_below(self.oldest_snapshot)

    def oldest_snapshot(self) -> int:
        # The engine asks from its own threads: one look at the list, which is replaced and
        # never changed.
        return min(self.snapshots, default=self.engine._visible_timestamp)

    # --- what happens

    @rule(writes=writes)
    def commit(self, writes: dict[bytes, bytes | None]) -> None:
        self.history = [*self.history, writes]
        assert self.engine.commit(writes) == len(self.history)

    @rule(number=st.integers(0, 20), writes=writes)
    def commit_a_burst(self, number: int, writes: dict[bytes, bytes | None]) -> None:
        for _ in range(number):
            self.commit(writes)

    @rule(deleted=st.lists(bounds, min_size=1, max_size=2), writes=writes | st.just({}))
    def delete_ranges(
        self, deleted: list[tuple[bytes, bytes | None]], writes: dict[bytes, bytes | None]
    ) -> None:
        ranges = [(lo, hi) for lo, hi in deleted if hi is None or lo < hi]
        if not ranges and not writes:
            return
        gone = [key for key in KEYS if any(lo <= key and (hi is None or key < hi) for lo, hi in ranges)]
        self.history = [*self.history, {**dict.fromkeys(gone), **writes}]
        assert self.engine.commit(writes, deleted_ranges=ranges) == len(self.history)

    @rule(pairs=pairs)
    def ingest(self, pairs: dict[bytes, bytes]) -> None:
        assert self.engine.ingest(sorted(pairs.items())) == len(pairs)
        if pairs:
            self.history = [*self.history, dict(pairs)]

    @rule()
    def take_snapshot(self) -> None:
        self.snapshots = [*self.snapshots, self.engine.visible_timestamp]

    @precondition(lambda self: self.snapshots)
    @rule(data=st.data())
    def release_snapshot(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sampled_from(range(len(self.snapshots))))
        self.snapshots = self.snapshots[:chosen] + self.snapshots[chosen + 1 :]

    @rule()
    def flush(self) -> None:
        self.engine.flush()

    @rule()
    def compact(self) -> None:
        self.engine.flush()
        self.engine.wait_until_compacted()
        check_tree(self.engine)

    @rule(options=option_grid)
    def close_and_open(self, options: StorageOptions) -> None:
        self.engine.close()
        # What nobody holds across a close may be collected: the snapshots are gone, as those
        # of a process are.
        self.snapshots = []
        report = check_folder(self.env, FOLDER)
        assert report.findings == ()
        self.open(options)

    # --- what must be seen

    @invariant()
    def all_commits_are_visible(self) -> None:
        assert self.engine.visible_timestamp == len(self.history)

    @rule(key=keys)
    def read(self, key: bytes) -> None:
        for timestamp in self.readable():
            assert self.engine.read(key, timestamp) == self.at(timestamp).get(key)

    @rule(bounds=bounds, reverse=st.booleans())
    def scan(self, bounds: tuple[bytes, bytes | None], reverse: bool) -> None:
        lo, hi = bounds
        for timestamp in self.readable():
            expected = [
                (key, value)
                for key, value in sorted(self.at(timestamp).items(), reverse=reverse)
                if lo <= key and (hi is None or key < hi)
            ]
            assert self.scanned(lo, hi, timestamp, reverse) == expected

    @rule(key=keys, data=st.data())
    def ask_who_wrote_last(self, key: bytes, data: st.DataObject) -> None:
        oldest = self.oldest_snapshot()
        after = data.draw(st.integers(oldest, len(self.history)))
        wrote = [at for at, written in enumerate(self.history, 1) if at > after and key in written]
        assert self.engine.newest_timestamp(key, after) == max(wrote, default=0)

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        for timestamp in self.readable():
            assert dict(self.scanned(b"", None, timestamp)) == self.at(timestamp)
        self.engine.close()
        assert check_folder(self.env, FOLDER).findings == ()

    def readable(self) -> set[int]:
        return {len(self.history), *self.snapshots}

    def at(self, timestamp: int) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for written in self.history[:timestamp]:
            for key, value in written.items():
                if value is None:
                    found.pop(key, None)
                else:
                    found[key] = value
        return found

    def scanned(
        self, lo: bytes, hi: bytes | None, timestamp: int, reverse: bool = False
    ) -> list[tuple[bytes, bytes]]:
        batches = self.engine.scan(lo, hi, timestamp, reverse=reverse)
        return [pair for keys, values in batches for pair in zip(keys, values, strict=True)]


EngineBesideItsHistory.TestCase.settings = settings(
    max_examples=200, stateful_step_count=100, deadline=None, print_blob=True
)


class TestEngineModel(EngineBesideItsHistory.TestCase):  # type: ignore[misc]
    """200 histories of 100 steps; hypothesis prints how to repeat one that fails."""
