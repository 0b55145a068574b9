"""Garbage collection between snapshots: every reader sees what it should, and nothing else is left.

The model has every version that was ever written. The rule, which it applies by looking at every
moment, is the one of `retention`: of each key the newest version at or below each snapshot stays,
and everything from the floor on. What it says must be what lies in the tables, version by version.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import pytest
import version_model as model
from hypothesis import given
from hypothesis import strategies as st
from tree_checker import TINY, check_tree

from ferrisdb.storage import compaction as compaction_module
from ferrisdb.storage import compaction_job, retention
from ferrisdb.storage.compaction_job import CompactionJob, CompactionResult, collect
from ferrisdb.storage.compaction_runner import CompactionRunner
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.retention import snapshots_to_keep
from ferrisdb.storage.version import MISSING
from ferrisdb.txn.local import LocalStore
from ferrisdb.txn.local_transaction import LocalTransaction

Range = tuple[bytes, bytes | None, int]
"""(lo, hi, timestamp) of a deleted range."""

LAST = 14
"""Above all timestamps of `version_model`."""


def kept_by_the_rule(
    versions: model.Versions,
    snapshots: Sequence[int],
    deeper: Iterable[bytes] = (),
    deleted: Iterable[Range] = (),
) -> model.Versions:
    """What the rule says, by looking at every version and every snapshot."""
    oldest, last = snapshots[0], snapshots[-1]
    kept: model.Versions = {}
    for key, chain in versions.items():
        covering = [at for lo, hi, at in deleted if at <= last and lo <= key and (hi is None or key < hi)]
        alive = {
            at: value
            for at, value in chain.items()
            if not any(at < over and not any(at <= s < over for s in snapshots) for over in covering)
        }
        seen = {max(below) for s in snapshots if (below := [at for at in alive if at <= s])}
        stays = sorted(seen | {at for at in alive if at > last})
        while stays and alive[stays[0]] is None and stays[0] <= last and key not in deeper:
            # Nothing is under the tombstone. Whoever reads below it must know it, or a newer one.
            if stays[0] > oldest and len(stays) == 1:
                break
            del stays[0]
        if stays:
            kept[key] = {at: alive[at] for at in stays}
    return kept


def columns(versions: model.Versions) -> tuple[list[bytes], list[int], list[bytes | None]]:
    found = model.entries(versions)
    return [key for key, _, _ in found], [at for _, at, _ in found], [value for _, _, value in found]


def as_model(entries: Iterable[tuple[bytes, int, bytes | None]]) -> model.Versions:
    found: model.Versions = {}
    for key, at, value in entries:
        found.setdefault(key, {})[at] = value
    return found


snapshot_lists = st.sets(st.integers(0, 13), min_size=1, max_size=5).map(sorted)


@given(model.versions, snapshot_lists, st.sets(model.keys))
def test_of_each_key_what_the_rule_says_is_kept(
    versions: model.Versions, snapshots: list[int], deeper: set[bytes]
) -> None:
    kept = as_model(zip(*collect(columns(versions), snapshots, deeper.__contains__), strict=True))
    assert kept == kept_by_the_rule(versions, snapshots, deeper)


@given(model.versions, snapshot_lists, st.sets(model.keys))
def test_every_snapshot_and_every_moment_from_the_last_one_on_reads_as_before(
    versions: model.Versions, snapshots: list[int], deeper: set[bytes]
) -> None:
    kept = as_model(zip(*collect(columns(versions), snapshots, deeper.__contains__), strict=True))
    for key in versions:
        for timestamp in [*snapshots, *range(snapshots[-1], LAST)]:
            before, after = model.read(versions, key, timestamp), model.read(kept, key, timestamp)
            assert after == before or (before is None and after is MISSING and key not in deeper)
        # And whoever wants to write it hears of a commit that its snapshot does not see.
        for timestamp in snapshots:
            if max(versions[key]) > timestamp:
                assert max(kept[key]) == max(versions[key])


@given(model.versions, st.sets(st.integers(0, 13)), st.integers(0, 13), st.integers(1, 4))
def test_a_list_that_is_cut_keeps_more_and_never_less(
    versions: model.Versions, in_use: set[int], floor: int, limit: int
) -> None:
    whole = snapshots_to_keep(floor, in_use)
    rows = columns(versions)
    kept = set(zip(*collect(rows, whole, lambda key: True)[:2], strict=True))
    kept_more = set(zip(*collect(rows, whole[:limit], lambda key: True)[:2], strict=True))
    assert kept <= kept_more


def test_the_list_ends_with_the_floor_and_is_bounded() -> None:
    assert snapshots_to_keep(9, [3, 12, 3, 9]) == (3, 9)
    assert snapshots_to_keep(9, []) == (9,)
    many = snapshots_to_keep(1000, range(500))
    assert many == tuple(range(retention.MAX_SNAPSHOTS))


# --- the whole store

EVERYTHING_IN_THE_LAST_LEVEL = replace(
    TINY, compaction_start_tables=1, level_base_bytes=1 << 20, memtable_bytes=1 << 20
)
"""A flush is merged into level 6 at once, so that nothing waits for a later compaction."""

KEYS = [b"k%02d" % number for number in range(12)]
FIRST, END = b"a", b"z"
"""Keys around all the others: a flush with both is merged with every table."""


class Bookkeeper:
    """A store, every version that was ever written to it, and its readers."""

    def __init__(self, options: StorageOptions, seed: int) -> None:
        self.store = LocalStore(Engine.open(MemoryEnv(), "db", options))
        self.chance = random.Random(seed)
        self.versions: model.Versions = {}
        self.deleted: list[Range] = []
        self.readers: dict[LocalTransaction, int] = {}
        self.last = 0

    def commit(self, writes: dict[bytes, bytes | None], deleted: tuple[bytes, bytes] | None = None) -> None:
        transaction = self.store.begin()
        if deleted is not None:
            transaction.delete_range(*deleted)
        for key, value in writes.items():
            transaction.delete(key) if value is None else transaction.put(key, value)
        self.last = transaction.commit()
        for key, value in writes.items():
            self.versions.setdefault(key, {})[self.last] = value
        if deleted is not None:
            self.deleted.append((*deleted, self.last))

    def open_reader(self) -> None:
        reader = self.store.begin(read_only=True)
        reader.get(FIRST)
        self.readers[reader] = self.last

    def close_reader(self) -> None:
        if self.readers:
            reader = self.chance.choice(list(self.readers))
            reader.rollback()
            del self.readers[reader]

    def step(self) -> None:
        kind = self.chance.random()
        if kind < 0.55:
            keys = self.chance.sample(KEYS, self.chance.randrange(1, 5))
            self.commit({key: self.chance.choice([None, b"x", self.chance.randbytes(30)]) for key in keys})
        elif kind < 0.6:
            lo, hi = sorted(self.chance.sample(KEYS, 2))
            self.commit({}, (lo, hi))
        elif kind < 0.75:
            self.open_reader()
        elif kind < 0.88:
            self.close_reader()
        else:
            self.store.flush()

    def compact_everything(self) -> None:
        self.commit({FIRST: b"", END: b""})
        self.store.flush()
        self.store.wait_until_compacted()
        check_tree(self.store._engine)

    def check_readers(self) -> None:
        for reader, at in self.readers.items():
            expected = {key: self.value_at(key, at) for key in self.versions}
            found = dict(reader.scan(b"", None))
            assert found == {key: value for key, value in expected.items() if value is not None}

    def value_at(self, key: bytes, timestamp: int) -> bytes | None:
        seen = max((at for at in self.versions[key] if at <= timestamp), default=0)
        if any(
            lo <= key and (hi is None or key < hi) and seen < at <= timestamp for lo, hi, at in self.deleted
        ):
            return None
        return self.versions[key].get(seen)

    def due(self) -> model.Versions:
        snapshots = snapshots_to_keep(self.last, self.readers.values())
        return kept_by_the_rule(self.versions, snapshots, (), self.deleted)

    def in_tables(self) -> model.Versions:
        tables = self.store._engine._sources.now.tables
        return as_model(entry for table in tables for entry in table.entries())


def run(options: StorageOptions, seed: int, rounds: int = 6) -> None:
    keeper = Bookkeeper(options, seed)
    try:
        for _ in range(rounds):
            for _ in range(keeper.chance.randrange(40)):
                keeper.step()
            keeper.compact_everything()
            keeper.check_readers()
            assert keeper.in_tables() == keeper.due()
    finally:
        keeper.store.close()


@pytest.mark.parametrize("max_snapshots", [2, 64])
@pytest.mark.parametrize("seed", [1, 2, 3, None])
def test_after_a_compaction_of_everything_exactly_what_the_rule_says_is_left(
    seed: int | None, max_snapshots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MAX_SNAPSHOTS", max_snapshots)
    seed = random.randrange(1 << 30) if seed is None else seed
    print(f"seed {seed}")
    run(EVERYTHING_IN_THE_LAST_LEVEL, seed)


def test_the_same_by_a_child_process(tmp_path: object) -> None:
    """Through the job's encoding, and everything of it."""
    decoded: list[CompactionJob] = []
    whole = compaction_job.run_compaction

    def through_bytes(env: MemoryEnv, job: CompactionJob, pace: Callable[[], None]) -> CompactionResult:
        decoded.append(CompactionJob.decode(job.encode()))
        return CompactionResult.decode(whole(env, decoded[-1], pace).encode())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ferrisdb.storage.compaction_runner.run_compaction", through_bytes)
        run(EVERYTHING_IN_THE_LAST_LEVEL, seed=4)
    assert any(len(job.snapshots) > 2 for job in decoded)


