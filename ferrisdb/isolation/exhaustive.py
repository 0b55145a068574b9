"""Runs interleavings of small transactions on the real transaction manager, and judges each.

    schedule    1  1  2  2  1  2  2          a row of numbers: whose step is next
    T1          r(x)  w(y)        commit
    T2                r(y)  w(x)     waits?  commit

All in one thread. A step that would wait is noticed at once (see `subject`) and done as soon as
the one it waits for has ended, with the steps of its own that came due meanwhile; who closes a
circle of waiting is rolled back.

The judge tries every serial order of those that committed (`serial_orders`): what each has read and
what is there at the end must come out. The checker says whether the level forbids what is seen.
Where the store refused a commit, the same schedule runs
again at `snapshot`, which lets it pass: if those that had committed by then have a serial order
with it, in which the writes to each key come in the order in which they took effect, then the
refusal was a false one.

Limits: a store serves RUNS_PER_STORE runs, each with keys of its own, then a new one begins.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ferrisdb.errors import SerializationFailure
from ferrisdb.isolation.attempt import Attempt
from ferrisdb.isolation.checker import check, forbidden
from ferrisdb.isolation.history import History, Outcome, TransactionRecord, Value, Write
from ferrisdb.isolation.interleaver import closes_a_circle
from ferrisdb.isolation.serial_orders import serial_order
from ferrisdb.isolation.small_programs import INITIAL, KEYS, RANGE, Program, Schedule, plan_of
from ferrisdb.isolation.subject import StoreSubject, WouldWait
from ferrisdb.txn.api import IsolationLevel, Store
from ferrisdb.txn.local import LocalStore

RUNS_PER_STORE = 2000
MAX_EXAMPLES = 3


@dataclass
class Verdicts:
    """Counts of runs, and of transactions."""

    runs: int = 0
    transactions: int = 0
    committed: int = 0
    refused_at_write: int = 0
    """First updater wins, and deadlocks."""
    refused_at_commit: int = 0
    refused_falsely: int = 0
    """Of those: the ones whose commit would have left all serializable."""
    unserializable: int = 0
    forbidden: int = 0
    """Runs that show an anomaly which the level forbids."""
    examples: list[tuple[Sequence[Program], Schedule, History]] = field(default_factory=list)
    """The first that are forbidden, or else the first that are unserializable."""

    def __str__(self) -> str:
        share = self.refused_falsely / max(1, self.refused_at_commit)
        return (
            f"{self.runs:,} runs of {self.transactions:,} transactions, {self.committed:,} committed\n"
            f"refused: {self.refused_at_write:,} at a write, {self.refused_at_commit:,} at commit, "
            f"{self.refused_falsely:,} of those falsely ({share:.2%})\n"
            f"without a serial order: {self.unserializable:,} runs, "
            f"{self.forbidden:,} with what the level forbids"
        )


@dataclass(frozen=True)
class Run:
    attempts: tuple[Attempt, ...]
    final: dict[str, Value]

    def history(self) -> History:
        return History(tuple(attempt.record() for attempt in self.attempts), INITIAL)

    def outcome(self) -> tuple[object, ...]:
        """What decides the verdict. Equal for many schedules."""
        return (
            tuple((attempt.outcome, tuple(map(str, attempt.operations))) for attempt in self.attempts),
            tuple(self.final.items()),
        )


class Laboratory:
    """Runs schedules at one level. `open_store` makes an empty store."""

    def __init__(self, level: IsolationLevel, open_store: Callable[[], Store] = LocalStore.in_memory) -> None:
        self.level = level
        self.verdicts = Verdicts()
        self._open_store = open_store
        self._store: Store | None = None
        self._runs = 0
        self._baseline: Laboratory | None = None
        self._known: dict[object, tuple[bool, bool]] = {}
        self._known_of: Sequence[Program] = ()

    def close(self) -> None:
        for part in (self._store, self._baseline):
            if part is not None:
                part.close()

    def judge(self, programs: Sequence[Program], schedule: Schedule) -> Run:
        """Run the schedule and count what came of it."""
        run = self.run(programs, schedule)
        verdicts = self.verdicts
        verdicts.runs += 1
        for number, attempt in enumerate(run.attempts):
            verdicts.transactions += 1
            if attempt.outcome is Outcome.COMMITTED:
                verdicts.committed += 1
            elif not attempt.is_at_its_end:
                verdicts.refused_at_write += 1
            else:
                verdicts.refused_at_commit += 1
                verdicts.refused_falsely += self._is_false_refusal(programs, schedule, number, run)
        is_serializable, is_forbidden = self._judgement(programs, run)
        verdicts.unserializable += not is_serializable
        verdicts.forbidden += is_forbidden
        if is_forbidden and verdicts.forbidden == 1:
            verdicts.examples.clear()
        is_example = is_forbidden or not (is_serializable or verdicts.forbidden)
        if is_example and len(verdicts.examples) < MAX_EXAMPLES:
            verdicts.examples.append((programs, schedule, run.history()))
        return run

    def run(self, programs: Sequence[Program], schedule: Schedule) -> Run:
        subject = StoreSubject(self._current_store(), self.level, b"%d/" % self._runs)
        self._runs += 1
        moments = itertools.count()
        attempts = tuple(
            Attempt(plan_of(number, program), subject, moments.__next__)
            for number, program in enumerate(programs, 1)
        )
        play(attempts, schedule)
        reader = subject.begin(read_only=True)
        final = dict(reader.scan(*RANGE))
        reader.rollback()
        return Run(attempts, final)

    def _current_store(self) -> Store:
        if self._store is None or self._runs == RUNS_PER_STORE:
            if self._store is not None:
                self._store.close()
            self._store = self._open_store()
            self._runs = 0
            # All at once: a commit for each run would be a good part of its work.
            present = {
                f"{run}/{key}": value for run in range(RUNS_PER_STORE) for key, value in INITIAL.items()
            }
            StoreSubject(self._store, self.level).load(present)
        return self._store

    def _judgement(self, programs: Sequence[Program], run: Run) -> tuple[bool, bool]:
        """Whether there is a serial order, and whether the level forbids what is seen."""
        if programs != self._known_of:
            self._known_of = programs
            self._known.clear()
        outcome = run.outcome()
        known = self._known.get(outcome)
        if known is None:
            history = run.history()
            is_serializable = serial_order(history, run.final) is not None
            breaks_promise = bool(forbidden(check(history), self.level))
            if self.level is IsolationLevel.SERIALIZABLE:
                breaks_promise = breaks_promise or not is_serializable
            known = self._known[outcome] = is_serializable, breaks_promise
        return known

    def _is_false_refusal(
        self, programs: Sequence[Program], schedule: Schedule, number: int, refused_in: Run
    ) -> bool:
        if not isinstance(refused_in.attempts[number].refusal, SerializationFailure):
            return False
        if self._baseline is None:
            self._baseline = Laboratory(IsolationLevel.SNAPSHOT, self._open_store)
        attempts = self._baseline.run(programs, schedule).attempts
        end = attempts[number].end
        if end is None or attempts[number].outcome is not Outcome.COMMITTED:
            return False
        earlier = [
            each.record()
            for each, here in zip(attempts, refused_in.attempts, strict=True)
            if each.end is not None
            and each.end <= end
            and (here.outcome is Outcome.COMMITTED or each is attempts[number])
        ]
        orders = {
            key: tuple(each.id for each in sorted(earlier, key=_place) if _writes(each, key)) for key in KEYS
        }
        history = History(tuple(earlier), INITIAL, orders)
        return serial_order(history, keeps_version_orders=True) is not None


def _place(record: TransactionRecord) -> int:
    return record.commit_order or 0


def _writes(record: TransactionRecord, key: str) -> bool:
    return any(isinstance(each, Write) and each.key == key for each in record.operations)


def play(attempts: Sequence[Attempt], schedule: Schedule) -> None:
    """Do the steps in the order of the schedule, until every attempt is over."""
    due = dict.fromkeys(range(len(attempts)), 0)
    waiting: list[int] = []

    def go_on(number: int) -> bool:
        """Do what is due. Whether something was done."""
        attempt = attempts[number]
        has_moved = False
        while due[number] and not attempt.is_over:
            try:
                attempt.step()
            except WouldWait:
                others = [attempts[each] for each in waiting if each != number]
                if closes_a_circle(attempt, others, attempts):
                    attempt.give_up()
                    has_moved = True
                    break
                if number not in waiting:
                    waiting.append(number)
                return has_moved
            due[number] -= 1
            has_moved = True
        if number in waiting:
            waiting.remove(number)
        return has_moved

    for number in schedule:
        due[number] += 1
        if number in waiting or attempts[number].is_over:
            continue
        go_on(number)
        if attempts[number].is_over:
            # First come, first served; and who goes on may end, and let others go on.
            while any(go_on(each) for each in list(waiting)):
                pass
