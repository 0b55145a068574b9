"""The index of a table: which block may hold a key, without the keys of the blocks.

Between two blocks it has a *separator*: no key of the left one is above it, and every key of
the right one is. So it need not be a key of either, and it need not be long:

    block 4 ... order/2024-11-30/0815 |  block 5  order/2025-01-02/0001 ...
                                      |
                               order/2025         the shortest bytes s with
                                                  order/2024-11-30/0815 <= s < order/2025-01-02/0001

A search among the separators ends at the one block that may hold the key: the first whose
separator is not below it. For n blocks there are n - 1. (LevelDB's index does the same. It
looks for *a* short key, here it is the shortest, and of these the smallest.)

Where the versions of one key run on from a block to the next there is nothing between the
two. The separator is that key, and the index names the right block as *continued*, with the
timestamp of its first row, by which a reader of an old version passes over blocks.

    body    msgpack [ [separator, ...],            n - 1
                      [length of the frame, ...],  n; block 0 begins behind the header, each of
                                                   the others where the one before ends
                      [ [number, ...], [timestamp, ...] ] ]     the continued blocks

What a separator cannot tell: whether a block with keys between the right two is *the* block
that was written there. A table of format version 1 has all first and last keys and could tell
more; it is taken into the same form, its last keys as separators.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

from ferrisdb.errors import CorruptionError
from ferrisdb.immutable import immutable
from ferrisdb.storage.block import malformed
from ferrisdb.storage.file_header import HEADER_BYTES
from ferrisdb.storage.sstable_format import Section

VERSION_1_COLUMNS: Final = 4
"""First keys, last keys, first timestamps, lengths: each has an element for each block."""

INDEX_COLUMNS: Final = 3


@immutable
class TableIndex:
    separators: list[bytes]
    """Separator n lies between the blocks n and n + 1."""
    lengths: Sequence[int]
    """Of the frames, in bytes."""
    offsets: array[int]
    """Of the frames in the file."""
    continued: dict[int, int]
    """Numbers of the blocks that begin with the key that the one before ends with, and the
    timestamps of their first rows."""

    @property
    def sections(self) -> list[Section]:
        """Where the blocks lie."""
        return [Section(offset, length) for offset, length in zip(self.offsets, self.lengths, strict=True)]

    def blocks_between(self, lo: bytes, hi: bytes | None) -> range:
        """Numbers of the blocks that may hold a key with lo <= key < hi."""
        separators = self.separators
        first = bisect_left(separators, lo)
        if hi is None:
            return range(first, len(self.lengths))
        last = bisect_left(separators, hi)
        # Behind a separator s the first possible key is s + "\0", unless s itself runs on.
        if last and last not in self.continued and separators[last - 1] + b"\0" == hi:
            last -= 1
        return range(first, last + 1)

    def has_place_for(self, number: int, first_key: bytes, last_key: bytes) -> bool:
        """Whether a block with these ends lies between its separators as block `number` must."""
        before = self.separators[number - 1] if number else None
        after = self.separators[number] if number < len(self.separators) else None
        if number in self.continued:
            begins_right = first_key == before
        else:
            begins_right = before is None or before < first_key
        if number + 1 in self.continued:
            return begins_right and last_key == after
        return begins_right and (after is None or last_key <= after)


def shortest_separator(last_key: bytes, first_key: bytes) -> bytes:
    """The shortest bytes s, and of these the smallest, with last_key <= s < first_key.

    `last_key` must be below `first_key`.
    """
    shorter = min(len(last_key), len(first_key))
    differing = int.from_bytes(last_key[:shorter]) ^ int.from_bytes(first_key[:shorter])
    shared = shorter - (differing.bit_length() + 7) // 8
    if len(last_key) <= shared + 1:
        return last_key
    raised = _raised(last_key, shared)
    if raised < first_key:
        return raised
    # first_key is `raised`, so what separates begins as last_key does, one byte further.
    for position in range(shared + 1, len(last_key) - 1):
        if last_key[position] < 0xFF:
            return _raised(last_key, position)
    return last_key


def _raised(key: bytes, position: int) -> bytes:
    return key[:position] + bytes((key[position] + 1,))


def index_columns(
    separators: Sequence[bytes], lengths: Sequence[int], continued: dict[int, int]
) -> tuple[Any, ...]:
    """The body of an index, for msgpack."""
    return separators, lengths, (list(continued), list(continued.values()))


def decode_index(stored: Any, path: str, section: Section) -> TableIndex:
    """The index from the msgpack value in `section` of the file, of any format version.

    The number of columns tells the version, not the file's header: who salvages a table may
    have lost that. Raises CorruptionError when it has another shape, or when the blocks do not
    fill the file up to the index.
    """
    try:
        columns = _from_version_1(stored) if len(stored) == VERSION_1_COLUMNS else stored
        separators, lengths, (numbers, timestamps) = columns
        is_index = (
            len(separators) + 1 == len(lengths)
            and {bytes}.issuperset(map(type, separators))
            and {int}.issuperset(map(type, lengths))
            and min(lengths) > 0
            and _is_continued(numbers, timestamps, len(lengths))
        )
    except (ValueError, TypeError):
        is_index = False
    if not is_index:
        raise malformed("index", path, section.offset)
    *offsets, end = accumulate(lengths, initial=HEADER_BYTES)
    if end != section.offset:
        problem = f"the blocks in the index end at byte {end}, and the index begins at {section.offset}"
        raise CorruptionError(problem, file=path, offset=section.offset)
    continued = dict(zip(numbers, timestamps, strict=True))
    # An array takes 8 bytes for what is 40 in a list of int objects.
    return TableIndex(separators, array("Q", lengths), array("Q", offsets), continued)


def _is_continued(numbers: Any, timestamps: Any, block_count: int) -> bool:
    return (
        len(numbers) == len(timestamps)
        and {int}.issuperset(map(type, (*numbers, *timestamps)))
        and numbers == sorted(set(numbers))
        and (not numbers or 0 < numbers[0] <= numbers[-1] < block_count)
    )


def _from_version_1(stored: Any) -> Any:
    first_keys, last_keys, timestamps, lengths = stored
    if not len(first_keys) == len(last_keys) == len(timestamps) == len(lengths):
        raise ValueError("not an index")
    if {bytes} != {*map(type, first_keys), *map(type, last_keys)}:
        raise ValueError("not an index")
    numbers = [number for number in range(1, len(lengths)) if first_keys[number] == last_keys[number - 1]]
    return last_keys[:-1], lengths, (numbers, [timestamps[number] for number in numbers])