Shift = Callable[[Sequence[int]], Sequence[int]]


@pytest.mark.parametrize(
    "shift",
    [
        pytest.param(lambda found: [at + 1 for at in found], id="one too late"),
        pytest.param(lambda found: [max(0, at - 1) for at in found], id="one too early"),
        pytest.param(lambda found: found[1:] or found, id="the oldest is left out"),
        pytest.param(lambda found: found[-1:], id="only the floor"),
        pytest.param(lambda found: found[:1], id="only the oldest: too much stays"),
    ],
)
def test_a_list_that_is_wrong_by_one_is_noticed(shift: Shift, monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(
        rows: object, snapshots: Sequence[int], lies_deeper: Callable[[bytes], bool]
    ) -> tuple[list[bytes], list[int], list[bytes | None]]:
        return collect(rows, shift(snapshots), lies_deeper)  # type: ignore[arg-type]

    monkeypatch.setattr(compaction_job, "collect", planted)
    with pytest.raises(AssertionError):
        for seed in range(10):
            run(EVERYTHING_IN_THE_LAST_LEVEL, seed)


# --- when it is done

VERSIONS = 60


def overwritten_with_readers_at(*moments: int) -> tuple[Bookkeeper, list[LocalTransaction]]:
    """Twelve keys, each written `VERSIONS` times, and a reader after each of these commits."""
    keeper = Bookkeeper(EVERYTHING_IN_THE_LAST_LEVEL, seed=0)
    for number in range(1, VERSIONS + 1):
        keeper.commit(dict.fromkeys(KEYS, b"%d" % number))
        if number in moments:
            keeper.open_reader()
    keeper.store.flush()
    keeper.store.wait_until_compacted()
    return keeper, list(keeper.readers)


def test_a_snapshot_in_the_middle_that_ends_frees_what_only_it_needed() -> None:
    keeper, (first, middle, last) = overwritten_with_readers_at(10, 30, 50)
    assert set(keeper.in_tables()[KEYS[0]]) == {10, 30, 50, 60}
    # When nobody writes any more, and the reader in the middle ends, while the oldest is still open.
    middle.rollback()
    keeper.store.wait_until_compacted()
    # Then the files are tidied up all the same.
    assert {tuple(chain) for chain in keeper.in_tables().values()} == {(60, 50, 10)}
    assert {reader.get(KEYS[3]) for reader in (first, last)} == {b"10", b"50"}
    first.rollback()
    last.rollback()
    keeper.store.wait_until_compacted()
    assert {tuple(chain) for chain in keeper.in_tables().values()} == {(60,)}
    keeper.store.close()


def test_the_thread_comes_by_itself_when_a_snapshot_in_the_middle_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compaction_module, "LOOK_AGAIN_S", 0.01)
    keeper, (_, middle, _) = overwritten_with_readers_at(10, 30, 50)
    middle.rollback()
    deadline_s = time.monotonic() + 30
    while any(30 in chain for chain in keeper.in_tables().values()):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    keeper.store.close()


