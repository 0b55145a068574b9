"""Random histories in every order of locks, log writes and publishing that a seed can think of."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from ferrisdb.isolation.checker import check, forbidden
from ferrisdb.isolation.fuzz import ferrisdb_in_memory, run_round
from ferrisdb.isolation.workload import WorkloadKind
from ferrisdb.txn.api import IsolationLevel

sys.path.insert(0, str(Path(__file__).parent))

from scheduled_sessions import ScheduledSessions

TRANSACTIONS = 60
ROUNDS = 3


@pytest.mark.parametrize("kind", WorkloadKind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("level", IsolationLevel, ids=lambda level: level.value)
def test_a_level_shows_only_what_it_allows_in_any_schedule(level: IsolationLevel, kind: WorkloadKind) -> None:
    first = random.randrange(2**31)
    print("seed", first)
    for seed in range(first, first + ROUNDS):
        history = run_round(
            kind, seed, TRANSACTIONS, ferrisdb_in_memory(level), ScheduledSessions, sessions=4
        )
        findings = forbidden(check(history), level)
        assert not findings, f"seed {seed}\n" + findings[0].explain(history)


def test_a_seed_repeats_schedule_and_history() -> None:
    open_subject = ferrisdb_in_memory(IsolationLevel.SERIALIZABLE)
    first, second, other = (
        run_round(WorkloadKind.REGISTER, seed, TRANSACTIONS, open_subject, ScheduledSessions, sessions=4)
        for seed in (5, 5, 6)
    )
    assert str(first) == str(second) != str(other)
