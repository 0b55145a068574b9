"""Bugs planted in the protocol one at a time: what was built to find bugs has to find them all.

    planted                                          found by
    a miss is not recorded                           random histories, predicate, at serializable
    the locks go before the commit is published      scheduled histories, register, at snapshot
    ...

The detectors are those that the other modules of this folder are tests of: random histories, in
one thread and under the deterministic scheduler, and interleavings judged by brute force. All
run from fixed seeds, so what is found today is found tomorrow; and without a plant, the same seeds
find nothing. An error that tells of a broken rule of FerrisDB's own is a find, too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from ferrisdb.errors import InternalError
from ferrisdb.isolation.checker import check, forbidden
from ferrisdb.isolation.exhaustive import Laboratory
from ferrisdb.isolation.fuzz import ferrisdb_in_memory, run_round
from ferrisdb.isolation.small_programs import some_runs
from ferrisdb.isolation.workload import WorkloadKind
from ferrisdb.txn import serializable
from ferrisdb.txn.api import IsolationLevel
from ferrisdb.txn.serializable_footprint import Footprint

sys.path.insert(0, str(Path(__file__).parent))

from plants import PLANTS, Plant
from scheduled_sessions import ScheduledSessions

TRANSACTIONS = 250
SCHEDULED_TRANSACTIONS = 80
RUNS = 700
ATTEMPTS = 6

Detector = tuple[str, Callable[[int], str | None]]
"""Its name, and what finds something from a seed: None, or what it is."""


def random_histories(kind: WorkloadKind, level: IsolationLevel, seed: int) -> str | None:
    history = run_round(kind, seed, TRANSACTIONS, ferrisdb_in_memory(level))
    findings = forbidden(check(history), level)
    return findings[0].anomaly.title if findings else None


def scheduled_histories(kind: WorkloadKind, level: IsolationLevel, seed: int) -> str | None:
    history = run_round(
        kind, seed, SCHEDULED_TRANSACTIONS, ferrisdb_in_memory(level), ScheduledSessions, sessions=4
    )
    findings = forbidden(check(history), level)
    return findings[0].anomaly.title if findings else None


def judged_interleavings(count: int, length: int, seed: int) -> str | None:
    laboratory = Laboratory(IsolationLevel.SERIALIZABLE)
    try:
        for programs, schedule in some_runs(count, length, RUNS, seed):
            laboratory.judge(programs, schedule)
            if laboratory.verdicts.unserializable:
                return "no serial order"
            if laboratory.verdicts.refused_falsely:
                return "refused though there is a serial order"
    finally:
        laboratory.close()
    return None


def detectors(level: IsolationLevel) -> Iterator[Detector]:
    """Those that look at one level, the cheap ones first."""
    for kind in WorkloadKind:
        yield (
            f"random histories, {kind.value}, at {level.value}",
            partial(random_histories, kind, level),
        )
    if level is IsolationLevel.SERIALIZABLE:
        for count, length in ((2, 4), (3, 3)):
            yield (
                f"interleavings of {count} transactions of {length} operations",
                partial(judged_interleavings, count, length),
            )
    for kind in WorkloadKind:
        yield (
            f"scheduled histories, {kind.value}, at {level.value}",
            partial(scheduled_histories, kind, level),
        )


def first_find(level: IsolationLevel) -> tuple[str, str, int] | None:
    """Who finds what, from which seed."""
    for seed in range(ATTEMPTS):
        for name, detect in detectors(level):
            try:
                found = detect(seed)
            except InternalError as error:
                found = f"{type(error).__name__}: {error}"
            if found is not None:
                return name, found, seed
    return None


@pytest.mark.parametrize(("plant", "level"), PLANTS, ids=[plant.name for plant, _ in PLANTS])
def test_the_planted_bug_is_found(
    plant: Plant, level: IsolationLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serializable, "_copied", _copied, raising=False)
    plant.put_into(monkeypatch)
    found = first_find(level)
    assert found is not None, f"nobody finds that {plant.name}"
    print(f"{plant.name}: {found[1]}, by {found[0]}, seed {found[2]}")


def test_there_are_at_least_twenty_and_each_is_another() -> None:
    assert len({plant.name for plant, _ in PLANTS}) == len(PLANTS) >= 20


@pytest.mark.parametrize("level", IsolationLevel, ids=lambda level: level.value)
def test_where_nothing_is_planted_nothing_is_found(level: IsolationLevel) -> None:
    for name, detect in detectors(level):
        assert detect(0) is None, name


def _copied(footprint: Footprint) -> Footprint:
    return Footprint(dict(footprint.keys), dict(footprint.ranges))
