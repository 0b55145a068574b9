"""What may be committed: checked before it is logged, for a log that has anything else in it
would not open again.

The types of the writes are looked at in every commit. Sizes only when the commit is so long that
one could be too large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ferrisdb.errors import InterfaceError, InvalidParameterValue, TransactionTooLarge
from ferrisdb.storage.limits import (
    MAX_COMMIT_BYTES,
    MAX_KEY_BYTES,
    MAX_LIVE_RANGE_TOMBSTONES,
    MAX_VALUE_BYTES,
)
from ferrisdb.storage.range_tombstones import DeletedRange

_KEY_TYPES = {bytes}
_VALUE_TYPES = {bytes, type(None)}


def require_bytes(writes: Mapping[bytes, bytes | None]) -> None:
    """Raises InterfaceError for anything else: it would get into the log, and the log would not
    open again."""
    # Sets and maps, which run in C: this is a part of every commit.
    if not (_KEY_TYPES.issuperset(map(type, writes)) and _VALUE_TYPES.issuperset(map(type, writes.values()))):
        raise InterfaceError("keys must be bytes, and values bytes or None")


def check_sizes(writes: Mapping[bytes, bytes | None], payload_bytes: int) -> None:
    """Raises TransactionTooLarge, InvalidParameterValue."""
    if payload_bytes > MAX_COMMIT_BYTES:
        raise TransactionTooLarge(
            f"a commit of {payload_bytes} bytes; at most {MAX_COMMIT_BYTES} are possible",
            hint="commit the work in several transactions",
        )
    longest_key_bytes = max(map(len, writes), default=0)
    if longest_key_bytes > MAX_KEY_BYTES:
        raise InvalidParameterValue(
            f"a key of {longest_key_bytes} bytes; at most {MAX_KEY_BYTES} are possible"
        )
    longest_value_bytes = max((len(value) for value in writes.values() if value is not None), default=0)
    if longest_value_bytes > MAX_VALUE_BYTES:
        raise InvalidParameterValue(
            f"a value of {longest_value_bytes} bytes; at most {MAX_VALUE_BYTES} are possible"
        )


def require_ranges(deleted_ranges: Sequence[DeletedRange], live: int) -> tuple[DeletedRange, ...]:
    """The ranges, each once, when a commit may delete them beside `live` tombstones.

    Raises InterfaceError for what are no bytes, InvalidParameterValue for an empty range or a
    bound that is too long, TransactionTooLarge.
    """
    found = tuple(dict.fromkeys((lo, hi) for lo, hi in deleted_ranges))
    for lo, hi in found:
        if type(lo) is not bytes or not (hi is None or type(hi) is bytes):
            raise InterfaceError("the bounds of a range must be bytes, and its end bytes or None")
        longest = max(len(lo), len(hi or b""))
        if longest > MAX_KEY_BYTES:
            raise InvalidParameterValue(f"a bound of {longest} bytes; at most {MAX_KEY_BYTES} are possible")
        if hi is not None and hi <= lo:
            raise InvalidParameterValue(f"the range from {lo[:16]!r} to {hi[:16]!r} is empty")
    if live + len(found) > MAX_LIVE_RANGE_TOMBSTONES:
        raise TransactionTooLarge(
            f"{live} deleted ranges are alive, and {len(found)} more would pass {MAX_LIVE_RANGE_TOMBSTONES}",
            hint="end transactions that are open for long, or keep less of the past (retention_s), and let "
            "compaction catch up; or delete key by key",
        )
    return found
