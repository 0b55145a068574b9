"""What a source of versions answers: a value, a tombstone, or nothing; and a chunk of them.

Every write leaves a new version of its key behind, stamped with its commit timestamp. A
reader at timestamp T sees, of each key, the newest version at or below T:

    key "a":   9 -> "x"     5 -> tombstone     2 -> "y"
               T=9 sees "x"    T=7 sees: deleted     T=1 sees: nothing here

The last two are different answers. "Deleted" ends the search: an older source may well hold
a value, and must not be asked. "Nothing here" sends the reader on to the next older source.
So a tombstone is `None` and "nothing here" is `Missing.MISSING`.

Ordered reads hand over a chunk at a time, not an entry at a time: two parallel lists cost a
scan one step of an iterator for hundreds of entries.
"""

from __future__ import annotations

import enum
from typing import Final, TypeAlias


class Missing(enum.Enum):
    """The one value `MISSING`: this source holds no version that the reader may see."""

    MISSING = 0


MISSING: Final = Missing.MISSING

Found: TypeAlias = bytes | Missing | None
"""A value, None for a tombstone, or MISSING."""

Chunk: TypeAlias = tuple[list[bytes], list[bytes | None]]
"""Distinct keys in order (descending in a reverse read), and of each its newest visible value,
None for a tombstone. Never empty. The lists may belong to a cached block: read, never write."""

Rows: TypeAlias = tuple[list[bytes], list[int], list[bytes | None]]
"""Versions as columns: keys ascending, timestamps of one key descending, and the values, None
for a tombstone. Three lists of one length. They may belong to a cached block."""
