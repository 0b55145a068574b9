"""The block cache keeps what is used again, within its bytes, and counts what it did."""

from __future__ import annotations

import random
import threading

from hypothesis import given
from hypothesis import strategies as st

from ferrisdb.storage.block import Block
from ferrisdb.storage.block_cache import GHOST_BYTES, BlockCache
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.read_counts import ReadCounts

BLOCK_BYTES = 10_000


def block(size_bytes: int = BLOCK_BYTES) -> Block:
    made = Block([b"k"], [1], [b"v"], newest_timestamp=1, distinct_keys=1, encoded_bytes=0)
    made.size_bytes = size_bytes
    return made


class Reader:
    """Reads through the cache, as a table does."""

    def __init__(self, cache: BlockCache) -> None:
        self.cache = cache
        self.counts = ReadCounts()

    def holds(self, offset: int, file_number: int = 1) -> bool:
        return self.cache.get(file_number, offset, ReadCounts()) is not None

    def read(self, *offsets: int) -> None:
        for offset in offsets:
            if self.cache.get(1, offset, self.counts) is None:
                self.cache.put(1, offset, block())


def test_a_scan_leaves_the_blocks_that_are_used_again() -> None:
    # Given a cache of 100 blocks, 50 of them used twice.
    reader = Reader(BlockCache(100 * BLOCK_BYTES))
    hot = range(50)
    reader.read(*hot, *hot)
    # When a table of ten times the cache is read through.
    reader.read(*range(1000, 2000))
    # Then all of the fifty are still there, and most of the scan was not kept.
    assert all(reader.holds(offset) for offset in hot)
    assert 900 < reader.cache.passed_through <= 1000


def test_a_block_that_comes_back_soon_stays() -> None:
    # Given a full cache, in which a block was put once, not used, and thrown out by others.
    reader = Reader(BlockCache(100 * BLOCK_BYTES))
    reader.read(*range(100), *range(100))
    reader.read(500, *range(600, 620))
    assert not reader.holds(500)
    # When it is read again, its ghost is remembered: it is taken among the lasting.
    reader.read(500)
    reader.read(*range(1000, 1200))
    assert reader.holds(500)


def test_a_block_that_two_readers_put_at_once_keeps_what_the_first_has_shown() -> None:
    # Given a block that comes back while its ghost is remembered; two readers have missed it.
    reader = Reader(BlockCache(100 * BLOCK_BYTES))
    reader.read(*range(100), *range(100))
    reader.read(500, *range(600, 620))
    reader.cache.put(1, 500, block())
    reader.cache.put(1, 500, block())
    # When a scan comes by.
    reader.read(*range(1000, 1050))
    # Then it is still there, as if one of them had put it.
    assert reader.holds(500)


