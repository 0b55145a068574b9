"""From key conditions to byte ranges, while the query runs.

    index on (a, b)     a = 3 AND b > 'x'
    prefix of the index | 3 | 'x'   up to   prefix of the index | 3 | end of that prefix
                         excluded: from the end of everything that begins with 3 'x'

Order-preserving keys make every such condition one range of bytes. A NULL in a condition
qualifies no row, so it gives no range.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from ferrisdb.query.algebra.operators import AccessPath, KeyRange
from ferrisdb.query.encoding.key_codec import KeyCodec, prefix_range
from ferrisdb.query.keyspace import index_prefix, index_range, row_prefix, row_range
from ferrisdb.query.schema import Table
from ferrisdb.query.types import SqlType, Value

ByteRange = tuple[bytes, bytes]


@functools.lru_cache(maxsize=512)
def _codec(types: tuple[SqlType, ...], prefix: bytes) -> KeyCodec:
    """A codec writes code of its own; statements on one table share it."""
    return KeyCodec(types, prefix)


class KeyRanges:
    """The ranges of one scan. `values` are those of `KeyRange.expressions`, in that order."""

    def __init__(self, table: Table, access: AccessPath) -> None:
        self._table = table
        self._index = access.index
        self._types = tuple(table.columns[position].type for position in access.key_columns)
        self._prefix = row_prefix(table.id) if self._index is None else index_prefix(table.id, self._index.id)
        self._shapes = access.ranges
        self._is_reverse = access.is_reverse

    def everything(self) -> ByteRange:
        if self._index is None:
            return row_range(self._table.id)
        return index_range(self._table.id, self._index.id)

    def point(self, *values: Value) -> bytes | None:
        """The one key of a point access; None when a value is NULL."""
        if None in values:
            return None
        return self._key(values)

    def points(self, *values: Sequence[Value]) -> list[bytes]:
        """The keys of several points, in order, each once."""
        keys = {self.point(*one) for one in values}
        return sorted((key for key in keys if key is not None), reverse=self._is_reverse)

    def ranges(self, *values: Sequence[Value]) -> list[ByteRange]:
        """The byte ranges, in order, each once."""
        found = {self._range(shape, one) for shape, one in zip(self._shapes, values, strict=True)}
        return sorted((r for r in found if r is not None), key=_start, reverse=self._is_reverse)

    def _range(self, shape: KeyRange, values: Sequence[Value]) -> ByteRange | None:
        if None in values:
            return None
        equal = list(values[: len(shape.equal)])
        bounds = list(values[len(shape.equal) :])
        lo, hi = prefix_range(self._key(equal))
        if shape.lower is not None:
            key = self._key([*equal, bounds.pop(0)])
            lo = key if shape.lower[1] else _after(key)
            # NULLs are the last of their column, and no bound is true of them.
            hi = self._key([*equal, None])
        if shape.upper is not None:
            key = self._key([*equal, bounds.pop(0)])
            hi = _after(key) if shape.upper[1] else key
        if lo >= hi:
            return None
        return lo, hi

    def _key(self, values: Sequence[Value]) -> bytes:
        return _codec(self._types[: len(values)], self._prefix).encode(values)


def _start(byte_range: ByteRange) -> bytes:
    return byte_range[0]


def _after(key: bytes) -> bytes:
    """The first key after all that begin with this one."""
    return prefix_range(key)[1]
