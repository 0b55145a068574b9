"""What is no longer wanted goes with a compaction, and nothing else does."""

import random
from dataclasses import replace
from pathlib import Path

import filters_for_tests
import pytest
import version_model as model
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tree_checker import STYLES, TINY, check_shape, check_tree, contents

from ferrisdb.errors import Error, InvalidParameterValue, StorageError
from ferrisdb.storage import compaction as compaction_module
from ferrisdb.storage import compaction_runner
from ferrisdb.storage import expiry as expiry_module
from ferrisdb.storage.commit_times import MAX_SAMPLES, CommitTimes, newest_by, with_samples
from ferrisdb.storage.compaction_filter import CompactionFilter, Expiry, FilterFailed, RowFilter, prefix_end
from ferrisdb.storage.compaction_job import collect
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import Durability, StorageOptions
from ferrisdb.storage.os_env import OsEnv
from ferrisdb.storage.version import MISSING
from ferrisdb.testing.crash_fs import CrashFS, Loss
from ferrisdb.txn.local import LocalStore

HOME = "filters_for_tests"
NOON_S = 1_800_000_000.0
both_styles = pytest.mark.parametrize("options", STYLES.values(), ids=STYLES)


class Clock:
    def __init__(self) -> None:
        self.now_s = NOON_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def env(clock: Clock) -> MemoryEnv:
    env = MemoryEnv()
    env.time_of_day = clock
    return env


def compact(engine: Engine) -> None:
    engine.flush()
    engine.wait_until_compacted()


def value_count(engine: Engine) -> int:
    """Versions in tables, tombstones left aside: one stays while a deeper table's range covers it."""
    found = (table.properties for table in engine._sources.now.tables)
    return sum(each.entry_count - each.tombstone_count for each in found)


# --- the rules, on rows ---------------------------------------------------------------------


def columns(versions: model.Versions):
    found = model.entries(versions)
    return [key for key, _, _ in found], [at for _, at, _ in found], [value for _, _, value in found]


@given(
    model.versions,
    st.integers(0, 13),
    st.lists(st.tuples(model.keys, st.integers(1, 13)), max_size=3),
    st.sets(model.keys),
)
def test_only_what_expired_and_is_settled_vanishes(versions, watermark, expired, deeper):
    filtered = RowFilter(expired, None).apply(columns(versions), watermark)
    kept: model.Versions = {}
    for key, at, value in zip(
        *collect(filtered, [watermark] if watermark else [], deeper.__contains__), strict=True
    ):
        kept.setdefault(key, {})[at] = value
    for key, chain in versions.items():
        cut = max((cut for prefix, cut in expired if key.startswith(prefix)), default=0)
        for timestamp in range(watermark, 14):
            before, after = model.read(versions, key, timestamp), model.read(kept, key, timestamp)
            seen = max((at for at in chain if at <= timestamp), default=0)
            has_expired = before not in (None, MISSING) and seen <= min(cut, watermark)
            wanted = None if has_expired else before
            # "Deleted" may become "nothing here" when nothing deeper would come to light.
            assert after == wanted or (wanted is None and after is MISSING and key not in deeper)


def test_rows_of_a_block_in_the_cache_are_not_touched() -> None:
    rows = ([b"a", b"b"], [1, 2], [b"x", b"y"])
    assert RowFilter([(b"a", 5)], None).apply(rows, 9) == ([b"a", b"b"], [1, 2], [None, b"y"])
    assert rows == ([b"a", b"b"], [1, 2], [b"x", b"y"])


@given(st.text("ab\0\xff", max_size=3), st.text("ab\0\xff", max_size=4))
def test_the_end_of_a_prefix_is_behind_all_that_begin_with_it(prefix: str, key: str) -> None:
    start, found = prefix.encode("latin-1"), key.encode("latin-1")
    end = prefix_end(start)
    assert (start <= found and (end is None or found < end)) == found.startswith(start)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("no.such.module:f", "cannot be imported: ModuleNotFoundError"),
        (f"{HOME}:nothing", "cannot be imported: AttributeError"),
        (f"{HOME}:not_a_function", "is not a function"),
    ],
)
def test_what_is_not_there_is_named(name: str, why: str) -> None:
    with pytest.raises(FilterFailed, match=f"the compaction filter {name} {why}"):
        RowFilter((), CompactionFilter(name))