def test_what_was_hot_once_makes_room_for_what_is_hot_now() -> None:
    # From the smallest cache, which has no room for ghosts, to one with hundreds of blocks.
    for blocks in (1, 2, 3, 10, 400):
        reader = Reader(BlockCache(blocks * BLOCK_BYTES * 32 // 31))
        reader.read(*[*range(blocks)] * 5)
        for _ in range(12):
            reader.read(*range(1000, 1000 + blocks))
        before = reader.counts.cache_hits
        reader.read(*range(1000, 1000 + blocks))
        assert reader.counts.cache_hits - before >= 0.8 * blocks, f"a cache of {blocks} blocks"


def test_a_block_larger_than_the_cache_pushes_nothing_out() -> None:
    cache = BlockCache(300)
    kept = block(300)
    cache.put(1, 0, kept)
    cache.put(1, 300, block(301))
    assert cache.get(1, 0, ReadCounts()) is kept
    assert cache.get(1, 300, ReadCounts()) is None


def test_a_cache_of_no_bytes_keeps_nothing() -> None:
    cache = BlockCache(0)
    cache.put(1, 0, block(1))
    assert cache.get(1, 0, ReadCounts()) is None
    assert cache.size_bytes == 0


def test_dropping_a_file_leaves_the_others() -> None:
    reader = Reader(BlockCache(300))
    reader.cache.put(1, 0, block(100))
    reader.cache.put(2, 0, block(100))
    reader.cache.drop(1, [0, 100])
    assert not reader.holds(0)
    assert reader.holds(0, file_number=2)
    assert reader.cache.size_bytes == 100


def test_dropping_a_file_forgets_its_ghosts() -> None:
    reader = Reader(BlockCache(100 * BLOCK_BYTES))
    reader.read(*range(150))
    assert reader.cache.size_bytes % BLOCK_BYTES > 0, "ghosts count, too"
    reader.cache.drop(1, range(150))
    assert reader.cache.size_bytes == 0


operations = st.tuples(st.sampled_from(["get", "put", "put", "drop"]), st.integers(0, 2), st.integers(0, 9))
CAPACITIES = st.sampled_from([0, 100, 30_000, 100_000])


@given(CAPACITIES, st.lists(st.tuples(operations, st.integers(1, 120)), max_size=120))
def test_the_cache_gives_what_was_put_or_nothing_and_keeps_its_bounds(capacity_bytes, steps) -> None:
    cache = BlockCache(capacity_bytes)
    scale = max(1, capacity_bytes // 300)
    was_put: dict[tuple[int, int], Block] = {}
    counts = ReadCounts()
    asked = 0
    for (what, file_number, offset), size in steps:
        place = (file_number, offset)
        if what == "get":
            asked += 1
            found = cache.get(*place, counts)
            assert found is None or found is was_put[place]
        elif what == "put":
            made = block(size * scale)
            if place not in cache._held:
                was_put[place] = made
            cache.put(*place, made)
        else:
            cache.drop(file_number, [offset])
            was_put.pop(place, None)
            assert cache.get(*place, ReadCounts()) is None
            cache.misses -= 1
        held = {at: kept for at in was_put if (kept := cache._held.get(at)) is not None}
        assert cache._held.keys() == held.keys() == cache._small.keys() | cache._main.keys()
        assert not cache._held.keys() & cache._ghosts.keys()
        held_bytes = sum(kept.block.size_bytes for kept in held.values())
        assert cache.size_bytes == held_bytes + len(cache._ghosts) * GHOST_BYTES <= capacity_bytes
        assert cache._small_bytes == sum(kept.block.size_bytes for kept in cache._small.values())
        assert cache._ghosted_bytes == sum(cache._ghosts.values())
    assert counts.cache_hits + cache.misses == asked


def test_many_threads_leave_the_books_in_balance() -> None:
    cache = BlockCache(20 * BLOCK_BYTES)
    counts = ReadCounts()

    def use(seed: int) -> None:
        for step in range(3_000):
            place = (1, (step * (seed + 3)) % 40)
            if cache.get(*place, counts) is None:
                cache.put(*place, block())

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # Hits are counted in one place by all, and not one is lost.
    assert counts.cache_hits + cache.misses == 4 * 3_000
    assert cache.size_bytes <= 20 * BLOCK_BYTES
    held = [offset for offset in range(40) if cache.get(1, offset, counts) is not None]
    assert cache.size_bytes == len(held) * BLOCK_BYTES + len(cache._ghosts) * GHOST_BYTES


def test_a_full_scan_of_a_large_database_leaves_the_hot_keys_in_memory() -> None:
    # Given a table of ten times the cache, and a few keys that are read all the time.
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    engine = Engine.open(MemoryEnv(), "db", StorageOptions(cache_bytes=400_000))
    for first in range(0, 20_000, 1000):
        engine.commit({b"%06d" % key: b"v" * 20 for key in range(first, first + 1000)})
    engine.flush()
    now = engine.visible_timestamp
    hot = [b"%06d" % chance.randrange(20_000) for _ in range(10)]
    for key in hot * 3:
        engine.read(key, now)
    # When somebody reads all of it.
    assert sum(len(keys) for keys, _ in engine.scan(b"", None, now)) == 20_000
    before = engine.statistics()
    assert before.cache_passed_through * 400_000 > 9 * before.cache_bytes * 10
    # Then the hot keys are read without the disk.
    for key in hot:
        assert engine.read(key, now) == b"v" * 20
    after = engine.statistics()
    assert (after.cache_misses, after.cache_hits) == (before.cache_misses, before.cache_hits + 10)
    engine.close()
