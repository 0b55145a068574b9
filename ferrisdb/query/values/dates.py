"""Dates and times as text, and the fields inside them.

The text forms are ISO 8601's, read more freely than written:

    DATE        1994-01-01   1994-1-1   19940101          and any TIMESTAMP, whose time is dropped
    TIMESTAMP   2020-01-01 10:00:00.25   2020-01-01T10:00   2020-01-01

Years run from 1 to 9999, fractions are microseconds (a seventh digit rounds). A time zone
in the text is an error: TIMESTAMP has none, and dropping it would move the instant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from ferrisdb.errors import DatetimeOverflow, InvalidDatetimeFormat, InvalidParameterValue
from ferrisdb.query.values.suggest import did_you_mean
from ferrisdb.query.values.texts import quoted

_DATE = r"(?:(\d{4,6})-(\d{1,2})-(\d{1,2})|(\d{4})(\d{2})(\d{2}))"
_TIME = r"(?:(?:[ T]\s*|\s+)(\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d*))?)?)?"
_TIMESTAMP = re.compile(rf"\s*{_DATE}{_TIME}\s*", re.ASCII)
_LONGEST_TIMESTAMP = 60
_ZONED = re.compile(r".*\d:\d\d\S*\s*(Z|[+-]\d\d(:?\d\d)?|[A-Z]{3,4})\s*", re.ASCII | re.IGNORECASE)


def parse_date(text: str) -> date:
    """Raises InvalidDatetimeFormat for text that is no date, DatetimeOverflow for 30 February."""
    return parse_timestamp(text, "DATE").date()


def parse_timestamp(text: str, type_name: str = "TIMESTAMP") -> datetime:
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise _unreadable(text, type_name)
    year, month, day = match.group(1, 2, 3) if match[1] else match.group(4, 5, 6)
    hour, minute, second = (int(part or 0) for part in match.group(7, 8, 9))
    tenths = int((match[10] or "")[:7].ljust(7, "0"))
    try:
        moment = datetime(int(year), int(month), int(day), hour, minute, second)
        return moment + timedelta(microseconds=(tenths + 5) // 10)
    except (ValueError, OverflowError):
        raise DatetimeOverflow(f"date/time field value out of range: {quoted(text)}") from None


def _unreadable(text: str, type_name: str) -> InvalidDatetimeFormat:
    # Cut, as the expression tries every place in a long text.
    if _ZONED.fullmatch(text[:_LONGEST_TIMESTAMP]):
        hint = "it has a time zone; TIMESTAMP has none"
    else:
        hint = "write 1994-12-31" if type_name == "DATE" else "write 1994-12-31 23:59:59"
    return InvalidDatetimeFormat(f"invalid input syntax for type {type_name}: {quoted(text)}", hint=hint)


def add_days(start: date, days: int) -> date:
    try:
        return date.fromordinal(start.toordinal() + days)
    except (ValueError, OverflowError):
        raise DatetimeOverflow("date out of range", detail="Dates run from year 1 to year 9999.") from None


def subtract_days(start: date, days: int) -> date:
    return add_days(start, -days)


def days_between(later: date, earlier: date) -> int:
    return later.toordinal() - earlier.toordinal()


def timestamp_from_date(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)


# --- fields -----------------------------------------------------------------------------

_EPOCH = datetime(1970, 1, 1)
# As fast as a table of them, which takes 2.5 ms to fill whether years are asked for or not.
_whole: Callable[[int], Decimal] = lru_cache(maxsize=10_000)(Decimal)
_SIX_PLACES = Decimal("0.000001")


def _week_year(moment: datetime) -> int:
    return moment.isocalendar().year


def _micros_since_epoch(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


_WHOLE_FIELDS: dict[str, Callable[[datetime], int]] = {
    "year": lambda moment: moment.year,
    "month": lambda moment: moment.month,
    "day": lambda moment: moment.day,
    "hour": lambda moment: moment.hour,
    "minute": lambda moment: moment.minute,
    "quarter": lambda moment: (moment.month + 2) // 3,
    "week": lambda moment: moment.isocalendar().week,
    "dow": lambda moment: moment.isoweekday() % 7,
    "isodow": lambda moment: moment.isoweekday(),
    "doy": lambda moment: moment.timetuple().tm_yday,
    "isoyear": _week_year,
    "decade": lambda moment: moment.year // 10,
    "century": lambda moment: (moment.year + 99) // 100,
    "millennium": lambda moment: (moment.year + 999) // 1000,
    "microseconds": lambda moment: moment.second * 1_000_000 + moment.microsecond,
}
_EXACT_FIELDS: dict[str, Callable[[datetime], Decimal]] = {
    "second": lambda moment: (moment.second * 1_000_000 + moment.microsecond) * _SIX_PLACES,
    "milliseconds": lambda moment: (moment.second * 1_000_000 + moment.microsecond) * Decimal("0.001"),
    "epoch": lambda moment: _micros_since_epoch(moment) * _SIX_PLACES,
}
_OF_TIME = frozenset({"hour", "minute", "second", "milliseconds", "microseconds"})


def extract_from_timestamp(field: str, moment: datetime) -> Decimal:
    """EXTRACT(field FROM timestamp), a NUMERIC; seconds show six places."""
    name = field.lower()
    whole = _WHOLE_FIELDS.get(name)
    if whole is not None:
        return _whole(whole(moment))
    exact = _EXACT_FIELDS.get(name)
    if exact is None:
        raise _unknown_field(field, "TIMESTAMP", [*_WHOLE_FIELDS, *_EXACT_FIELDS])
    return exact(moment)


def extract_from_date(field: str, day: date) -> Decimal:
    """EXTRACT(field FROM date): a date has no hours."""
    if field == "year":
        return _whole(day.year)
    name = field.lower()
    if name in _OF_TIME:
        raise InvalidParameterValue(f'unit "{field}" not supported for type DATE')
    if name == "epoch":
        return Decimal((day.toordinal() - _EPOCH.toordinal()) * 86_400)
    if name not in _WHOLE_FIELDS:
        raise _unknown_field(field, "DATE", [*(_WHOLE_FIELDS.keys() - _OF_TIME), "epoch"])
    return extract_from_timestamp(name, timestamp_from_date(day))


def date_part_of_timestamp(field: str, moment: datetime) -> float:
    return float(extract_from_timestamp(field, moment))


def date_part_of_date(field: str, day: date) -> float:
    return float(extract_from_date(field, day))


_TRUNCATIONS: dict[str, Callable[[datetime], datetime]] = {
    "microseconds": lambda moment: moment,
    "milliseconds": lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000),
    "second": lambda moment: moment.replace(microsecond=0),
    "minute": lambda moment: moment.replace(second=0, microsecond=0),
    "hour": lambda moment: moment.replace(minute=0, second=0, microsecond=0),
    "day": lambda moment: datetime(moment.year, moment.month, moment.day),
    "week": lambda moment: timestamp_from_date(add_days(moment.date(), 1 - moment.isoweekday())),
    "month": lambda moment: datetime(moment.year, moment.month, 1),
    "quarter": lambda moment: datetime(moment.year, (moment.month - 1) // 3 * 3 + 1, 1),
    "year": lambda moment: datetime(moment.year, 1, 1),
    "decade": lambda moment: datetime(max(1, moment.year // 10 * 10), 1, 1),
    "century": lambda moment: datetime((moment.year - 1) // 100 * 100 + 1, 1, 1),
    "millennium": lambda moment: datetime((moment.year - 1) // 1000 * 1000 + 1, 1, 1),
}


def date_trunc(field: str, moment: datetime) -> datetime:
    """The start of the year, month, hour ... that `moment` lies in."""
    truncate = _TRUNCATIONS.get(field.lower())
    if truncate is None:
        raise _unknown_field(field, "TIMESTAMP", _TRUNCATIONS)
    return truncate(moment)


def _unknown_field(field: str, type_name: str, known: Iterable[str]) -> InvalidParameterValue:
    return InvalidParameterValue(
        f'unit "{field}" not recognized for type {type_name}', hint=did_you_mean(field.lower(), known)
    )
