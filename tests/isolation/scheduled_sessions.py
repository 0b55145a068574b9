"""Sessions of a random run as tasks of the deterministic scheduler.

What threads do to each other inside of an operation happens here, and a seed repeats it: who is
asked for a lock, logs, publishes, lets go of its locks, in every order.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from ferrisdb.isolation.subject import Subject
from ferrisdb.isolation.thread_sessions import ThreadSessions
from ferrisdb.isolation.workload import Plan
from ferrisdb.testing import Scheduler


class ScheduledSessions(ThreadSessions):
    def __init__(self, subject: Subject, dice: random.Random, sessions: int) -> None:
        super().__init__(subject, dice, sessions)
        self._dice = dice

    def run(self, plans: Iterable[Plan]) -> None:
        upcoming = iter(plans)
        scheduler = Scheduler(self._dice.randrange(2**32))
        for number, seed in enumerate(self._seeds, 1):
            scheduler.spawn(self.play, upcoming, f"s{number}", random.Random(seed), name=f"s{number}")
        scheduler.run()
        if self._fault is not None:
            raise self._fault
