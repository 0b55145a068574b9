"""Runs transactions against each other in threads, one for each session.

What the interleaver can't show happens here: two threads inside of the database at once, and
real waiting. Which schedule comes out is up to the operating system, so a seed repeats the
transactions and not the schedule. Each session lets go of the processor now and then between
two operations; without that a short transaction would be over before another thread is let on.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable

from ferrisdb.isolation.attempt import Attempt
from ferrisdb.isolation.history import TransactionRecord
from ferrisdb.isolation.subject import Subject, WouldWait
from ferrisdb.isolation.workload import Plan

PAUSES = 0.5
"""The share of steps before which a session lets others go first."""


class ThreadSessions:
    """Runs plans in `sessions` threads. `records` grows as transactions end. See `fuzz.Sessions`."""

    def __init__(self, subject: Subject, dice: random.Random, sessions: int) -> None:
        self.records: list[TransactionRecord] = []
        self._subject = subject
        self._seeds = [dice.randrange(2**32) for _ in range(sessions)]
        self._mutex = threading.Lock()
        self._moment = 0
        self._fault: BaseException | None = None

    def run(self, plans: Iterable[Plan]) -> None:
        """Raises what a session raised, once all have come to their end."""
        upcoming = iter(plans)
        threads = [
            threading.Thread(
                target=self.play, args=(upcoming, f"s{number}", random.Random(seed)), daemon=True
            )
            for number, seed in enumerate(self._seeds, 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._fault is not None:
            raise self._fault

    def play(self, upcoming: Iterable[Plan], session: str, dice: random.Random) -> None:
        """One session: take plans until there are none."""
        try:
            while (plan := self._next(upcoming)) is not None:
                attempt = Attempt(plan, self._subject, self._tick, session)
                try:
                    self._finish(attempt, dice)
                finally:
                    if not attempt.is_over:
                        # Others may wait for its locks; without this they would for ever.
                        attempt.give_up()
                with self._mutex:
                    self.records.append(attempt.record())
        except BaseException as fault:
            with self._mutex:
                self._fault = self._fault or fault
        finally:
            self._subject.end_session()

    def _finish(self, attempt: Attempt, dice: random.Random) -> None:
        while not attempt.is_over:
            if dice.random() < PAUSES:
                time.sleep(0)
            try:
                attempt.step()
            except WouldWait:  # a lock timeout of the database's own
                attempt.give_up()

    def _next(self, upcoming: Iterable[Plan]) -> Plan | None:
        with self._mutex:
            return None if self._fault is not None else next(iter(upcoming), None)

    def _tick(self) -> int:
        with self._mutex:
            self._moment += 1
            return self._moment