@pytest.mark.parametrize("name", ["", "f", "module:", ":f", "a b:f", "module:f:g", "module:f()"])
def test_a_name_of_another_form_is_refused_at_once(name: str) -> None:
    with pytest.raises(InvalidParameterValue, match="names no compaction filter"):
        CompactionFilter(name)


@pytest.mark.parametrize("ttl_s", [0, -1, float("nan"), float("inf"), "3600"])
def test_a_life_that_is_no_time_is_refused(ttl_s: float) -> None:
    with pytest.raises(InvalidParameterValue, match="ttl_s is"):
        Expiry(b"session/", ttl_s)


# --- when was it committed? ------------------------------------------------------------------

samples = st.lists(st.tuples(st.integers(1, 50), st.integers(-3, 20)), max_size=60)


@given(samples, st.integers(0, 400))
def test_samples_never_make_a_commit_older_than_it_is(steps, second) -> None:
    times: CommitTimes = ()
    truth: list[tuple[int, int]] = []
    timestamp = now = latest = 0
    for more, passed in steps:
        timestamp, now = timestamp + more, max(0, now + passed)
        latest = max(latest, now)
        truth.append((timestamp, latest))
        times = with_samples(times, ((timestamp, latest),))
    assert newest_by(times, second) == max((at for at, by in truth if by <= second), default=0)


def test_samples_are_thinned_out_and_err_on_the_late_side() -> None:
    times: CommitTimes = ()
    for number in range(1, 20_000):
        times = with_samples(times, ((number, number * 10),))
        assert len(times) <= MAX_SAMPLES
    assert times == tuple(sorted(times))
    assert times[-1] == (19_999, 199_990)
    for second in range(0, 200_000, 777):
        assert newest_by(times, second) <= second // 10
    # The newest quarter of an hour is as exact as ever.
    assert newest_by(times, 199_000) == 19_900


def test_a_clock_that_is_set_back_makes_nothing_old(env: MemoryEnv, clock: Clock) -> None:
    options = replace(TINY, expiries=(Expiry(b"s", 3600),))
    engine = Engine.open(env, "db", options)
    engine.commit({b"s1": b"x"})
    engine.flush()
    engine.close()
    clock.now_s = 5.0
    engine = Engine.open(env, "db", options)
    engine.collect_below(lambda: engine.visible_timestamp)
    engine.commit({b"s2": b"y"})
    compact(engine)
    clock.now_s = NOON_S + 3000
    compact(engine)
    assert contents(engine) == {b"s1": b"x", b"s2": b"y"}
    clock.now_s = NOON_S + 3700
    compact(engine)
    assert contents(engine) == {}
    engine.close()


# --- expiry ----------------------------------------------------------------------------------


@both_styles
def test_what_rests_anywhere_in_the_tree_expires_without_a_write(
    env: MemoryEnv, clock: Clock, options: StorageOptions
) -> None:
    engine = Engine.open(env, "db", replace(options, expiries=(Expiry(b"session/", 3600),)))
    engine.collect_below(lambda: engine.visible_timestamp)
    chance = random.Random(3)
    users = {b"user/%02d" % number: b"ann" * 5 for number in range(20)}
    engine.commit(dict(users))
    for _ in range(150):
        engine.commit({b"session/%03d" % chance.randrange(300): chance.randbytes(30)})
    compact(engine)
    before = contents(engine)

    clock.now_s += 3599
    engine.wait_until_compacted()
    assert contents(engine) == before

    clock.now_s += 10
    engine.wait_until_compacted()
    assert contents(engine) == users
    assert value_count(engine) == len(users)
    assert engine.statistics().filtered_versions >= len(before) - len(users)
    done = engine.statistics().compactions
    clock.now_s += 10_000
    engine.wait_until_compacted()
    assert engine.statistics().compactions == done, "a table is rewritten for nothing"
    check_tree(engine)
    check_shape(engine)
    engine.close()


