"""The block cache: decoded blocks, and a scan does not push out what is used again.

What is kept is the decoded block, its lists of Python objects, not the bytes of the file:
decoding costs about as much as reading from the operating system's cache, which keeps the
bytes anyway. So a decoded block is counted with what it costs as objects, which for short
rows is two to four times its bytes in the file (`Block.size_bytes` says how it is counted).

One cache serves all tables of an engine. It is S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi, SOSP
2023): most blocks that come are never asked for again, so each must first show that it is.

    put ---> small, a tenth ---- used meanwhile ----> main, nine tenths ---+ used meanwhile:
               |                                        ^        |   ^-----+ round again
               | never used: it only passed through     |        | not used
               v                                        |        v
             ghosts: places, no blocks --- put again ---+       gone

All three are queues: first in, first out. A scan of a large table runs through `small` and
never reaches `main`. A block that comes back while its ghost is remembered has shown that it
is used, and goes to `main` at once. A hit moves nothing, it only counts up (to 3): each use
saves a block in `main` from one round. That makes a hit cheaper than with LRU, which takes
the block out of its order and puts it back. Beside LRU, 2Q and segmented LRU it was measured:
docs/performance.md#the-block-cache.

A ghost costs memory as well, and is counted: `capacity_bytes` bounds blocks and ghosts
together, and ghosts have at most a 32nd of it.

Limits: one lock for all; it is held for some steps of a dict. Where no block is ever asked for
twice, putting one costs more than with LRU (1.7 us and not 1.1, beside the 10 of a miss).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

from ferrisdb.errors import invariant
from ferrisdb.storage.block import Block
from ferrisdb.storage.read_counts import ReadCounts

Place = tuple[int, int]

GHOST_BYTES: Final = 250
"""A tuple of two numbers and its share of a dict."""

_SMALL_DIVISOR: Final = 10
_GHOSTS_DIVISOR: Final = 32
_MOST_USES: Final = 3


class _Held:
    """A block in the cache, and its uses since it came or since its last round."""

    __slots__ = ("block", "uses")

    def __init__(self, block: Block) -> None:
        self.block = block
        self.uses = 0


class BlockCache:
    """Blocks by (file number, offset), at most `capacity_bytes` of them; 0 keeps nothing.

    Thread-safe. The counters count since the beginning, and are exact. Hits are counted for
    whoever asks, under the same lock: a hit is what most reads are, and one count is enough.
    """

    def __init__(self, capacity_bytes: int) -> None:
        invariant(capacity_bytes >= 0, f"a cache of {capacity_bytes} bytes")
        self.capacity_bytes = capacity_bytes
        self.misses = 0
        self.evictions = 0
        self.passed_through = 0
        """Of the evictions: blocks that nobody asked for again, as those of a scan."""
        self.size_bytes = 0
        """Of blocks and ghosts."""
        self._most_ghosts = capacity_bytes // _GHOSTS_DIVISOR // GHOST_BYTES
        # With all ghosts there, this one block must still have room.
        self._largest_block_bytes = capacity_bytes - self._most_ghosts * GHOST_BYTES
        self._small_target_bytes = capacity_bytes // _SMALL_DIVISOR
        # Of the blocks that the ghosts stand for: as many as `main` has, says the paper.
        self._ghosts_target_bytes = capacity_bytes - self._small_target_bytes
        self._held: dict[Place, _Held] = {}
        # Dicts for queues: in the order in which they came, and `drop` takes out anywhere.
        self._small: dict[Place, _Held] = {}
        self._main: dict[Place, _Held] = {}
        self._ghosts: dict[Place, int] = {}
        self._small_bytes = 0
        self._ghosted_bytes = 0
        self._lock = threading.Lock()

    def get(self, file_number: int, offset: int, counts: ReadCounts) -> Block | None:
        """The block at `offset` of the file, or None; counts as a use, and a hit in `counts`."""
        place = (file_number, offset)
        with self._lock:
            held = self._held.get(place)
            if held is None:
                self.misses += 1
                return None
            if held.uses < _MOST_USES:
                held.uses += 1
            counts.cache_hits += 1
            return held.block

    def put(self, file_number: int, offset: int, block: Block) -> None:
        """Keep `block`, for now. One that is larger than the whole cache is not kept.

        Two readers that miss the same block at once both put it. The first one stays: the second
        would begin in `small` again, also where the first has just come to `main` by its ghost.
        """
        if block.size_bytes > self._largest_block_bytes:
            return
        place = (file_number, offset)
        with self._lock:
            if place in self._held:
                return
            has_ghost = place in self._ghosts
            held = self._held[place] = _Held(block)
            self.size_bytes += block.size_bytes
            if has_ghost:
                self._forget_ghost(place)
                self._main[place] = held
            else:
                self._small[place] = held
                self._small_bytes += block.size_bytes
            while self.size_bytes > self.capacity_bytes:
                # Not the only one in `small`: in a tiny cache that is the one that just came,
                # and what is in `main` would never make room for anything.
                is_small_full = self._small_bytes > self._small_target_bytes and len(self._small) > 1
                if is_small_full or not self._main:
                    self._take_from_small()
                else:
                    self._take_from_main()

    def drop(self, file_number: int, offsets: Iterable[int]) -> None:
        """Forget these blocks of a file that nobody will read again.

        Whoever puts one holds its table, and this is called when nobody does, or when the engine is
        closed and the cache goes with it: so no block comes too late and stays.
        """
        with self._lock:
            for offset in offsets:
                place = (file_number, offset)
                self._forget(place)
                if place in self._ghosts:
                    self._forget_ghost(place)

    # --- called under the lock

    def _take_from_small(self) -> None:
        place = next(iter(self._small))
        held = self._small.pop(place)
        size_bytes = held.block.size_bytes
        self._small_bytes -= size_bytes
        if held.uses:
            held.uses = 0
            self._main[place] = held
            return
        del self._held[place]
        self.size_bytes -= size_bytes
        self.evictions += 1
        self.passed_through += 1
        self._ghosts[place] = size_bytes
        self._ghosted_bytes += size_bytes
        self.size_bytes += GHOST_BYTES
        while len(self._ghosts) > self._most_ghosts or self._ghosted_bytes > self._ghosts_target_bytes:
            self._forget_ghost(next(iter(self._ghosts)))

    def _take_from_main(self) -> None:
        place = next(iter(self._main))
        held = self._main.pop(place)
        if held.uses:
            held.uses -= 1
            self._main[place] = held
            return
        del self._held[place]
        self.size_bytes -= held.block.size_bytes
        self.evictions += 1

    def _forget(self, place: Place) -> None:
        held = self._held.pop(place, None)
        if held is None:
            return
        self.size_bytes -= held.block.size_bytes
        if self._small.pop(place, None) is not None:
            self._small_bytes -= held.block.size_bytes
        else:
            del self._main[place]

    def _forget_ghost(self, place: Place) -> None:
        self._ghosted_bytes -= self._ghosts.pop(place)
        self.size_bytes -= GHOST_BYTES
