"""Both memtables against one model, and readers beside a writer."""

from __future__ import annotations

import sys
import threading

import pytest
import version_model as model
from hypothesis import given
from hypothesis import strategies as st

from ferrisdb.errors import InvariantViolation
from ferrisdb.storage.memtable import LARGEST_SLICE_KEYS
from ferrisdb.storage.memtable_kinds import Memtable, new_memtable
from ferrisdb.storage.options import MemtableKind
from ferrisdb.storage.version import MISSING

pytestmark = pytest.mark.parametrize("kind", MemtableKind)


def memtable_of(versions: model.Versions, kind: MemtableKind) -> Memtable:
    memtable = new_memtable(kind)
    for timestamp, writes in model.commits(versions):
        memtable.add(timestamp, writes)
    return memtable


def test_a_reader_sees_the_newest_version_at_or_below_its_timestamp(kind):
    memtable = new_memtable(kind)
    memtable.add(2, {b"a": b"y"})
    memtable.add(5, {b"a": None})
    memtable.add(9, {b"a": b"x"})

    assert memtable.read(b"a", 1) is MISSING
    assert memtable.read(b"a", 4) == b"y"
    assert memtable.read(b"a", 8) is None, "deleted is an answer, not a miss"
    assert memtable.read(b"a", 9) == b"x"
    assert memtable.newest_timestamp(b"a") == 9
    assert memtable.newest_timestamp(b"b") == 0


@given(model.versions, model.timestamps)
def test_point_reads_answer_as_the_model_does(kind, versions, timestamp):
    memtable = memtable_of(versions, kind)
    for key in [*versions, b"absent"]:
        assert memtable.read(key, timestamp) == model.read(versions, key, timestamp)
        assert memtable.newest_timestamp(key) == max(versions.get(key, [0]))


@given(model.versions, model.timestamps, st.booleans())
def test_ranges_answer_as_the_model_does(kind, versions, timestamp, reverse):
    memtable = memtable_of(versions, kind)
    for lo in [b"", b"b", *versions]:
        for hi in [None, b"b", *versions]:
            found = model.rows(memtable.chunks(lo, hi, timestamp, reverse=reverse))
            assert found == model.visible(versions, lo, hi, timestamp, reverse=reverse)


@given(model.versions)
def test_a_sealed_memtable_gives_every_version_in_file_order(kind, versions):
    memtable = memtable_of(versions, kind)
    assert list(memtable.entries()) == model.entries(versions)
    assert memtable.version_count == len(model.entries(versions))


@pytest.mark.parametrize("reverse", [False, True])
def test_a_range_longer_than_one_slice_comes_whole(kind, reverse):
    count = 3 * LARGEST_SLICE_KEYS
    keys = [b"%06d" % number for number in range(count)]
    memtable = new_memtable(kind)
    memtable.add(1, dict.fromkeys(keys, b"v"))

    found = model.rows(memtable.chunks(b"", None, 1, reverse=reverse))

    assert [key for key, _ in found] == (keys[::-1] if reverse else keys)


def test_the_first_slice_of_a_range_is_short(kind):
    memtable = new_memtable(kind)
    memtable.add(1, {b"%06d" % number: b"v" for number in range(10_000)})

    keys, _ = next(memtable.chunks(b"", None, 1))

    assert len(keys) < 100


@pytest.mark.parametrize("reverse", [False, True])
def test_keys_that_arrive_during_a_scan_are_not_shown(kind, reverse):
    memtable = new_memtable(kind)
    before = [b"%06d" % number for number in range(0, 4000, 2)]
    memtable.add(1, dict.fromkeys(before, b"old"))

    scan = memtable.chunks(b"", None, 1, reverse=reverse)
    found = []
    for timestamp, (keys, values) in enumerate(scan, start=2):
        found.extend(zip(keys, values, strict=True))
        memtable.add(timestamp, {b"%06d" % number: b"new" for number in range(timestamp, 4000, 7)})

    assert found == [(key, b"old") for key in sorted(before, reverse=reverse)]


def test_bytes_grow_with_keys_and_with_versions(kind):
    memtable = new_memtable(kind)
    assert memtable.approximate_bytes == 0
    memtable.add(1, {b"k" * 100: b"v" * 1000})
    first = memtable.approximate_bytes
    memtable.add(2, {b"k" * 100: b"v" * 1000})
    second = memtable.approximate_bytes - first

    assert 1100 < first < 1500
    assert 1000 < second < first, "a new version of a key costs less than a new key"


def test_versions_of_a_key_must_come_in_order(kind):
    memtable = new_memtable(kind)
    memtable.add(5, {b"a": b"x"})
    with pytest.raises(InvariantViolation, match="comes after"):
        memtable.add(5, {b"a": b"y"})


def test_readers_beside_a_writer_see_exactly_what_was_published(kind):
    """Commit t writes t into key t, and into a hot key. A reader that was told of t must see
    keys 1..t, in order, and the hot key at t, whatever the writer has done since."""
    memtable = new_memtable(kind)
    published = 0
    wrong: list[str] = []
    stop = threading.Event()

    def read_for_ever(reverse: bool) -> None:
        while not stop.is_set():
            timestamp = published
            expected = [b"k%06d" % number for number in range(1, timestamp + 1)]
            chunks = memtable.chunks(b"k", b"l", timestamp, reverse=reverse)
            found = [key for keys, _ in chunks for key in keys]
            if found != (expected[::-1] if reverse else expected):
                wrong.append(f"scan at {timestamp}: {len(found)} keys")
            if timestamp and memtable.read(b"hot", timestamp) != b"%d" % timestamp:
                wrong.append(f"hot at {timestamp}: {memtable.read(b'hot', timestamp)!r}")

    readers = [threading.Thread(target=read_for_ever, args=(reverse,)) for reverse in (False, True, False)]
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for reader in readers:
            reader.start()
        for timestamp in range(1, 3001):
            memtable.add(timestamp, {b"k%06d" % timestamp: b"v", b"hot": b"%d" % timestamp})
            published = timestamp
    finally:
        stop.set()
        for reader in readers:
            reader.join()
        sys.setswitchinterval(interval_s)

    assert wrong == []