def test_what_rests_in_level_zero_expires_too(env: MemoryEnv, clock: Clock) -> None:
    engine = Engine.open(env, "db", StorageOptions(expiries=(Expiry(b"session/", 3600),)))
    engine.collect_below(lambda: engine.visible_timestamp)
    for number in range(3):
        engine.commit({b"session/1": b"%d" % number, b"user/1": b"%d" % number})
        compact(engine)
    assert engine.statistics().tables_per_level[0] == 3
    clock.now_s += 3601
    engine.wait_until_compacted()
    assert contents(engine) == {b"user/1": b"2"}
    assert engine.statistics().tables_per_level == (0, 0, 0, 0, 0, 0, 1)
    engine.close()


def test_only_what_was_looked_for_in_vain_is_remembered(env: MemoryEnv, clock: Clock) -> None:
    # Given many prefixes, and in the end a table that has keys of none of them.
    expiries = tuple(Expiry(b"s%02d" % number, 60) for number in range(50))
    engine = Engine.open(env, "db", replace(TINY, expiries=expiries))
    engine.collect_below(lambda: engine.visible_timestamp)
    engine.commit({b"s": b"of none", b"s00": b"of the first"})
    compact(engine)
    # When all has expired.
    clock.now_s += 1000
    engine.wait_until_compacted()
    # Then nothing need be known of it but its keys.
    assert set(contents(engine)) == {b"s"}
    assert engine._compactor.expiry._without_values == set()
    engine.close()


def test_what_is_ingested_ages_from_its_commit_on(env: MemoryEnv, clock: Clock) -> None:
    engine = Engine.open(env, "db", replace(TINY, expiries=(Expiry(b"s", 60),)))
    engine.collect_below(lambda: engine.visible_timestamp)
    engine.ingest([(b"s%03d" % number, b"x" * 40) for number in range(30)])
    # When nobody commits or flushes anything behind it.
    clock.now_s += 59
    engine.wait_until_compacted()
    assert len(contents(engine)) == 30
    clock.now_s += 2
    engine.wait_until_compacted()
    assert contents(engine) == {}
    engine.close()


def test_what_has_expired_is_not_rewritten_while_somebody_may_read_below_it(
    env: MemoryEnv, clock: Clock
) -> None:
    """It would be as it was, and be rewritten again, without an end."""
    engine = Engine.open(env, "db", replace(TINY, expiries=(Expiry(b"s", 60),)))
    for _ in range(3):
        engine.commit({b"s": b"x"})
        engine.flush()
    clock.now_s += 100
    sources, watch = engine._sources.now, engine._compactor.expiry
    assert watch.expired() == ((b"s", 3),)
    assert watch.pick(sources, 0, watch.expired()) is None
    assert watch.pick(sources, 3, watch.expired()) is not None
    engine.close()


def test_an_older_version_does_not_come_back_to_life(env: MemoryEnv, clock: Clock) -> None:
    engine = Engine.open(env, "db", replace(TINY, expiries=(Expiry(b"s", 3600),)))
    engine.collect_below(lambda: engine.visible_timestamp)
    for number in range(100):
        engine.commit({b"s%02d" % number: b"old", b"t%02d" % number: b"x" * 20})
    compact(engine)
    engine.commit({b"s50": b"new"})
    engine.flush()
    clock.now_s += 3700
    # Level 0 is compacted with what has expired in it, and the level below has the older one.
    for number in range(100):
        engine.commit({b"t%02d" % number: b"y" * 20})
        assert engine.read(b"s50", engine.visible_timestamp) in (b"new", None)
    compact(engine)
    assert set(contents(engine)) == {b"t%02d" % number for number in range(100)}
    engine.close()


