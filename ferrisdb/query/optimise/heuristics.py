"""Every choice between two sound plans, in one place, until there are statistics.

access path   all columns of a unique key > more leading columns equal > a range
              the table's own key before an index, which needs a second look-up
first table   one that is a single row; else one that no key look-up leads to (the
              largest, as orders are more than customers); else the first of FROM
next table    joined by its whole unique key > joined by an equality > not joined at all
index order   read in an index's order instead of sorting only for a LIMIT
"""

from __future__ import annotations

from typing import NamedTuple

MAX_PROBES = 200
"""Values of an IN list that are looked up one by one; more are a filter."""


class AccessScore(NamedTuple):
    """Compared field by field, the larger the better."""

    is_point: bool
    equal_columns: int
    bounds: int
    is_primary: bool
    """The rows themselves, not entries that lead to them."""

    @property
    def is_useful(self) -> bool:
        return self.is_point or self.equal_columns > 0 or self.bounds > 0


class JoinScore(NamedTuple):
    """How good a table is as the next one to join."""

    is_unique: bool
    is_connected: bool
    earliness: int
    """Minus its place in FROM."""
