"""Every interleaving of two transactions of four operations and of three of three, judged by brute force.

There are 49,297,500 and 11,551,443,750 of them (see `ferrisdb.isolation.small_programs`). Here a
random sample runs, in some seconds. FERRISDB_INTERLEAVINGS=night runs them all, those that differ
only in the order of steps that do not meet once: 11 million and 52 million at each level, which
is many hours; "night 3/8" is the third part of eight, for a machine with as many cores.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import islice

import pytest

from ferrisdb.cli.main import main
from ferrisdb.isolation.checker import check, forbidden
from ferrisdb.isolation.exhaustive import Laboratory
from ferrisdb.isolation.history import Outcome
from ferrisdb.isolation.small_programs import (
    SIZES,
    ProgramSet,
    Schedule,
    all_programs,
    all_sets,
    distinct_interleavings,
    every_run,
    interleaving_count,
    interleavings,
    set_count,
    some_runs,
)
from ferrisdb.txn.api import IsolationLevel
from ferrisdb.txn.local_transaction import LocalTransaction

RUNS = 1500
SIZE = os.environ.get("FERRISDB_INTERLEAVINGS", "")

by_size = pytest.mark.parametrize(
    ("count", "length"), SIZES, ids=["two transactions of four", "three transactions of three"]
)


def chosen(count: int, length: int) -> Iterator[tuple[ProgramSet, Schedule]]:
    """What to run: all for the night, else a sample."""
    if SIZE.startswith("night"):
        part, _, parts = (SIZE.removeprefix("night").strip() or "1/1").partition("/")
        return every_run(count, length, int(part), int(parts))
    seed = random.randrange(2**32)
    print("seed", seed)
    return some_runs(count, length, RUNS, seed)


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
            assert not laboratory.verdicts.forbidden, laboratory.verdicts.examples
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
            laboratory.judge(programs, schedule)
            assert not laboratory.verdicts.forbidden, laboratory.verdicts.examples
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


class TestCommand:
    def test_it_says_how_many_there_are_and_how_often_it_refused_for_nothing(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["isolation", "interleavings", "--runs", "100"]) == 0
        out = capsys.readouterr().out
        assert "2 transactions of 4 operations: 195,625 sets x 252 interleavings = 49,297,500" in out
        assert out.count("0 of those falsely (0.00%)") == 2
        assert out.count("without a serial order: 0 runs") == 2

    def test_a_broken_store_gives_an_example_and_an_exit_status(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(LocalTransaction, "_check_first_updater", lambda *_: None)
        assert main(["isolation", "interleavings", "--runs", "300", "--level", "snapshot"]) == 1
        assert "an example: " in capsys.readouterr().out

    def test_a_part_of_all(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["isolation", "interleavings", "--all", "--part", "100000/100000"]) == 0
        assert "runs of" in capsys.readouterr().out

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--all", "--part", "3"],
            ["--all", "--part", "4/3"],
            ["--part", "1/2"],
            ["--runs", "0"],
            ["--level", "x"],
        ],
    )
    def test_wrong_arguments_are_one_clear_error(
        self, arguments: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["isolation", "interleavings", *arguments]) == 1
        assert capsys.readouterr().err.startswith("ERROR ")
