"""Random runs: they find what is broken, find nothing where nothing is, and can be repeated."""

from __future__ import annotations

import itertools
import random
import sqlite3
from pathlib import Path

import pytest

from ferrisdb.cli.main import main
from ferrisdb.errors import OperationalError
from ferrisdb.isolation.attempt import Attempt
from ferrisdb.isolation.dialects import FERRISDB
from ferrisdb.isolation.ferris_target import FerrisSession, FerrisTarget
from ferrisdb.isolation.fuzz import FuzzOptions, FuzzTotals, ferrisdb_in_memory, fuzz, run_round
from ferrisdb.isolation.history import Outcome, Write, parse
from ferrisdb.isolation.interleaver import closes_a_circle
from ferrisdb.isolation.phenomena import Anomaly
from ferrisdb.isolation.subject import StoreSubject
from ferrisdb.isolation.subject_sql import SqlSubject
from ferrisdb.isolation.target import Answer
from ferrisdb.isolation.workload import Plan, WorkloadKind
from ferrisdb.txn.api import IsolationLevel
from ferrisdb.txn.local import LocalStore
from ferrisdb.txn.local_transaction import LocalTransaction

ROUND = 600


def totals_of(options: FuzzOptions) -> FuzzTotals:
    totals = FuzzTotals(options.level)
    for each in fuzz(options, ferrisdb_in_memory(options.level)):
        totals.add(each)
    return totals


def a_seed() -> int:
    seed = random.randrange(2**31)
    print("seed", seed)
    return seed


