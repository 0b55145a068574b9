"""SQL types, as the binder knows them and as a schema stores them.

SQL                    Python value          notes
INTEGER                int                   64 bit; overflow is an error
DOUBLE                 float
NUMERIC[(p[,s])]       decimal.Decimal       exact
TEXT, VARCHAR(n)       str
BOOLEAN                bool
DATE                   datetime.date         years 1 to 9999
TIMESTAMP              datetime.datetime     without time zone; microseconds
(unknown)              str or None           a quoted literal, a str parameter or NULL that
                                             takes its type from where it stands

DOUBLE and NUMERIC hold finite numbers only. With no NaN and no Infinity, Python's own
`<`, `==` and `hash` are SQL's on every kind, so compiled code, hash tables and indexes need
no special case. What would become one of them is an error (22003 or 22P02).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.Enum):
    INTEGER = "INTEGER"
    DOUBLE = "DOUBLE"
    NUMERIC = "NUMERIC"
    TEXT = "TEXT"
    BOOLEAN = "BOOLEAN"
    DATE = "DATE"
    TIMESTAMP = "TIMESTAMP"
    UNKNOWN = "UNKNOWN"

    # A member is the only one of its name, so its identity will do. Enum's own hash is a Python
    # function, and every look-up of a prepared statement hashes the kinds of its parameters.
    __hash__ = object.__hash__


@dataclass(frozen=True)
class SqlType:
    """A kind with its modifiers. `length` is VARCHAR(n)'s; the rest are NUMERIC's."""

    kind: Kind
    precision: int | None = None
    scale: int | None = None
    length: int | None = None

    def __str__(self) -> str:
        if self.kind is Kind.TEXT and self.length is not None:
            return f"VARCHAR({self.length})"
        if self.kind is Kind.NUMERIC and self.precision is not None:
            return f"NUMERIC({self.precision},{self.scale or 0})"
        return self.kind.value

    @property
    def is_number(self) -> bool:
        return self.kind in NUMBER_KINDS

    @property
    def has_modifiers(self) -> bool:
        return self.precision is not None or self.length is not None


NUMBER_KINDS = (Kind.INTEGER, Kind.NUMERIC, Kind.DOUBLE)
"""From the narrowest to the widest: two of them meet in the later one."""

INTEGER = SqlType(Kind.INTEGER)
DOUBLE = SqlType(Kind.DOUBLE)
NUMERIC = SqlType(Kind.NUMERIC)
TEXT = SqlType(Kind.TEXT)
BOOLEAN = SqlType(Kind.BOOLEAN)
DATE = SqlType(Kind.DATE)
TIMESTAMP = SqlType(Kind.TIMESTAMP)
UNKNOWN = SqlType(Kind.UNKNOWN)

INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**63 - 1

NUMERIC_MAX_PRECISION = 1000
"""The largest p of NUMERIC(p,s), as in PostgreSQL."""

Value = object
"""A Python value as the table above; None is NULL."""
