"""Own writes: laid over a snapshot as if they had always been there, and undone to a savepoint."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrisdb import errors
from ferrisdb.txn.write_set import WriteSet, overlay

keys = st.binary(min_size=1, max_size=2)
rows = st.dictionaries(keys, st.binary(max_size=2), max_size=20)
writes = st.dictionaries(keys, st.none() | st.binary(max_size=2), max_size=20)


@given(snapshot=rows, own=writes, batch=st.integers(1, 5), reverse=st.booleans())
def test_an_overlaid_scan_equals_a_scan_of_the_merged_store(
    snapshot: dict[bytes, bytes], own: dict[bytes, bytes | None], batch: int, reverse: bool
) -> None:
    ordered = sorted(snapshot, reverse=reverse)
    batches = [
        (ordered[i : i + batch], [snapshot[k] for k in ordered[i : i + batch]])
        for i in range(0, len(ordered), batch)
    ]
    merged = {key: value for key, value in {**snapshot, **own}.items() if value is not None}

    result = list(overlay(iter(batches), sorted(own), own, reverse))

    assert all(keys for keys, _ in result), "no empty batch"
    pairs = [pair for keys, values in result for pair in zip(keys, values, strict=True)]
    assert pairs == [(key, merged[key]) for key in sorted(merged, reverse=reverse)]


@given(
    st.lists(
        st.tuples(st.just("write"), keys, st.none() | st.binary(max_size=3))
        | st.tuples(st.just("delete range"), keys, st.none() | keys)
        | st.tuples(st.just("savepoint"))
        | st.tuples(st.just("back"), st.integers(0, 5))
        | st.tuples(st.just("look"), keys, keys),
        max_size=40,
    )
)
def test_going_back_to_a_savepoint_restores_what_stood_there(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    own = WriteSet(10**6)
    savepoints: list[tuple[int, dict[bytes, bytes | None], int, list[bool]]] = []
    probes = [bytes(each) for each in ((0,), (0, 0), (7,), (128, 1), (255,), (255, 255))]

    def deleted() -> list[bool]:
        """Of some keys whether they lie in a deleted range, which gaps must say as well."""
        gaps = own.gaps_between(b"", None)
        found = [own.has_deleted(key) for key in probes]
        assert found == [not any(lo <= key and (hi is None or key < hi) for lo, hi in gaps) for key in probes]
        return found

    for step in steps:
        if step[0] == "write":
            own.write(step[1], step[2])
        elif step[0] == "savepoint":
            savepoints.append((own.savepoint(), dict(own.values), own.size_bytes, deleted()))
        elif step[0] == "delete range" and (step[2] is None or step[1] < step[2]):
            lo, hi = step[1], step[2]
            was_deleted = deleted()
            expected = {
                key: value for key, value in own.values.items() if key < lo or (hi is not None and key >= hi)
            }
            own.delete_range(lo, hi)
            assert own.values == expected
            assert deleted() == [
                before or (lo <= key and (hi is None or key < hi))
                for key, before in zip(probes, was_deleted, strict=True)
            ]
        elif step[0] == "back" and savepoints:
            position, values, size, was_deleted = savepoints[step[1] % len(savepoints)]
            del savepoints[step[1] % len(savepoints) + 1 :]
            own.rollback_to(position)
            assert own.values == values
            assert own.size_bytes == size
            assert deleted() == was_deleted
        elif step[0] == "look":
            lo, hi = step[1], step[2]
            assert own.keys_between(lo, hi) == sorted(k for k in own.values if lo <= k < hi)
        assert own.keys_between(b"", None) == sorted(own.values)


def test_a_transaction_that_grows_past_its_bound_is_told_and_keeps_what_it_had() -> None:
    own = WriteSet(max_bytes=1000)
    own.write(b"a", b"x" * 500)
    with pytest.raises(errors.TransactionTooLarge):
        own.write(b"b", b"x" * 500)
    assert own.values == {b"a": b"x" * 500}
    own.write(b"c", b"small")


def test_a_key_written_again_and_again_is_counted_once() -> None:
    writes = WriteSet(max_bytes=1000)
    for number in range(100):
        writes.write(b"counter", b"%03d" % number)
    once = WriteSet(max_bytes=1000)
    once.write(b"counter", b"000")
    assert writes.size_bytes == once.size_bytes
