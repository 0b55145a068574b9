"""What generated code calls: the few things that are better said in ordinary Python."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from ferrisdb.errors import CardinalityViolation, InvalidParameterValue
from ferrisdb.query.algebra.operators import SortKey
from ferrisdb.query.types import Value
from ferrisdb.query.values import like_matcher

ONCE = (None,)
"""What a loop that runs once runs over."""

MEMO_SIZE = 10_000
"""Answers of a correlated subquery that are kept, then all dropped."""

MEMO_SETS = 100
"""The same for IN, whose one answer is a whole set of values."""


class InAnswer:
    """The right side of IN: its values, and whether NULL was among them."""

    __slots__ = ("has_null", "is_empty", "values")

    def __init__(self, column: Iterable[Value]) -> None:
        values = set(column)
        self.is_empty = not values
        self.has_null = None in values
        values.discard(None)
        self.values = values

    def contains(self, value: Value) -> bool | None:
        """SQL's three answers: a NULL on either side that could have matched is unknown."""
        if self.is_empty:
            return False
        if value is None:
            return None
        if value in self.values:
            return True
        return None if self.has_null else False


def more_than_one_row() -> None:
    raise CardinalityViolation("a subquery used as an expression returned more than one row")


def row_window(limit: int | None, offset: int | None) -> tuple[int, int | None]:
    """LIMIT and OFFSET as the start and end of a slice. Raises InvalidParameterValue."""
    if limit is not None and limit < 0:
        raise InvalidParameterValue("LIMIT must not be negative")
    if offset is not None and offset < 0:
        raise InvalidParameterValue("OFFSET must not be negative")
    # No result has more rows than sys.maxsize, and islice takes no larger bound.
    start = min(offset or 0, sys.maxsize)
    return start, None if limit is None else min(start + limit, sys.maxsize)


def like(text: str, pattern: str, escape: str | None, is_case_insensitive: bool) -> bool:
    """LIKE with a pattern that a row brings; `like_matcher` keeps the recent ones."""
    return bool(like_matcher(pattern, escape, is_case_insensitive)(text))


Row = tuple[Any, ...]


class RowOrder:
    """Sorts rows in place. `passes` go from the least significant key to the first.

    Python's sort is stable, also when reversed, so several directions are several passes.
    Keys that share a direction share a pass.
    """

    def __init__(self, keys: Sequence[SortKey], positions: Sequence[int]) -> None:
        groups: list[tuple[bool, list[tuple[SortKey, int]]]] = []
        for key, position in zip(keys, positions, strict=True):
            if groups and groups[-1][0] == key.is_descending:
                groups[-1][1].append((key, position))
            else:
                groups.append((key.is_descending, [(key, position)]))
        self.passes = [(_key_function(parts), is_descending) for is_descending, parts in reversed(groups)]

    def sort(self, rows: list[Row]) -> None:
        for key, is_descending in self.passes:
            rows.sort(key=key, reverse=is_descending)


def _key_function(parts: list[tuple[SortKey, int]]) -> Callable[[Row], Any]:
    if len(parts) == 1:
        return _single_key(*parts[0])
    functions = [_single_key(key, position) for key, position in parts]
    if len(functions) == 2:
        first, second = functions
        return lambda row: (first(row), second(row))
    return lambda row: tuple([function(row) for function in functions])


def _single_key(key: SortKey, position: int) -> Callable[[Row], Any]:
    """NULLs become a pair that compares before or after every value's pair."""
    if not key.expression.is_nullable:
        return itemgetter(position)
    if key.has_default_nulls:
        return lambda row: ((value := row[position]) is None, value)
    return lambda row: ((value := row[position]) is not None, value)


class TopRows:
    """The first rows in an order, of any number that are added with `add`.

    Rows are kept until there are several times as many as wanted, then sorted and cut. From
    then on the last one that was kept is a bound: most rows fail one comparison and go.
    """

    def __init__(self, order: RowOrder, window: tuple[int, int | None]) -> None:
        self._order = order
        self._start, self._size = window
        self._rows: list[Row] = []
        if self._size is None:
            self.add: Callable[[Row], None] = self._rows.append
        elif len(order.passes) == 1:
            self.add = self._bounded(self._size, *order.passes[0])
        else:
            self.add = self._cut_only(self._size)

    def _bounded(self, size: int, key: Callable[[Row], Any], is_descending: bool) -> Callable[[Row], None]:
        rows, order, full = self._rows, self._order, 2 * size + 100
        bound: Any = None
        has_bound = False

        def add(row: Row) -> None:
            nonlocal bound, has_bound
            # A row equal to the bound comes after it: the sort is stable.
            if has_bound and ((key(row) <= bound) if is_descending else (key(row) >= bound)):
                return
            rows.append(row)
            if len(rows) >= full:
                order.sort(rows)
                del rows[size:]
                if rows:
                    bound, has_bound = key(rows[-1]), True

        return add

    def _cut_only(self, size: int) -> Callable[[Row], None]:
        rows, order, full = self._rows, self._order, 2 * size + 1000

        def add(row: Row) -> None:
            rows.append(row)
            if len(rows) >= full:
                order.sort(rows)
                del rows[size:]

        return add

    def finish(self) -> list[Row]:
        self._order.sort(self._rows)
        return self._rows[self._start : self._size]
