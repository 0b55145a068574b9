"""The block cache holds what was used last, within its bytes, and counts what it did."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from ferrisdb.storage.block import Block
from ferrisdb.storage.block_cache import BlockCache


def block(size_bytes: int) -> Block:
    made = Block([b"k"], [1], [b"v"], newest_timestamp=1, distinct_keys=1, encoded_bytes=0)
    made.size_bytes = size_bytes
    return made


def test_the_least_recently_used_block_goes_first():
    cache = BlockCache(300)
    first, second, third, fourth = (block(100) for _ in range(4))
    cache.put(1, 0, first)
    cache.put(1, 100, second)
    cache.put(1, 200, third)
    assert cache.get(1, 0) is first

    cache.put(1, 300, fourth)

    assert cache.get(1, 100) is None, "the second was used longest ago"
    assert cache.get(1, 0) is first
    assert cache.get(1, 200) is third
    assert (cache.hits, cache.misses, cache.evictions, cache.size_bytes) == (3, 1, 1, 300)


def test_a_block_larger_than_the_cache_pushes_nothing_out():
    cache = BlockCache(300)
    kept = block(300)
    cache.put(1, 0, kept)
    cache.put(1, 300, block(301))
    assert cache.get(1, 0) is kept
    assert cache.get(1, 300) is None


def test_a_cache_of_no_bytes_keeps_nothing():
    cache = BlockCache(0)
    cache.put(1, 0, block(1))
    assert cache.get(1, 0) is None
    assert cache.size_bytes == 0


def test_dropping_a_file_leaves_the_others():
    cache = BlockCache(300)
    cache.put(1, 0, block(100))
    cache.put(2, 0, block(100))
    cache.drop(1, [0, 100])
    assert cache.get(1, 0) is None
    assert cache.get(2, 0) is not None
    assert cache.size_bytes == 100


operations = st.tuples(st.sampled_from(["get", "put", "drop"]), st.integers(0, 2), st.integers(0, 3))


@given(st.lists(st.tuples(operations, st.integers(1, 50)), max_size=60))
def test_the_cache_is_a_list_in_order_of_use_cut_to_its_bytes(steps):
    cache = BlockCache(100)
    model: list[tuple[tuple[int, int], Block]] = []
    for (what, file_number, offset), size_bytes in steps:
        place = (file_number, offset)
        present = next((held for at, held in model if at == place), None)
        if what == "get":
            assert cache.get(*place) is present
        model = [(at, held) for at, held in model if at != place]
        if what == "get" and present is not None:
            model.append((place, present))
        elif what == "put":
            model.append((place, block(size_bytes)))
            cache.put(*place, model[-1][1])
        elif what == "drop":
            cache.drop(file_number, [offset])
        while sum(held.size_bytes for _, held in model) > 100:
            del model[0]
        assert cache.size_bytes == sum(held.size_bytes for _, held in model)


def test_many_threads_leave_the_books_in_balance():
    cache = BlockCache(2_000)

    def use(seed: int) -> None:
        for step in range(3_000):
            place = (1, (step * (seed + 3)) % 40)
            if cache.get(*place) is None:
                cache.put(*place, block(100))

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert cache.hits + cache.misses == 4 * 3_000
    assert cache.size_bytes == 2_000
    held = [offset for offset in range(40) if cache.get(1, offset) is not None]
    assert len(held) == 20
