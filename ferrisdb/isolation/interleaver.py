"""Runs transactions against each other in one thread: whose step is next, the dice decide.

    sessions    a: T1 r(x)         w(x)                 commit  T4 r(y) ...
                b:         T2 r(x)       w(x) waits ..          w(x) goes on, or is refused
                c:   T3 r(y)  ...

Nothing runs at the same time, so the dice's seed repeats a run exactly, conflicts and all, and a
hundred thousand transactions take no longer than their work. What it can't show is what happens
inside of an operation; that is for threads, and for `ferrisdb.testing.Scheduler`.

An operation that would wait is not done (`WouldWait`) and tried again when some transaction has
ended. A key is held by whoever wrote it and is not over, so it is known who waits for whom; whoever
closes a circle of waiting is rolled back, as FerrisDB itself would choose.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence

from ferrisdb.errors import broken
from ferrisdb.isolation.attempt import Attempt
from ferrisdb.isolation.history import TransactionRecord
from ferrisdb.isolation.subject import Subject, WouldWait
from ferrisdb.isolation.workload import Plan


class Interleaver:
    """Runs plans in `sessions` sessions. `records` grows as transactions end. See `fuzz.Sessions`."""

    def __init__(self, subject: Subject, dice: random.Random, sessions: int) -> None:
        self.records: list[TransactionRecord] = []
        self._subject = subject
        self._dice = dice
        self._moments = itertools.count()
        self._sessions = sessions
        self._waiting: list[Attempt] = []
        """In the order in which they came to wait."""

    def run(self, plans: Iterable[Plan]) -> None:
        upcoming = iter(plans)
        names = iter(_session_names(self._sessions))
        ready = [self._attempt(plan, name) for name, plan in zip(names, upcoming, strict=False)]
        while ready:
            attempt = self._dice.choice(ready)
            try:
                attempt.step()
            except WouldWait:
                if not closes_a_circle(attempt, self._waiting, [*ready, *self._waiting]):
                    ready.remove(attempt)
                    self._waiting.append(attempt)
                    continue
                attempt.give_up()
            if attempt.is_over:
                record = attempt.record()
                self.records.append(record)
                ready.remove(attempt)
                ready += self._waiting
                self._waiting.clear()
                following = next(upcoming, None)
                if following is not None:
                    ready.append(self._attempt(following, record.session))

    def _attempt(self, plan: Plan, session: str) -> Attempt:
        return Attempt(plan, self._subject, self._moments.__next__, session)


def closes_a_circle(attempt: Attempt, waiting: Sequence[Attempt], all_open: Sequence[Attempt]) -> bool:
    """Whether `attempt`, which would have to wait, would wait for itself in the end."""
    passed: list[Attempt] = []
    holder = _holder_of(attempt, all_open)
    while holder in waiting:
        # Two can have written one key where a store's locks do not hold. Then the walk may come to
        # a circle of others: it would never end, and neither would the wait.
        if holder in passed:
            return True
        passed.append(holder)
        holder = _holder_of(holder, all_open)
    return holder is attempt


def _holder_of(waiter: Attempt, all_open: Sequence[Attempt]) -> Attempt:
    key = waiter.wanted_key
    holder = next((each for each in all_open if each is not waiter and key in each.held_keys), None)
    return holder or broken(f"nobody holds {key}, for which a transaction waits")


def _session_names(count: int) -> Iterator[str]:
    return (f"s{number}" for number in range(1, count + 1))
