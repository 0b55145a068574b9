"""Where each column of a row lies.

    +--------+-------------+---------------------+----------------------+----------------+
    | layout | null bitmap | fixed part          | ends                 | variable bytes |
    | u8     | 1 bit a     | one slot for each   | u16 (or u32) for     | TEXT and       |
    |        | column      | fixed-width column  | each variable column | NUMERIC values |
    +--------+-------------+---------------------+----------------------+----------------+

All numbers are little-endian and unaligned. `layout` is 1; with the bit 0x80 the ends are
u32, for a row of more than 65535 bytes. The other numbers are kept for later layouts of
the same table (ADD COLUMN). Bit i % 8 of byte i // 8 of the bitmap is set when column i is
NULL; its slot then holds a filler, and its variable part is empty. An end counts from the
first byte of the row, so a value lies between the end before it and its own, and the last
end is the length of the row.

    INTEGER                i64
    DOUBLE                 f64
    BOOLEAN                u8    0 or 1
    DATE                   i32   days, 1 is 0001-01-01
    TIMESTAMP              i64   microseconds since 1970-01-01 00:00:00
    NUMERIC(p,s), p <= 18  i64   the number times 10^s
    NUMERIC otherwise      variable, the decimal text in ASCII
    TEXT, VARCHAR(n)       variable, UTF-8
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Collection, Sequence

from ferrisdb.errors import broken
from ferrisdb.immutable import immutable
from ferrisdb.query.schema import Column
from ferrisdb.query.types import Kind, SqlType

NARROW = 1
WIDE = NARROW | 0x80
NARROW_MAX_BYTES = 0xFFFF
SCALED_MAX_PRECISION = 18
"""10^18 - 1 is the largest run of nines in 64 bits."""


class Storage(enum.Enum):
    """How a kind is written."""

    INTEGER = enum.auto()
    DOUBLE = enum.auto()
    BOOLEAN = enum.auto()
    DATE = enum.auto()
    TIMESTAMP = enum.auto()
    SCALED = enum.auto()
    TEXT = enum.auto()
    DECIMAL_TEXT = enum.auto()

    @property
    def slot_code(self) -> str | None:
        """The struct code of its slot in the fixed part; None for what is variable."""
        return _SLOT_CODES.get(self)


_SLOT_CODES = {
    Storage.INTEGER: "q",
    Storage.DOUBLE: "d",
    Storage.BOOLEAN: "?",
    Storage.DATE: "i",
    Storage.TIMESTAMP: "q",
    Storage.SCALED: "q",
}

_BY_KIND = {
    Kind.INTEGER: Storage.INTEGER,
    Kind.DOUBLE: Storage.DOUBLE,
    Kind.BOOLEAN: Storage.BOOLEAN,
    Kind.DATE: Storage.DATE,
    Kind.TIMESTAMP: Storage.TIMESTAMP,
    Kind.TEXT: Storage.TEXT,
}


def storage_of(type: SqlType) -> Storage:
    if type.kind is Kind.NUMERIC:
        is_scaled = type.precision is not None and type.precision <= SCALED_MAX_PRECISION
        return Storage.SCALED if is_scaled else Storage.DECIMAL_TEXT
    return _BY_KIND.get(type.kind) or broken(f"a column of type {type} cannot be stored")


@immutable
class Field:
    """A column's place. `slot` counts the fixed columns or the variable ones, from 0."""

    position: int
    storage: Storage
    is_nullable: bool
    scale: int
    slot: int

    @property
    def is_variable(self) -> bool:
        return self.storage.slot_code is None


class RowLayout:
    """The places of all columns of a table."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.fields: list[Field] = []
        slots = {True: 0, False: 0}
        for position, column in enumerate(columns):
            storage = storage_of(column.type)
            is_variable = storage.slot_code is None
            slot = slots[is_variable]
            slots[is_variable] += 1
            nullable = not column.is_not_null
            self.fields.append(Field(position, storage, nullable, column.type.scale or 0, slot))
        self.fixed = [field for field in self.fields if not field.is_variable]
        self.variable = [field for field in self.fields if field.is_variable]
        self.bitmap_bytes = (len(self.fields) + 7) // 8

    def variable_start(self, is_wide: bool) -> int:
        """Where the variable bytes begin: the length of everything before them."""
        return struct.calcsize(self.format(is_wide))

    def format(
        self,
        is_wide: bool,
        bitmap_bytes: Collection[int] | None = None,
        fixed: Collection[int] | None = None,
        ends: Collection[int] | None = None,
    ) -> str:
        """The struct format of the head of a row. What is not asked for is skipped over.

        Each argument after the first picks some bitmap bytes, fixed slots and ends by
        their numbers; None picks all. What lies behind the last picked one is left out.
        """
        codes = ["B"]
        codes += ["B" if _wanted(byte, bitmap_bytes) else "x" for byte in range(self.bitmap_bytes)]
        for field in self.fixed:
            code = field.storage.slot_code or broken("a fixed column has a slot")
            codes.append(code if _wanted(field.slot, fixed) else f"{struct.calcsize('<' + code)}x")
        end, skipped = ("I", "4x") if is_wide else ("H", "2x")
        codes += [end if _wanted(field.slot, ends) else skipped for field in self.variable]
        while codes[-1].endswith("x"):
            codes.pop()
        return "<" + "".join(codes)


def _wanted(number: int, picked: Collection[int] | None) -> bool:
    return picked is None or number in picked
