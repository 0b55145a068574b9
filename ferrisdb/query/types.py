"""SQL types, as the binder knows them and as a schema stores them.

SQL                    Python value          notes
INTEGER                int                   64 bit; overflow is an error
DOUBLE                 float
NUMERIC[(p[,s])]       decimal.Decimal       exact
TEXT, VARCHAR(n)       str
BOOLEAN                bool
DATE                   datetime.date
TIMESTAMP              datetime.datetime     without time zone
(unknown)              str or None           a quoted literal, a str parameter or NULL that
                                             takes its type from where it stands
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


INTEGER = SqlType(Kind.INTEGER)
DOUBLE = SqlType(Kind.DOUBLE)
NUMERIC = SqlType(Kind.NUMERIC)
TEXT = SqlType(Kind.TEXT)
BOOLEAN = SqlType(Kind.BOOLEAN)
DATE = SqlType(Kind.DATE)
TIMESTAMP = SqlType(Kind.TIMESTAMP)
UNKNOWN = SqlType(Kind.UNKNOWN)

Value = object
"""A Python value as the table above; None is NULL."""
