"""The limits of the storage engine, each with its reason.

A limit is checked where data comes in, so that nothing deeper needs to ask. Raising one is
a decision about memory and formats; lowering one would lock users out of their own files.
"""

from __future__ import annotations

MAX_KEY_BYTES = 65_535
"""A key stands in the index of its table, in bounds, locks and read ranges, all of which are
held in memory. 64 KiB is some twenty times what PostgreSQL lets into a b-tree."""

MAX_VALUE_BYTES = 128 * 1024 * 1024
"""A value is whole in memory several times over: the caller's, the log record's, the
memtable's, a decoded block's. Half a commit, so that every legal value can be committed."""

MAX_COMMIT_BYTES = 256 * 1024 * 1024
"""A commit is one log record, checked by one checksum and replayed in one piece. It is also
the largest length field that recovery believes."""

MAX_GROUP_BYTES = 1024 * 1024
"""A group-commit leader takes waiting records up to this sum (and at least one). More would
make the first in the queue wait for megabytes that are not his."""

MAX_TIMESTAMP = 2**63 - 1
"""Timestamps count commits. At a million a second this lasts 292 000 years."""

MAX_FILE_NUMBER = 2**63 - 1
"""File numbers count up and are never used again."""

MAX_LIVE_RANGE_TOMBSTONES = 10_000
"""Deleted ranges are held in memory, and a commit that deletes one copies the list of them.
Compaction settles them; only a snapshot that is open for long, or a long retention, keeps many alive."""

MAX_MEMTABLE_RANGE_TOMBSTONES = 1_000
"""A memtable with so many deleted ranges is full, however few keys it has: only those that are
in the manifest can be settled."""
