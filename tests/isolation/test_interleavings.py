"""Every interleaving of two transactions of four operations and of three of three, judged by brute force.

There are 49,297,500 and 11,551,443,750 of them (see `ferrisdb.isolation.small_programs`). Here a
random sample runs, in some seconds. FERRISDB_INTERLEAVINGS=night runs them all, those that differ
only in the order of steps that do not meet once: 11 million and 52 million at each level, which
is many hours; "night 3/8" is the third part of eight, for a machine with as many cores.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from itertools import islice

import pytest

from ferrisdb.isolation.checker import check, forbidden
from ferrisdb.isolation.exhaustive import Laboratory
from ferrisdb.isolation.history import Outcome
from ferrisdb.isolation.small_programs import (
    Program,
    Schedule,
    all_programs,
    all_sets,
    distinct_interleavings,
    interleaving_count,
    interleavings,
    set_count,
)
from ferrisdb.txn.api import IsolationLevel

SIZES = ((2, 4), (3, 3))
SETS = 250
SCHEDULES_PER_SET = 6
SIZE = os.environ.get("FERRISDB_INTERLEAVINGS", "")

by_size = pytest.mark.parametrize(
    ("count", "length"), SIZES, ids=["two transactions of four", "three transactions of three"]
)


def chosen(count: int, length: int) -> Iterator[tuple[Sequence[Program], Schedule]]:
    """What to run: all for the night, else a sample."""
    if SIZE.startswith("night"):
        part, _, parts = (SIZE.removeprefix("night").strip() or "1/1").partition("/")
        for programs in islice(all_sets(count, length), int(part) - 1, None, int(parts)):
            for schedule in distinct_interleavings(programs, reads_meet_writes=count == 2):
                yield programs, schedule
        return
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    known = all_programs(length)
    for _ in range(SETS):
        programs = [dice.choice(known) for _ in range(count)]
        for _ in range(SCHEDULES_PER_SET):
            schedule = [number for number in range(count) for _ in range(length + 1)]
            dice.shuffle(schedule)
            yield programs, tuple(schedule)


def report(laboratory: Laboratory, count: int, length: int) -> None:
    sets, each = set_count(count, length), interleaving_count(count, length)
    print(f"{count} transactions of {length} operations: {sets:,} sets x {each:,} interleavings")
    print(f"{laboratory.level.value}: {laboratory.verdicts}")


@by_size
def test_at_serializable_there_is_a_serial_order_for_every_one(count: int, length: int) -> None:
    laboratory = Laboratory(IsolationLevel.SERIALIZABLE)
    try:
        for programs, schedule in chosen(count, length):
            laboratory.judge(programs, schedule)
            assert not laboratory.verdicts.unserializable, laboratory.verdicts.examples
        report(laboratory, count, length)
        verdicts = laboratory.verdicts
        assert verdicts.refused_at_commit > 0
        # Not one commit is refused that could have been let through.
        assert verdicts.refused_falsely == 0
    finally:
        laboratory.close()


@by_size
def test_at_snapshot_exactly_those_with_write_skew_have_none(count: int, length: int) -> None:
    laboratory = Laboratory(IsolationLevel.SNAPSHOT)
    try:
        for programs, schedule in chosen(count, length):
            before = laboratory.verdicts.unserializable
            history = laboratory.judge(programs, schedule).history()
            is_unserializable = laboratory.verdicts.unserializable > before
            findings = check(history)
            # A cycle that the level allows has two rw edges in a row: write skew, in a wide sense.
            assert bool(findings) == is_unserializable, f"{history}\n{findings}"
            assert not forbidden(findings, IsolationLevel.SNAPSHOT), f"{history}\n{findings}"
        report(laboratory, count, length)
        assert laboratory.verdicts.unserializable
    finally:
        laboratory.close()


def test_at_read_committed_no_cycle_is_without_an_rw_edge() -> None:
    laboratory = Laboratory(IsolationLevel.READ_COMMITTED)
    try:
        for programs, schedule in islice(chosen(2, 4), 500):
            history = laboratory.run(programs, schedule).history()
            assert not forbidden(check(history), IsolationLevel.READ_COMMITTED), str(history)
    finally:
        laboratory.close()


class TestWhatIsTried:
    def test_the_counts_are_those_of_the_enumeration(self) -> None:
        assert sum(1 for _ in all_sets(2, 2)) == set_count(2, 2)
        assert sum(1 for _ in all_sets(3, 1)) == set_count(3, 1)
        assert sum(1 for _ in interleavings((5, 5))) == interleaving_count(2, 4) == 252
        assert len(set(interleavings((3, 3, 3)))) == interleaving_count(3, 2) == 1680
        assert (set_count(2, 4), set_count(3, 3)) == (195_625, 333_375)
        assert interleaving_count(3, 3) == 34_650

    @pytest.mark.parametrize("reads_meet_writes", [True, False])
    @pytest.mark.parametrize("level", [IsolationLevel.SNAPSHOT, IsolationLevel.SERIALIZABLE])
    def test_interleavings_that_are_left_out_show_nothing_new(
        self, level: IsolationLevel, reads_meet_writes: bool
    ) -> None:
        """All 252 of a set have no outcome that the distinct ones do not have."""
        seed = random.randrange(2**32)
        print("seed", seed)
        dice = random.Random(seed)
        laboratory = Laboratory(level)
        try:
            for _ in range(4):
                programs = dice.sample(all_programs(4), 2)
                fewer = list(distinct_interleavings(programs, reads_meet_writes=reads_meet_writes))
                assert len(set(fewer)) == len(fewer) <= 252
                shown = {laboratory.run(programs, schedule).outcome() for schedule in fewer}
                for schedule in interleavings((5, 5)):
                    assert laboratory.run(programs, schedule).outcome() in shown, f"{programs} {schedule}"
        finally:
            laboratory.close()

    def test_who_waits_goes_on_when_the_other_has_ended_and_a_circle_has_one_victim(self) -> None:
        laboratory = Laboratory(IsolationLevel.SNAPSHOT)
        try:
            waits = laboratory.run([("w(x)",), ("w(x)",)], (0, 1, 0, 1))
            assert [each.outcome for each in waits.attempts] == [Outcome.COMMITTED, Outcome.COMMITTED]
            assert waits.final == {"x": 20}
            circle = laboratory.run([("w(x)", "w(y)"), ("w(y)", "w(x)")], (0, 1, 0, 1, 0, 1))
            assert [each.outcome for each in circle.attempts] == [Outcome.COMMITTED, Outcome.ABORTED]
            assert circle.final == {"x": 10, "y": 11}
        finally:
            laboratory.close()
