"""Random concurrent histories, checked: `ferrisdb isolation fuzz`.

    seed 7           seed 8           seed 9
    +- round -----+  +- round -----+  +- ...
    | a new store |  | a new store |
    | run 2000    |  | run 2000    |          memory holds one round,
    | last look   |  | last look   |          however many there are
    | check       |  | check       |
    +-------------+  +-------------+

Each round has a seed of its own, the next number, and begins with an empty database; so a round
that shows something is repeated alone, by its seed. No key is in two rounds, and so no cycle can
be: nothing is missed by cutting the run.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from ferrisdb.immutable import immutable
from ferrisdb.isolation.checker import Finding, check
from ferrisdb.isolation.history import History, Outcome, TransactionRecord
from ferrisdb.isolation.interleaver import Interleaver
from ferrisdb.isolation.phenomena import Anomaly
from ferrisdb.isolation.subject import StoreSubject, Subject
from ferrisdb.isolation.thread_sessions import ThreadSessions
from ferrisdb.isolation.workload import Plan, WorkloadKind, make_workload
from ferrisdb.txn.api import IsolationLevel
from ferrisdb.txn.local import LocalStore

ROUND_TRANSACTIONS = 2000
SESSIONS = 8

OpenSubject = Callable[[], Subject]


class Sessions(Protocol):
    """Runs transactions against each other."""

    @property
    def records(self) -> list[TransactionRecord]:
        """In the order in which they ended."""

    def run(self, plans: Iterable[Plan]) -> None: ...


MakeSessions = Callable[[Subject, random.Random, int], Sessions]
"""The dice decide what they can of the schedule; the number is that of the sessions."""


@immutable
class FuzzOptions:
    level: IsolationLevel = IsolationLevel.SNAPSHOT
    kind: WorkloadKind = WorkloadKind.REGISTER
    transactions: int = 10_000
    seed: int = 0
    sessions: int = SESSIONS
    uses_threads: bool = False
    round_transactions: int = ROUND_TRANSACTIONS


@immutable
class Round:
    """`history` is there when something was found."""

    seed: int
    transactions: int
    committed: int
    findings: tuple[Finding, ...]
    history: History | None


def ferrisdb_in_memory(level: IsolationLevel) -> OpenSubject:
    return lambda: StoreSubject(LocalStore.in_memory(), level)


def fuzz(options: FuzzOptions, open_subject: OpenSubject) -> Iterator[Round]:
    """Run and check, round by round. Raises what the database raises, if it is no refusal."""
    done = 0
    while done < options.transactions:
        count = min(options.round_transactions, options.transactions - done)
        yield fuzz_round(options, options.seed + done // options.round_transactions, count, open_subject)
        done += count


def fuzz_round(options: FuzzOptions, seed: int, transactions: int, open_subject: OpenSubject) -> Round:
    make_sessions = ThreadSessions if options.uses_threads else Interleaver
    history = run_round(
        options.kind, seed, transactions, open_subject, make_sessions, sessions=options.sessions
    )
    findings = check(history)
    committed = sum(each.outcome is Outcome.COMMITTED for each in history.transactions)
    return Round(seed, transactions, committed - 1, tuple(findings), history if findings else None)


def run_round(
    kind: WorkloadKind,
    seed: int,
    transactions: int,
    open_subject: OpenSubject,
    make_sessions: MakeSessions = Interleaver,
    *,
    sessions: int = SESSIONS,
) -> History:
    """The history of one round. Its last transaction has read everything."""
    workload = make_workload(kind, transactions, seed)
    subject = open_subject()
    try:
        subject.load(workload.initial)
        players = make_sessions(subject, random.Random(f"schedule {seed}"), sessions)
        players.run(workload.plans)
        players.run([workload.last_look])
    finally:
        subject.close()
    return History(tuple(players.records), workload.initial)


class FuzzTotals:
    """What came of all rounds so far."""

    def __init__(self, level: IsolationLevel) -> None:
        self.level = level
        self.rounds = 0
        self.transactions = 0
        self.committed = 0
        self.allowed: Counter[Anomaly] = Counter()
        self.forbidden: Counter[Anomaly] = Counter()
        self.smallest: tuple[Finding, Round] | None = None
        """A forbidden one, when there is one; else one that the level allows."""

    def add(self, each: Round) -> None:
        self.rounds += 1
        self.transactions += each.transactions
        self.committed += each.committed
        for finding in each.findings:
            counts = self.allowed if finding.is_allowed_at(self.level) else self.forbidden
            counts[finding.anomaly] += 1
            if self.smallest is None or self._rank(finding, each) < self._rank(*self.smallest):
                self.smallest = finding, each

    def _rank(self, finding: Finding, shown: Round) -> tuple[bool, int, int]:
        records = () if shown.history is None else shown.history.transactions
        members = [each for each in records if each.id in finding.transactions]
        operations = sum(len(each.operations) for each in members)
        return finding.is_allowed_at(self.level), len(finding.transactions), operations