def test_a_table_in_which_all_is_pinned_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a database that is opened again, so that nothing is known of what pins its versions.
    keeper, readers = overwritten_with_readers_at(10, 30, 50)
    looks: list[int] = []
    from ferrisdb.storage import version_garbage

    learn = version_garbage._pins_of
    monkeypatch.setattr(
        version_garbage, "_pins_of", lambda table, *rest: looks.append(table.number) or learn(table, *rest)
    )
    # When the thread comes by often, nothing is read: the tables were just written.
    for _ in range(5):
        keeper.store.wait_until_compacted()
    assert looks == []
    # And when that is forgotten, each is read once.
    keeper.store._engine._compactor._version_garbage._pins.clear()
    for _ in range(5):
        keeper.store.wait_until_compacted()
    assert len(looks) == len(set(looks)) == len(keeper.store._engine._sources.now.tables)
    # And nothing is rewritten for a snapshot that pins nothing.
    keeper.open_reader()
    keeper.close_reader()
    for reader in readers:
        assert reader.get(KEYS[0]) is not None
    keeper.store.close()


class Meanwhile:
    """Others take snapshots, end them, commit and flush, at the worst moments of compactions: when
    one has asked for the snapshots and not yet chosen its tables, and before it merges them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, shift: Shift = lambda found: found) -> None:
        self.keeper = Bookkeeper(EVERYTHING_IN_THE_LAST_LEVEL, seed=5)
        self.turns = 0
        self.is_over = False
        compactor = self.keeper.store._engine._compactor
        ask, work = compactor.snapshots_to_keep, CompactionRunner.run
        assert ask is not None

        def asked(retained_from: int) -> Sequence[int]:
            found = shift(ask(retained_from))
            self.happen()
            return found

        def merged(runner: CompactionRunner, job: CompactionJob, input_bytes: int) -> CompactionResult:
            self.happen()
            return work(runner, job, input_bytes)

        compactor.snapshots_to_keep = asked
        monkeypatch.setattr(CompactionRunner, "run", merged)

    def happen(self) -> None:
        keeper = self.keeper
        if self.is_over or self.turns == 40:
            return
        self.turns += 1
        keeper.open_reader()
        for _ in range(3):
            keeper.commit({key: keeper.chance.randbytes(3) for key in keeper.chance.sample(KEYS, 8)})
            keeper.open_reader()
        keeper.close_reader()
        keeper.store.flush()


def test_a_snapshot_that_is_taken_while_a_compaction_runs_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meanwhile = Meanwhile(monkeypatch)
    keeper = meanwhile.keeper
    for _ in range(5):
        keeper.compact_everything()
        keeper.check_readers()
    assert meanwhile.turns == 40
    meanwhile.is_over = True
    keeper.compact_everything()
    assert keeper.in_tables() == keeper.due()
    keeper.store.close()


def test_a_floor_one_above_what_is_visible_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile = Meanwhile(monkeypatch, lambda found: [*found[:-1], found[-1] + 1])
    with pytest.raises(AssertionError):
        for _ in range(5):
            meanwhile.keeper.compact_everything()
            meanwhile.keeper.check_readers()
    meanwhile.keeper.store.close()
