"""PEP 249's type objects and constructors.

`cursor.description[i][1]` is the SQL type of the column (`str` gives "NUMERIC(15,2)"), and
compares equal to the type object of its family: `description[0][1] == NUMBER`.
"""

from __future__ import annotations

from datetime import date, datetime, time

from ferrisdb.query.types import Kind, SqlType

Date = date
Time = time
Timestamp = datetime
Binary = bytes


def DateFromTicks(ticks: float) -> date:
    """The local date, `ticks` seconds after 1970-01-01 00:00 UTC."""
    return date.fromtimestamp(ticks)


def TimeFromTicks(ticks: float) -> time:
    return datetime.fromtimestamp(ticks).time()


def TimestampFromTicks(ticks: float) -> datetime:
    return datetime.fromtimestamp(ticks)


class TypeObject:
    """A family of SQL types. Equal to each of them, and to itself."""

    def __init__(self, name: str, *kinds: Kind) -> None:
        self.name = name
        self.kinds = frozenset(kinds)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SqlType):
            return other.kind in self.kinds
        return self is other

    # It equals types whose hashes differ, so no hash would be right.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ferrisdb.{self.name}"


STRING = TypeObject("STRING", Kind.TEXT, Kind.UNKNOWN)
NUMBER = TypeObject("NUMBER", Kind.INTEGER, Kind.DOUBLE, Kind.NUMERIC)
DATETIME = TypeObject("DATETIME", Kind.DATE, Kind.TIMESTAMP)
BOOLEAN = TypeObject("BOOLEAN", Kind.BOOLEAN)
BINARY = TypeObject("BINARY")
ROWID = TypeObject("ROWID")