def test_a_snapshot_loses_only_what_had_expired_when_it_was_taken(env: MemoryEnv, clock: Clock) -> None:
    store = LocalStore(Engine.open(env, "db", replace(TINY, expiries=(Expiry(b"s", 3600),))))

    def put(key: bytes) -> None:
        transaction = store.begin()
        transaction.put(key, b"x")
        transaction.commit()
        store.flush()

    put(b"s1")
    clock.now_s += 3000
    early = store.begin()
    assert early.get(b"s1") == b"x"
    clock.now_s += 3000
    # The timestamp is the same, as nobody has written; only the hour tells them apart.
    late = store.begin()
    assert late.get(b"s1") == b"x"
    store.wait_until_compacted()
    assert early.get(b"s1") == b"x"
    early.rollback()
    store.wait_until_compacted()
    assert late.get(b"s1") is None
    late.rollback()
    store.close()


def test_the_engine_looks_by_itself_when_nobody_writes(
    env: MemoryEnv, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry_module, "MOST_EXACT_S", 0.001)
    engine = Engine.open(env, "db", replace(TINY, expiries=(Expiry(b"s", 0.01),)))
    engine.collect_below(lambda: engine.visible_timestamp)
    engine.commit({b"s": b"x"})
    engine.flush()
    clock.now_s += 5
    for _ in range(20_000):
        if not contents(engine):
            break
    assert contents(engine) == {}
    engine.close()


def test_commit_times_are_in_the_manifest_after_reopening(env: MemoryEnv, clock: Clock) -> None:
    engine = Engine.open(env, "db", TINY)
    for _ in range(60):
        clock.now_s += 60
        engine.commit({b"s": b"x" * 40})
        engine.flush()
    times = engine._manifest.state.commit_times
    assert times == tuple((number, int(NOON_S) + 60 * number) for number in range(1, 61))
    engine.close()
    again = Engine.open(env, "db", TINY)
    assert again._manifest.state.commit_times == times
    again.close()


# --- the model --------------------------------------------------------------------------------

TTL_S = 100
PREFIXES = (b"a", b"b")
keys = st.sampled_from([b"%c%d" % (letter, number) for letter in b"abc" for number in range(5)])
values = st.none() | st.binary(max_size=30)


