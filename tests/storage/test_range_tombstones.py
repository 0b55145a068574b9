"""The set of deleted ranges, judged by asking each tombstone in turn."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ferrisdb.storage.range_tombstones import MAX_VIEWS, RangeTombstone, RangeTombstones

keys = st.text("ab\0\xff", max_size=3).map(lambda text: text.encode("latin-1"))
ranges = st.tuples(keys, st.none() | keys).filter(lambda found: found[1] is None or found[0] < found[1])
timestamps = st.integers(1, 12)
tombstones = st.lists(
    st.tuples(ranges, timestamps).map(lambda found: RangeTombstone(*found[0], found[1])), max_size=12
)


def floor_by_asking_all(found: list[RangeTombstone], key: bytes, timestamp: int) -> int:
    return max(
        (
            each.timestamp
            for each in found
            if each.timestamp <= timestamp and each.lo <= key and (each.hi is None or key < each.hi)
        ),
        default=0,
    )


@given(tombstones, keys, st.integers(0, 13))
def test_the_floor_of_a_key_is_the_newest_tombstone_that_covers_it(
    found: list[RangeTombstone], key: bytes, timestamp: int
) -> None:
    assert RangeTombstones(found).floor(key, timestamp) == floor_by_asking_all(found, key, timestamp)


@given(tombstones, ranges, st.integers(0, 13), st.lists(keys))
def test_fragments_lie_end_to_end_and_each_has_one_floor(
    found: list[RangeTombstone], bounds: tuple[bytes, bytes | None], timestamp: int, probes: list[bytes]
) -> None:
    lo, hi = bounds
    fragments = RangeTombstones(found).as_of(timestamp).fragments(lo, hi)
    assert (fragments[0].lo, fragments[-1].hi) == (lo, hi)
    assert all(left.hi == right.lo for left, right in pairwise(fragments))
    for fragment in fragments:
        assert fragment.hi is None or fragment.lo < fragment.hi
        for key in [fragment.lo, *probes]:
            if fragment.lo <= key and (fragment.hi is None or key < fragment.hi):
                assert fragment.floor == floor_by_asking_all(found, key, timestamp)


@given(tombstones, ranges)
def test_the_newest_in_a_range_is_that_of_any_key_of_it(
    found: list[RangeTombstone], bounds: tuple[bytes, bytes | None]
) -> None:
    lo, hi = bounds
    meeting = [each.timestamp for each in found if each.meets(lo, hi)]
    assert RangeTombstones(found).newest_in(lo, hi) == max(meeting, default=0)


@given(tombstones, st.integers(0, 12), keys, st.integers(0, 13), st.data())
def test_a_set_that_grew_and_shrank_is_the_set_of_what_is_left(
    found: list[RangeTombstone], cut: int, key: bytes, timestamp: int, data: st.DataObject
) -> None:
    by_age = sorted(dict.fromkeys(found), key=lambda each: each.timestamp)
    grown = RangeTombstones(by_age[:cut])
    grown.floor(key, timestamp)
    grown = grown.with_added(by_age[cut:])
    gone = data.draw(st.lists(st.sampled_from(by_age))) if by_age else []
    for whole, left in (
        (grown, by_age),
        (grown.without(gone), [each for each in by_age if each not in gone]),
    ):
        assert list(whole.all) == left
        assert whole.floor(key, timestamp) == floor_by_asking_all(left, key, timestamp)
        assert list(whole.between(3, 7)) == [each for each in left if 3 < each.timestamp <= 7]


def test_views_for_old_snapshots_are_bounded() -> None:
    found = [RangeTombstone(b"%04d" % number, b"%04d" % (number + 2), number + 1) for number in range(300)]
    tombstones = RangeTombstones(found)
    for timestamp in range(301):
        key = b"%04d" % (timestamp // 2)
        assert tombstones.floor(key, timestamp) == floor_by_asking_all(found, key, timestamp)
    assert len(tombstones._views) <= MAX_VIEWS
