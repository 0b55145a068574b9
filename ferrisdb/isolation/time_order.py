"""The order of time as a graph: who was over before whom began, in two edges for each.

ends     1       4        7            a node for each moment at which somebody ended
chain    (-1) -> (-2) ->  (-3)         numbered downwards: no transaction has such a number
T1 ends at 1: T1 -> (-1)               T5 begins at 5: (-2) -> T5
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from ferrisdb.isolation.history import TransactionRecord


def time_order(transactions: Iterable[TransactionRecord]) -> dict[int, list[int]]:
    """node -> nodes after it. Transactions without moments have no edges."""
    known = [each for each in transactions if each.begin is not None and each.end is not None]
    ends = sorted({each.end for each in known if each.end is not None})
    after: dict[int, list[int]] = {-place: [-place - 1] for place in range(1, len(ends))}
    if ends:
        after[-len(ends)] = []
    for each in known:
        if each.begin is None or each.end is None:
            continue
        after[each.id] = [-(bisect_left(ends, each.end) + 1)]
        over_before = bisect_left(ends, each.begin)
        if over_before:
            after[-over_before].append(each.id)
    return after