class ExpiryModel(RuleBasedStateMachine):
    """Nothing vanishes too early, for no snapshot; what is of age is gone when all is compacted.

    The model is a history of states, each with the time at which it was made.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.env = MemoryEnv()
        self.env.time_of_day = self.clock
        self.history: list[dict[bytes, tuple[bytes, float]]] = [{}]
        self.held: list[tuple[int, float]] = []
        self.open(TINY)
        # So that small runs come to lie above a large one, which has older versions of their keys.
        self.commit({b"c%02d" % number: b"z" * 60 for number in range(60)})
        self.commit({b"%c%d" % (letter, number): b"below" for letter in b"abc" for number in range(5)})
        self.compact()

    def open(self, options: StorageOptions) -> None:
        expiries = tuple(Expiry(prefix, TTL_S) for prefix in PREFIXES)
        self.engine = Engine.open(self.env, "db", replace(options, expiries=expiries))
        self.engine.collect_below(
            lambda: min([len(self.history) - 1, *(at for at, _ in self.held)]),
            lambda: min([self.clock.now_s, *(taken_s for _, taken_s in self.held)]),
        )

    @rule(writes=st.dictionaries(keys, values, min_size=1))
    def commit(self, writes: dict[bytes, bytes | None]) -> None:
        state = dict(self.history[-1])
        for key, value in writes.items():
            state.pop(key, None)
            if value is not None:
                state[key] = (value, self.clock.now_s)
        # The state first: the compaction thread may ask for the oldest snapshot meanwhile.
        self.engine.commit(writes)
        self.history.append(state)

    @rule(passed_s=st.integers(1, 80))
    def time_passes(self, passed_s: int) -> None:
        self.engine.flush()
        self.clock.now_s += passed_s

    @rule()
    def flush(self) -> None:
        self.engine.flush()

    @rule()
    def compact(self) -> None:
        compact(self.engine)
        check_tree(self.engine)
        check_shape(self.engine)

    @rule()
    def take_snapshot(self) -> None:
        self.held.append((self.engine.visible_timestamp, self.clock.now_s))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release_snapshot(self, data: st.DataObject) -> None:
        self.held.remove(data.draw(st.sampled_from(self.held)))

    @rule(options=st.sampled_from(list(STYLES.values())))
    def close_and_open(self, options: StorageOptions) -> None:
        self.engine.close()
        self.open(options)

    @invariant()
    def every_snapshot_sees_what_it_may_rely_on(self) -> None:
        for at, taken_s in [*self.held, (len(self.history) - 1, self.clock.now_s)]:
            found = contents(self.engine, at)
            for key, (value, committed_s) in self.history[at].items():
                may_be_gone = key.startswith(PREFIXES) and committed_s + TTL_S <= taken_s
                assert found.pop(key, None) == value or may_be_gone, (key, at)
            assert found == {}, "something has come back to life"

    def teardown(self) -> None:
        self.held.clear()
        self.engine.flush()
        self.clock.now_s += TTL_S + 2
        self.engine.wait_until_compacted()
        assert all(key.startswith(b"c") for key in contents(self.engine))
        self.every_snapshot_sees_what_it_may_rely_on()
        self.engine.close()


TestExpiryModel = ExpiryModel.TestCase
TestExpiryModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


# --- a filter of the user's -------------------------------------------------------------------

SPAM = CompactionFilter(f"{HOME}:drops_values_that_begin_with", b"spam")


def mixed(count: int) -> dict[bytes, bytes | None]:
    return {b"%04d" % number: b"spam" * 5 if number % 3 else b"mail" * 5 for number in range(count)}


@both_styles
def test_a_filter_is_asked_of_all_that_reaches_the_last_level(options: StorageOptions) -> None:
    engine = Engine.open(MemoryEnv(), "db", replace(options, compaction_filter=SPAM))
    engine.collect_below(lambda: engine.visible_timestamp)
    # In key order: without a filter these tables would only be moved.
    for key, value in mixed(300).items():
        engine.commit({key: value})
    compact(engine)
    for table in engine._sources.now.tables_of(6):
        assert not [value for _, _, value in table.entries() if value != b"mail" * 5]
    left = contents(engine)
    assert {key for key, value in left.items() if value == b"mail" * 5} == {
        b"%04d" % number for number in range(0, 300, 3)
    }
    assert engine.statistics().filtered_versions > 100
    engine.close()


def test_above_the_watermark_nothing_is_asked() -> None:
    engine = Engine.open(MemoryEnv(), "db", replace(TINY, compaction_filter=SPAM))
    engine.collect_below(lambda: 1)
    engine.commit({b"first": b"spam"})
    for number in range(200):
        engine.commit({b"%02d" % (number % 40): b"spam%d" % number})
    compact(engine)
    assert engine.statistics().compactions > 0
    assert len(contents(engine)) >= 40
    assert engine.statistics().filtered_versions <= 1
    engine.close()


CHILD = StorageOptions(
    memtable_bytes=100_000,
    table_bytes=20_000,
    level_base_bytes=40_000,
    durability=Durability.OFF,
    compaction_process_bytes=0,
    compaction_start_tables=2,
)


def child_engine(folder: Path, options: StorageOptions, monkeypatch: pytest.MonkeyPatch) -> Engine:
    # Where pytest puts it depends on how it is run; a program's own path has its modules.
    monkeypatch.syspath_prepend(Path(filters_for_tests.__file__).parent.as_posix())
    engine = Engine.open(OsEnv(), (folder / "db").as_posix(), options)
    engine.collect_below(lambda: engine.visible_timestamp)
    return engine


def test_the_child_process_filters_and_expires(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = replace(CHILD, compaction_filter=SPAM, expiries=(Expiry(b"00", 1),))
    engine = child_engine(tmp_path, options, monkeypatch)
    engine._clock._latest_s = 4e9
    monkeypatch.setattr(compaction_runner, "run_compaction", None)  # nothing is done in this process
    for _ in range(2):
        engine.commit(mixed(3000))
        engine.flush()
    engine._clock._latest_s = 4e9 + 10
    engine.wait_until_compacted()
    assert contents(engine) == {b"%04d" % n: b"mail" * 5 for n in range(0, 3000, 3) if n >= 100}
    engine.close()


def test_what_a_filter_prints_is_not_taken_for_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(CHILD, compaction_filter=CompactionFilter(f"{HOME}:prints_and_reads"))
    engine = child_engine(tmp_path, options, monkeypatch)
    for value in (b"1", b"2"):
        engine.commit({b"wanted": value, b"unwanted": value})
        engine.flush()
    engine.wait_until_compacted()
    assert engine.statistics().compaction_error is None
    assert contents(engine) == {b"wanted": b"2"}
    engine.close()


@pytest.mark.parametrize("in_child", [False, True])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        (f"{HOME}:raises", "failed for the key b'0000': LookupError: no such session"),
        (f"{HOME}:exits", "failed for the key b'0000': SystemExit: 3"),
        ("nowhere:f", "cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_a_filter_that_fails_stops_compaction_and_nothing_else(
    name: str, why: str, in_child: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(CHILD, compaction_filter=CompactionFilter(name))
    if not in_child:
        options = replace(options, compaction_process_bytes=1 << 30)
    engine = child_engine(tmp_path, options, monkeypatch)
    for _ in range(3):
        engine.commit(mixed(30))
        engine.flush()
    with pytest.raises(StorageError, match="compaction has stopped"):
        engine.wait_until_compacted()
    found = engine.statistics()
    # A hint may stand behind it, in brackets.
    assert (found.compaction_error or "").split(" (")[0] == f"the compaction filter {name} {why}".split(" (")[
        0
    ]
    assert found.compaction_failures == 1
    engine.commit({b"writes": b"go on"})
    expected = {**mixed(30), b"writes": b"go on"}
    assert contents(engine) == expected
    engine.close()

    again = child_engine(tmp_path, CHILD, monkeypatch)
    again.wait_until_compacted()
    assert contents(again) == expected
    again.close()


# --- crashes ----------------------------------------------------------------------------------


def folder_to_filter() -> CrashFS:
    """Three tables with spam, sessions that are about to expire, and letters."""
    fs = CrashFS()
    fs.time_of_day = Clock()
    engine = Engine.open(fs, "db", replace(TINY, compaction_start_tables=6))
    for number in range(3):
        engine.commit({**mixed(12), b"session/%d" % number: b"x", b"turn": b"%d" % number})
        engine.flush()
    engine.close()
    return fs.after_crash(Loss.EVERYTHING)


LETTERS = {b"%04d" % number: b"mail" * 5 for number in range(0, 12, 3)} | {b"turn": b"2"}


@pytest.mark.parametrize("style", STYLES)
def test_a_crash_at_any_call_of_a_filtering_compaction_loses_nothing_that_is_wanted(
    style, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(compaction_module, "FIRST_PAUSE_S", 0.0001)
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    prepared = folder_to_filter()
    prepared.time_of_day.now_s += 7200
    options = replace(STYLES[style], compaction_filter=SPAM, expiries=(Expiry(b"session/", 3600),))
    before = {**mixed(12), **{b"session/%d" % n: b"x" for n in range(3)}, b"turn": b"2"}

    def run(fs: CrashFS) -> dict[bytes, bytes]:
        engine = Engine.open(fs, "db", options)
        try:
            engine.collect_below(lambda: engine.visible_timestamp)
            engine.wait_until_compacted()
            return contents(engine)
        finally:
            engine.close()

    disk_count = number = 0
    while True:
        number += 1
        fs = prepared.after_kill(crash_at=number)
        try:
            run(fs)
        except Error:
            assert fs.has_crashed
        if not fs.has_crashed:
            break
        disks = [(loss.name, disk) for loss, disk in fs.disks_after_crash(seed)]
        for how, disk in [*disks, ("killed", fs.after_kill())]:
            where = f"seed {seed}, call {number} ({fs.calls[-1]}), {how}"
            engine = Engine.open(disk, "db", replace(TINY, compaction_start_tables=6))
            found = contents(engine)
            engine.close()
            assert LETTERS.items() <= found.items() <= before.items(), where
            assert run(disk) == LETTERS, where
            disk_count += 1
    with capsys.disabled():
        print(f"\n  {style} compaction with filters: {number - 1} calls, {disk_count} disks", end="")
    assert number > 20
