"""Waits that would never end: found when they form, not by a timer.

    T1 --waits for--> T2 --waits for--> T3        T3 now asks for what T1 holds:
     ^                                   |        the path leads back to T3 itself, so T3
     +-----------------------------------+        is refused and never goes to sleep

Before a transaction goes to sleep the edges "waits for" are followed from it, breadth first,
so that the shortest cycle is the one that is told. It is the victim: the others were here
before, and with it gone they can go on. Each transaction waits for at most one thing, so as
no earlier request closed a cycle, every cycle there is now goes through the newest one.
(Holt, "Some Deadlock Properties of Computer Systems", Computing Surveys 1972.)

If the path leads to another transaction of the same thread instead, nobody is left who could
end that one, and waiting is refused for that reason.

What is told is data (`DeadlockDetected.conflict`): who waits for whom, over which key or
range, in which statement.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from ferrisdb import errors
from ferrisdb.conflict import Conflict, ConflictStep, KeyRange, statement_excerpt
from ferrisdb.txn.range_locks import RangeWaiter

if TYPE_CHECKING:
    from ferrisdb.txn.lock_owner import LockOwner, Waiter

Blockers = Callable[["LockOwner"], Iterator["LockOwner"]]
"""Those that an owner waits for."""


def endless_path(owner: LockOwner, blockers: Blockers) -> list[LockOwner] | None:
    """The shortest way from `owner` along "waits for" to itself or to its own thread."""
    came_from: dict[LockOwner, LockOwner] = {}
    frontier = deque([owner])
    while frontier:
        current = frontier.popleft()
        for blocker in blockers(current):
            if blocker is owner or blocker.thread_id == owner.thread_id:
                path = [blocker, current]
                while path[-1] is not owner:
                    path.append(came_from[path[-1]])
                return path[-2::-1]
            if blocker not in came_from:
                came_from[blocker] = current
                frontier.append(blocker)
    return None


def endless_wait(owner: LockOwner, path: Sequence[LockOwner]) -> errors.Error:
    """Why `owner` may not wait: `path` is that of `endless_path`."""
    last = path[-1]
    if last is not owner:
        return errors.LockNotAvailable(
            f"transaction {owner.id} would wait for ever: transaction {last.id} holds the row"
            " and is open in this same thread",
            hint="commit or roll that transaction back first, or run the two in different threads",
        )
    steps = [_step(waiter, blocker) for waiter, blocker in pairwise((owner, *path))]
    conflict = Conflict("deadlock", owner.id, tuple(steps))
    return errors.DeadlockDetected(
        f"deadlock: transaction {owner.id} would wait for itself",
        detail=conflict.explain(),
        hint="roll back and run the transaction again; taking rows in one order avoids deadlocks",
        conflict=conflict,
    )


def _step(waiter: LockOwner, blocker: LockOwner) -> ConflictStep:
    wait = waiter.waiting
    if wait is None:
        errors.broken("everybody in a circle of waits waits")
    statements = (statement_excerpt(each.statement) for each in (waiter, blocker))
    return ConflictStep(waiter.id, blocker.id, "waits", wanted(wait), *statements)


def wanted(waiter: Waiter | RangeWaiter) -> KeyRange:
    """What it waits for."""
    return KeyRange(waiter.lo, waiter.hi) if isinstance(waiter, RangeWaiter) else KeyRange.of_key(waiter.key)
