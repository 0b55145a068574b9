"""The whole engine against a list of commits, over the grid of its options.

The model is the history: what each commit wrote, in order. To read at a timestamp is to play
the history up to it. The engine does the same work through logs, memtables, tables, levels
and compactions, is closed, killed and opened again with other options, and must never differ:
not at the newest timestamp, not at any snapshot that is held, and not at what was there when the
time began that is kept. Nor may what is made of it:

    checkpoint     equals the database, and what is done to it stays in it
    backup         of one store, restored at any later time: the database as it was then
    reader         a read-only engine beside the writer, at its last look and at those it holds
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tree_checker import check_tree

from ferrisdb.storage.backup import delete_backups, make_backup
from ferrisdb.storage.backup_store import BackupStore
from ferrisdb.storage.backup_verify import verify_backups
from ferrisdb.storage.check import check_folder
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import CompactionStyle, Compression, Durability, MemtableKind, StorageOptions
from ferrisdb.storage.read_only_engine import ReadOnlyEngine
from ferrisdb.storage.restore import restore_backup
from ferrisdb.storage.retention import snapshots_to_keep

FOLDER, COPY, STORE = "shop.ferris", "copy.ferris", "backups"
MAX_BACKUPS = 4
"""Kept at a time; and as many checkpoints are made of one database. They are the dear steps."""

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
    max_flushing_memtables=st.sampled_from([1, 3]),
    compaction=st.sampled_from(CompactionStyle),
    compression=st.sampled_from(Compression),
    retention_s=st.sampled_from([0.0, 100.0]),
)


class EngineBesideItsHistory(RuleBasedStateMachine):
    """`history[n]` is what the commit with timestamp n + 1 wrote; `states[n]` is what n commits
    have left."""

    @initialize(options=option_grid)
    def create(self, options: StorageOptions) -> None:
        self.env = MemoryEnv()
        self.now_s = 1e9
        self.env.time_of_day = lambda: self.now_s
        self.committed_s: list[float] = []
        """When each commit was made."""
        self.collected_below = 0
        """What was there before this commit may have gone when the database was open before."""
        self.history: list[dict[bytes, bytes | None]] = []
        self.states: list[dict[bytes, bytes]] = [{}]
        self.snapshots: list[int] = []
        self.backups: dict[int, int] = {}
        """Number of a backup -> the commits in it."""
        self.checkpoint_count = 0
        self.reader: ReadOnlyEngine | None = None
        self.looks: list[int] = []
        """Timestamps that the reader holds."""
        self.open(options)

    def open(self, options: StorageOptions) -> None:
        self.retention_s = options.retention_s
        self.engine = Engine.open(self.env, FOLDER, options)
        self.engine.collect_between(self.snapshots_to_keep)

    def snapshots_to_keep(self, retained_from: int) -> Sequence[int]:
        # The engine asks from its own threads. The visible timestamp first: a snapshot that is
        # taken between the two looks is not below it. The list is replaced, never changed.
        floor = min(self.engine._visible_timestamp, retained_from)
        return snapshots_to_keep(floor, self.snapshots)

    # --- what happens

    @rule(writes=writes)
    def commit(self, writes: dict[bytes, bytes | None]) -> None:
        self.remember(writes)
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
        self.remember({**dict.fromkeys(gone), **writes})
        assert self.engine.commit(writes, deleted_ranges=ranges) == len(self.history)

    @rule(pairs=pairs)
    def ingest(self, pairs: dict[bytes, bytes]) -> None:
        assert self.engine.ingest(sorted(pairs.items())) == len(pairs)
        if pairs:
            self.remember(dict(pairs))

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
        self.end_session()
        report = check_folder(self.env, FOLDER)
        assert report.findings == ()
        self.open(options)

    @rule(options=option_grid)
    def kill_and_open(self, options: StorageOptions) -> None:
        # The files as they stand, perhaps in the middle of a flush or a compaction.
        killed, self.env = self.engine, self.env.copy()
        self.end_session()
        self.close_reader()
        self.open(options)
        killed.close()

    def end_session(self) -> None:
        # What nobody holds across a close may be collected: the snapshots are gone, as those
        # of a process are.
        self.snapshots = []
        self.collected_below = self.oldest_kept()

    @rule(seconds=st.sampled_from([0.5, 7.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    # --- copies

    @precondition(lambda self: self.checkpoint_count < MAX_BACKUPS)
    @rule(options=option_grid, is_elsewhere=st.booleans(), writes=writes)
    def checkpoint(
        self, options: StorageOptions, is_elsewhere: bool, writes: dict[bytes, bytes | None]
    ) -> None:
        self.checkpoint_count += 1
        env = MemoryEnv() if is_elsewhere else self.env
        self.engine.checkpoint(COPY, env)
        self.check_copy(env, options, len(self.history), writes)
        for name in env.list_directory(COPY):
            env.remove(f"{COPY}/{name}")

    @precondition(lambda self: len(self.backups) < MAX_BACKUPS)
    @rule()
    def back_up(self) -> None:
        made = make_backup(self.engine.pin_tables(), self.store, made_at_s=1e9)
        assert made.last_timestamp == len(self.history)
        self.backups[made.number] = made.last_timestamp

    @precondition(lambda self: self.backups)
    @rule(data=st.data(), options=option_grid, writes=writes)
    def restore(
        self, data: st.DataObject, options: StorageOptions, writes: dict[bytes, bytes | None]
    ) -> None:
        number = data.draw(st.sampled_from(sorted(self.backups)))
        env = MemoryEnv()
        restore_backup(self.store, env, COPY, number=number)
        self.check_copy(env, options, self.backups[number], writes)

    @precondition(lambda self: len(self.backups) == MAX_BACKUPS)
    @rule(data=st.data())
    def delete_a_backup(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.backups)))
        delete_backups(self.store, [number])
        del self.backups[number]
        report = verify_backups(self.store)
        assert (report.findings, set(report.backups)) == ((), set(self.backups))

    @property
    def store(self) -> BackupStore:
        return BackupStore(self.env, STORE)

    def check_copy(
        self, env: MemoryEnv, options: StorageOptions, timestamp: int, writes: dict[bytes, bytes | None]
    ) -> None:
        """It is the database of that moment, sound, and goes on by itself."""
        copy = Engine.open(env, COPY, options)
        assert copy.visible_timestamp == timestamp
        assert dict(scanned(copy, b"", None, timestamp)) == self.states[timestamp]
        copy.collect_below(lambda: copy._visible_timestamp)
        assert copy.commit(writes, deleted_ranges=[(b"k", b"l")]) == timestamp + 1
        copy.flush()
        copy.wait_until_compacted()
        copy.close()
        assert check_folder(env, COPY).findings == ()

    # --- a reader beside the writer

    @precondition(lambda self: self.reader is None)
    @rule(options=option_grid)
    def open_reader(self, options: StorageOptions) -> None:
        self.reader = ReadOnlyEngine.open(self.env, FOLDER, options)
        self.reader.keep_snapshots(lambda publish: publish(self.looks))

    @precondition(lambda self: self.reader is not None)
    @rule(does_hold=st.booleans())
    def refresh_reader(self, does_hold: bool) -> None:
        before = self.reader.visible_timestamp
        if does_hold:
            self.looks = [*self.looks, before]
        assert self.reader.refresh() == (len(self.history) > before)
        assert self.reader.visible_timestamp == len(self.history)
        for timestamp in {self.reader.visible_timestamp, *self.looks}:
            assert dict(scanned(self.reader, b"", None, timestamp)) == self.states[timestamp]

    @precondition(lambda self: self.reader is not None)
    @rule(bounds=bounds, reverse=st.booleans())
    def read_beside(self, bounds: tuple[bytes, bytes | None], reverse: bool) -> None:
        for timestamp in {self.reader.visible_timestamp, *self.looks}:
            state = self.states[timestamp]
            assert self.reader.read_many(KEYS, timestamp) == [*map(state.get, KEYS)]
            assert scanned(self.reader, *bounds, timestamp, reverse) == between(state, *bounds, reverse)

    @precondition(lambda self: self.reader is not None)
    @rule()
    def close_reader(self) -> None:
        if self.reader is not None:
            self.reader.close()
        self.reader = None
        self.looks = []

    # --- what must be seen

    @invariant()
    def all_commits_are_visible(self) -> None:
        assert self.engine.visible_timestamp == len(self.history)

    @rule()
    def read(self) -> None:
        for timestamp in self.readable():
            assert self.engine.read_many(KEYS, timestamp) == [*map(self.states[timestamp].get, KEYS)]

    @rule(bounds=bounds, reverse=st.booleans())
    def scan(self, bounds: tuple[bytes, bytes | None], reverse: bool) -> None:
        for timestamp in self.readable():
            expected = between(self.states[timestamp], *bounds, reverse)
            assert scanned(self.engine, *bounds, timestamp, reverse) == expected

    @rule(key=keys, data=st.data())
    def ask_who_wrote_last(self, key: bytes, data: st.DataObject) -> None:
        oldest = min(self.snapshots, default=len(self.history))
        after = data.draw(st.integers(oldest, len(self.history)))
        wrote = [at for at, written in enumerate(self.history, 1) if at > after and key in written]
        assert self.engine.newest_timestamp(key, after) == max(wrote, default=0)

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        for timestamp in self.readable():
            assert dict(scanned(self.engine, b"", None, timestamp)) == self.states[timestamp]
        self.close_reader()
        self.engine.close()
        assert check_folder(self.env, FOLDER).findings == ()
        if self.env.exists(STORE):
            assert verify_backups(self.store).findings == ()

    def readable(self) -> set[int]:
        oldest_kept = self.oldest_kept()
        assert oldest_kept >= self.engine.oldest_readable()
        return {len(self.history), *self.snapshots, oldest_kept, self.engine.oldest_readable()}

    def oldest_kept(self) -> int:
        """What was visible so long ago is still there, if no session before kept less."""
        if not self.retention_s:
            return len(self.history)
        return max(self.collected_below, bisect_right(self.committed_s, self.now_s - self.retention_s))

    def remember(self, written: dict[bytes, bytes | None]) -> None:
        self.committed_s.append(self.now_s)
        self.history = [*self.history, written]
        after = {**self.states[-1], **written}
        self.states.append({key: value for key, value in after.items() if value is not None})


def between(
    state: dict[bytes, bytes], lo: bytes, hi: bytes | None, reverse: bool
) -> list[tuple[bytes, bytes]]:
    inside = [(key, value) for key, value in state.items() if lo <= key and (hi is None or key < hi)]
    return sorted(inside, reverse=reverse)


def scanned(
    engine: Engine | ReadOnlyEngine, lo: bytes, hi: bytes | None, timestamp: int, reverse: bool = False
) -> list[tuple[bytes, bytes]]:
    batches = engine.scan(lo, hi, timestamp, reverse=reverse)
    return [pair for keys, values in batches for pair in zip(keys, values, strict=True)]


EngineBesideItsHistory.TestCase.settings = settings(
    max_examples=200, stateful_step_count=100, deadline=None, print_blob=True
)


class TestEngineModel(EngineBesideItsHistory.TestCase):  # type: ignore[misc]
    """200 histories of 100 steps; hypothesis prints how to repeat one that fails."""
