"""The block cache: decoded blocks, the least recently used thrown out first.

What is kept is the decoded block, its lists of Python objects, not the bytes of the file:
decoding costs about as much as reading from the operating system's cache, which keeps the
bytes anyway. So a decoded block is counted with what it costs as objects, which for short
rows is two to four times its bytes in the file (`Block.size_bytes` says how it is counted).

One cache serves all files of an engine. A dict keeps its keys in the order of their last
use: a hit takes the block out and puts it back at the end, under the lock.

Limits: a scan of more than the cache holds pushes everything else out.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from ferrisdb.errors import invariant
from ferrisdb.storage.block import Block


class BlockCache:
    """Blocks by (file number, offset), at most `capacity_bytes` of them; 0 keeps nothing.

    Thread-safe. `hits`, `misses` and `evictions` count since the beginning.
    """

    def __init__(self, capacity_bytes: int) -> None:
        invariant(capacity_bytes >= 0, f"a cache of {capacity_bytes} bytes")
        self.capacity_bytes = capacity_bytes
        self.hits = 0
        self.misses = 0
        self.evictions = 0
        self.size_bytes = 0
        self._blocks: dict[tuple[int, int], Block] = {}
        self._lock = threading.Lock()

    def get(self, file_number: int, offset: int) -> Block | None:
        """The block at `offset` of the file, or None; counts as a use, a hit or a miss."""
        place = (file_number, offset)
        blocks = self._blocks
        with self._lock:
            block = blocks.pop(place, None)
            if block is None:
                self.misses += 1
                return None
            blocks[place] = block
            self.hits += 1
            return block

    def put(self, file_number: int, offset: int, block: Block) -> None:
        """Keep `block`. One that is larger than the whole cache is not kept.

        Two readers that miss the same block at once both put it; the later one stays.
        """
        if block.size_bytes > self.capacity_bytes:
            return
        place = (file_number, offset)
        with self._lock:
            present = self._blocks.pop(place, None)
            if present is not None:
                self.size_bytes -= present.size_bytes
            self._blocks[place] = block
            self.size_bytes += block.size_bytes
            while self.size_bytes > self.capacity_bytes:
                oldest = next(iter(self._blocks))
                self.size_bytes -= self._blocks.pop(oldest).size_bytes
                self.evictions += 1

    def drop(self, file_number: int, offsets: Iterable[int]) -> None:
        """Forget these blocks of a file that nobody will read again."""
        with self._lock:
            for offset in offsets:
                block = self._blocks.pop((file_number, offset), None)
                if block is not None:
                    self.size_bytes -= block.size_bytes
