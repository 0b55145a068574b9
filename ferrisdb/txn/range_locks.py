"""Locks on ranges: a deleted range keeps out everybody else, on any key of it.

A key lock is found by its key. A range lock meets keys that nobody has named, so it is
compared with what others hold and ask for: the lists are short, and empty as a rule.

    held      [b, m) by T1                         T2 asks for c: it waits in the queue of c,
    waiting   [a, z) for T3, turn 7                until T1 ends

First come, first served holds between keys and ranges, too, or a row of writers could
starve a range for ever: who waits has a turn, and goes behind every range that meets his key
and has an earlier one. There is one exception, made by `LockTable`: where waiting for a turn
alone would be a deadlock, the turn is not waited for.

Limits: to ask for a range, or to wake one, looks at every lock that is held.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ferrisdb import errors

if TYPE_CHECKING:
    from ferrisdb.txn.lock_owner import LockOwner


class RangeWaiter:
    """One transaction asleep for a range. `gate` opens when it is granted or refused."""

    __slots__ = ("gate", "hi", "lo", "owner", "refusal", "turn")

    def __init__(self, owner: LockOwner, lo: bytes, hi: bytes | None, turn: int) -> None:
        self.owner = owner
        self.lo = lo
        self.hi = hi
        self.turn = turn
        self.gate = threading.Lock()
        self.gate.acquire()
        self.refusal: errors.Error | None = None


class RangeLocks:
    """Used under the mutex of the lock table."""

    def __init__(self) -> None:
        self.held: list[tuple[bytes, bytes | None, LockOwner]] = []
        self.waiting: list[RangeWaiter] = []
        """By their turns."""

    def hold(self, owner: LockOwner, lo: bytes, hi: bytes | None) -> None:
        # The owner notes it first: after an interrupt in between, its release finds it.
        owner.ranges.append((lo, hi))
        self.held.append((lo, hi, owner))

    def release(self, owner: LockOwner) -> None:
        if owner.ranges:
            self.held = [each for each in self.held if each[2] is not owner]

    def before_key(self, owner: LockOwner, key: bytes, turn: int | None) -> Iterator[LockOwner]:
        """Others that a request for `key` waits for; `turn` None is that of a newcomer."""
        yield from self.holders_over(owner, key)
        for waiter in self.waiting:
            is_earlier = turn is None or waiter.turn < turn
            if is_earlier and waiter.owner is not owner and covers(waiter.lo, waiter.hi, key):
                yield waiter.owner

    def holders_over(self, owner: LockOwner, key: bytes) -> Iterator[LockOwner]:
        for lo, hi, holder in self.held:
            if holder is not owner and covers(lo, hi, key):
                yield holder

    def before_range(
        self, owner: LockOwner, lo: bytes, hi: bytes | None, turn: int | None
    ) -> Iterator[LockOwner]:
        """Others whose ranges a request for [lo, hi) waits for."""
        yield from self.holders_in(owner, lo, hi)
        for waiter in self.waiting:
            is_earlier = turn is None or waiter.turn < turn
            if is_earlier and waiter.owner is not owner and overlap(lo, hi, waiter.lo, waiter.hi):
                yield waiter.owner

    def holders_in(self, owner: LockOwner, lo: bytes, hi: bytes | None) -> Iterator[LockOwner]:
        for held_lo, held_hi, holder in self.held:
            if holder is not owner and overlap(lo, hi, held_lo, held_hi):
                yield holder


def covers(lo: bytes, hi: bytes | None, key: bytes) -> bool:
    return lo <= key and (hi is None or key < hi)


def overlap(lo: bytes, hi: bytes | None, other_lo: bytes, other_hi: bytes | None) -> bool:
    return (other_hi is None or lo < other_hi) and (hi is None or other_lo < hi)


def within(lo: bytes, hi: bytes | None, other_lo: bytes, other_hi: bytes | None) -> bool:
    """Whether [lo, hi) lies in the other range as a whole."""
    return other_lo <= lo and (other_hi is None or (hi is not None and hi <= other_hi))