@pytest.mark.parametrize("uses_threads", [False, True], ids=["interleaved", "threads"])
@pytest.mark.parametrize("kind", WorkloadKind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("level", IsolationLevel, ids=lambda level: level.value)
def test_a_level_shows_only_what_it_allows(
    level: IsolationLevel, kind: WorkloadKind, uses_threads: bool
) -> None:
    totals = totals_of(FuzzOptions(level, kind, ROUND, a_seed(), uses_threads=uses_threads))
    assert not totals.forbidden, totals.smallest
    assert totals.committed > ROUND / 5


def switch_off_first_updater_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that lets the second writer overwrite what it has not seen."""
    monkeypatch.setattr(LocalTransaction, "_check_first_updater", lambda *_: None)


@pytest.mark.parametrize("kind", WorkloadKind, ids=lambda kind: kind.value)
@pytest.mark.parametrize("uses_threads", [False, True], ids=["interleaved", "threads"])
def test_lost_updates_are_found_where_nobody_looks_for_conflicts(
    kind: WorkloadKind, uses_threads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch_off_first_updater_wins(monkeypatch)
    options = FuzzOptions(IsolationLevel.SNAPSHOT, kind, ROUND, a_seed(), uses_threads=uses_threads)
    totals = totals_of(options)
    assert totals.forbidden[Anomaly.LOST_UPDATE] > 0
    assert totals.smallest is not None
    assert len(totals.smallest[0].transactions) <= 3


def test_a_seed_repeats_a_run_to_the_last_read() -> None:
    open_subject = ferrisdb_in_memory(IsolationLevel.SNAPSHOT)
    first, second, other = (run_round(WorkloadKind.PREDICATE, seed, 300, open_subject) for seed in (5, 5, 6))
    assert str(first) == str(second) != str(other)
    assert parse(str(first)) == first


def test_what_was_found_is_found_again_by_the_seed_of_its_round() -> None:
    options = FuzzOptions(transactions=3 * ROUND, seed=a_seed(), round_transactions=ROUND)
    rounds = list(fuzz(options, ferrisdb_in_memory(options.level)))
    assert [each.seed for each in rounds] == [options.seed, options.seed + 1, options.seed + 2]
    again = list(
        fuzz(
            FuzzOptions(transactions=ROUND, seed=rounds[2].seed, round_transactions=ROUND),
            ferrisdb_in_memory(options.level),
        )
    )
    assert again == [rounds[2]]


def test_the_workload_has_conflicts_and_rollbacks_and_is_not_all_refused() -> None:
    for kind in WorkloadKind:
        history = run_round(kind, a_seed(), ROUND, ferrisdb_in_memory(IsolationLevel.SNAPSHOT))
        committed = sum(each.outcome is Outcome.COMMITTED for each in history.transactions)
        assert ROUND * 0.4 < committed < ROUND * 0.9


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = main(["isolation", "fuzz", *arguments])
    return status, capsys.readouterr().out


class TestCommand:
    def test_it_prints_counts_the_smallest_cycle_and_how_to_see_it_again(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        status, out = run(["--transactions", "500", "--kind", "predicate", "--seed", "1"], capsys)
        assert status == 0
        assert "level snapshot, workload predicate: 500 transactions in one round, from seed 1" in out
        assert "forbidden    none" in out
        assert "so in a serial order" in out
        again = out.splitlines()[-1]
        assert again == (
            "again: ferrisdb isolation fuzz --level snapshot --kind predicate --transactions 500 --seed 1"
        )
        assert run(again.split()[4:], capsys) == (0, out)

    def test_its_exit_status_tells_a_script_that_something_is_broken(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        switch_off_first_updater_wins(monkeypatch)
        status, out = run(["--transactions", "500", "--level", "repeatable-read"], capsys)
        assert status == 1
        assert "lost update" in out

    def test_through_sql(self, capsys: pytest.CaptureFixture[str]) -> None:
        status, out = run(["--transactions", "200", "--sql", "--kind", "predicate"], capsys)
        assert status == 0
        assert "forbidden    none" in out

    @pytest.mark.parametrize("kind", [kind.value for kind in WorkloadKind])
    def test_another_database(self, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        url = f"sqlite3:connect({str(tmp_path / 'other.db')!r}, timeout=0.05)"
        arguments = ["--transactions", "60", "--kind", kind, "--level", "serializable", "--url", url]
        status, out = run([*arguments, "--sessions", "3"], capsys)
        assert status == 0, out
        assert "allowed      none" in out

    @pytest.mark.parametrize(
        "arguments", [["--level", "strong"], ["--transactions", "0"], ["--sessions", "1000"], ["--url", "x"]]
    )
    def test_wrong_arguments_are_one_clear_error(
        self, arguments: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["isolation", "fuzz", *arguments]) == 1
        assert capsys.readouterr().err.startswith("ERROR ")


def test_a_database_that_fails_is_blamed_with_its_statement(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "read_only.db"
    sqlite3.connect(file).execute("CREATE TABLE other (n)").connection.close()
    url = f'sqlite3:connect("file:{file}?mode=ro", uri=True)'
    assert main(["isolation", "fuzz", "--url", url, "--transactions", "10"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("ERROR 58000: the database has failed at CREATE TABLE ferris_fuzz"), error
    assert "readonly" in error


class LosesConnections(FerrisTarget):
    """Each of its connections is lost after some statements."""

    def connect(self) -> FerrisSession:
        session, count = super().connect(), itertools.count()
        execute = session.execute

        def execute_or_lose(text: str) -> list[Answer]:
            if next(count) > 20:
                raise ConnectionError("the connection is lost")
            return execute(text)

        session.execute = execute_or_lose  # type: ignore[method-assign]
        return session


def test_a_database_that_goes_away_is_no_bug_of_the_laboratory() -> None:
    level = IsolationLevel.SNAPSHOT
    options = FuzzOptions(level, WorkloadKind.APPEND, transactions=100, uses_threads=True)
    with pytest.raises(OperationalError, match=r"the database has failed at .*: the connection is lost"):
        list(fuzz(options, lambda: SqlSubject(LosesConnections(), FERRISDB, level)))


def test_a_key_with_two_rows_is_a_finding() -> None:
    class TwoRows(FerrisTarget):
        def connect(self) -> FerrisSession:
            session = super().connect()
            execute = session.execute

            def execute_twice(text: str) -> list[Answer]:
                answers = execute(text)
                return [Answer(each.columns, each.rows * 2) for each in answers]

            session.execute = execute_twice  # type: ignore[method-assign]
            return session

    level = IsolationLevel.SERIALIZABLE
    options = FuzzOptions(level, WorkloadKind.REGISTER, transactions=30, uses_threads=True)
    (only,) = fuzz(options, lambda: SqlSubject(TwoRows(), FERRISDB, level))
    assert Anomaly.MISSHAPEN_RANGE in {each.anomaly for each in only.findings}


def test_who_would_wait_for_a_circle_of_others_does_not_wait() -> None:
    subject = StoreSubject(LocalStore.in_memory(), IsolationLevel.SNAPSHOT)
    attempts = [
        Attempt(Plan(number, (Write(key, number),)), subject, itertools.count().__next__)
        for number, key in enumerate("xxy", 1)
    ]
    late, one, other = attempts
    one.held_keys.add("y")
    other.held_keys.add("x")
    assert closes_a_circle(late, [one, other], attempts)
    subject.close()


@pytest.mark.parametrize("kind", [WorkloadKind.REGISTER, WorkloadKind.PREDICATE], ids=lambda kind: kind.value)
def test_a_write_that_is_lost_now_and_then_is_found_at_the_weakest_level(
    kind: WorkloadKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = itertools.count(1)
    put = LocalTransaction.put

    def lossy_put(self: LocalTransaction, key: bytes, value: bytes) -> None:
        if next(writes) % 50:
            put(self, key, value)
        else:
            self.lock([key])

    monkeypatch.setattr(LocalTransaction, "put", lossy_put)
    options = FuzzOptions(IsolationLevel.READ_COMMITTED, kind, transactions=ROUND, seed=a_seed())
    assert Anomaly.STALE_READ in totals_of(options).forbidden
