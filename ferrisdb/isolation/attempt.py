"""One transaction under way: it does its plan step by step and writes down what it sees.

    attempt = Attempt(plan, subject, clock)
    while not attempt.is_over:
        attempt.step()               the next operation; after the last one commit, or rollback
    attempt.record()                 -> TransactionRecord

Its moments are taken from a clock that all attempts of a run share, before its first operation
and after its end, so "over before the other began" is never claimed wrongly.
"""

from __future__ import annotations

from collections.abc import Callable

from ferrisdb.errors import broken
from ferrisdb.isolation.history import Append, Operation, Outcome, RangeRead, Read, TransactionRecord, Write
from ferrisdb.isolation.subject import Refused, SeveralFound, Subject, SubjectTransaction
from ferrisdb.isolation.workload import Plan, PlannedStep, ToRead, ToScan

AFTER_KEY = "!"
"""Sorts before all that names of keys are made of: from k1 to k1! there is k1 alone."""


class Attempt:
    def __init__(self, plan: Plan, subject: Subject, clock: Callable[[], int], session: str = "") -> None:
        self.plan = plan
        self.outcome: Outcome | None = None
        self.refusal: BaseException | None = None
        """Why the database refused it, where it did."""
        self.held_keys: set[str] = set()
        """What it has written, and others wait for until it is over."""
        self.operations: list[Operation] = []
        self.begin: int | None = None
        self.end: int | None = None
        self._session = session
        self._subject = subject
        self._clock = clock
        self._transaction: SubjectTransaction | None = None
        self._position = 0
        self._commit_order: int | None = None

    @property
    def is_over(self) -> bool:
        return self.outcome is not None

    @property
    def is_at_its_end(self) -> bool:
        """Whether the next step is the last: commit or rollback."""
        return self._position == len(self.plan.steps)

    @property
    def wanted_key(self) -> str:
        """The key of the next operation, which is a write."""
        step = self.plan.steps[self._position]
        return step.key if isinstance(step, Write | Append) else broken("a read waits")

    def step(self) -> None:
        """Do the next operation. Raises WouldWait: then nothing is done yet."""
        if self._transaction is None:
            self.begin = self._clock()
            self._transaction = self._subject.begin(read_only=self.plan.is_read_only)
        try:
            if not self.is_at_its_end:
                self._perform(self.plan.steps[self._position], self._transaction)
                self._position += 1
            elif self.plan.rolls_back:
                self._transaction.rollback()
                self._over(Outcome.ABORTED)
            else:
                self._commit_order = self._transaction.commit()
                self._over(Outcome.COMMITTED)
        except Refused as refusal:
            self.refusal = refusal.__cause__
            self.give_up()

    def give_up(self) -> None:
        """Roll back, as a victim."""
        if self._transaction is not None:
            self._transaction.rollback()
        self._over(Outcome.ABORTED)

    def record(self) -> TransactionRecord:
        return TransactionRecord(
            self.plan.id,
            tuple(self.operations),
            Outcome.UNKNOWN if self.outcome is None else self.outcome,
            self._session,
            self.begin,
            self.end,
            self._commit_order,
        )

    def _over(self, outcome: Outcome) -> None:
        self.end = self._clock()
        self.outcome = outcome

    def _perform(self, step: PlannedStep, transaction: SubjectTransaction) -> None:
        if isinstance(step, ToRead):
            try:
                value = transaction.read_list(step.key) if step.is_list else transaction.read(step.key)
                self.operations.append(Read(step.key, value))
            except SeveralFound as found:
                pairs = tuple((step.key, value) for value in found.values)
                self.operations.append(RangeRead(step.key, f"{step.key}{AFTER_KEY}", pairs))
        elif isinstance(step, ToScan):
            self.operations.append(RangeRead(step.lo, step.hi, transaction.scan(step.lo, step.hi)))
        elif isinstance(step, Append):
            before = transaction.append(step.key, step.element)
            if before is not None:
                self.operations.append(Read(step.key, before))
            self.operations.append(step)
            self.held_keys.add(step.key)
        elif isinstance(step, Write):
            transaction.write(step.key, step.value)
            self.operations.append(step)
            self.held_keys.add(step.key)
