"""Functions side by side: schedules that break a rule are found, said, and can be repeated."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import pytest

import ferrisdb
from ferrisdb.errors import InterfaceError, InvalidParameterValue, SerializationFailure
from ferrisdb.testing import InterleavingFailed, fail_commits, interleave, pause


@pytest.fixture
def db() -> Iterator[ferrisdb.Database]:
    with ferrisdb.open() as db:
        db.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER)")
        db.execute("INSERT INTO account VALUES (1, 100), (2, 100)")
        yield db


def balances(db: ferrisdb.Database) -> list[int]:
    return [balance for (balance,) in db.query("SELECT balance FROM account ORDER BY id").all()]


def withdraw(db: ferrisdb.Database, isolation: str = "snapshot", account: int = 1) -> None:
    """100 from one account, where both together have 200 or more before."""
    with db.transaction(isolation) as tx:
        if tx.query("SELECT sum(balance) FROM account").scalar() >= 200:
            tx.execute("UPDATE account SET balance = balance - 100 WHERE id = ?", (account,))


def at(isolation: str, account: int = 1) -> Callable[[ferrisdb.Database], None]:
    return functools.partial(withdraw, isolation=isolation, account=account)


def together_100(db: ferrisdb.Database) -> None:
    assert sum(balances(db)) >= 100


def test_lost_and_skewed_withdrawals_are_found_at_the_levels_that_allow_them(db: ferrisdb.Database) -> None:
    for isolation, accounts, is_safe in (
        ("read committed", (1, 1), False),
        ("snapshot", (1, 1), True),
        ("snapshot", (1, 2), False),
        ("serializable", (1, 2), True),
    ):
        db.execute("UPDATE account SET balance = 100")
        work = [at(isolation, account) for account in accounts]
        if is_safe:
            found = interleave(db, work, together_100)
            assert found.count == 200
            assert found.outcomes[("SerializationFailure", "None")] > 0
        else:
            with pytest.raises(InterleavingFailed, match="assert 0 >= 100"):
                interleave(db, work, together_100)


def test_the_first_failure_is_among_the_simplest_and_can_be_repeated(db: ferrisdb.Database) -> None:
    work = {"ada": at("snapshot", 1), "bob": at("snapshot", 2)}
    with pytest.raises(InterleavingFailed) as failed:
        interleave(db, work, together_100)
    error = failed.value
    # One switch away from a task that could have gone on.
    tasks = [line.split()[1] for line in error.trace.splitlines()]
    assert [name for name, before in zip(tasks, ["", *tasks], strict=False) if name != before] == [
        "ada", "bob", "ada",
    ]  # fmt: skip
    assert error.seed is None and f"choices={error.choices}" in str(error)
    assert "lock account(1)" in error.trace and "statement UPDATE account" in error.trace
    assert isinstance(error.__cause__, AssertionError)

    db.execute("UPDATE account SET balance = 100")
    with pytest.raises(InterleavingFailed) as again:
        interleave(db, work, together_100, choices=error.choices)
    assert again.value.trace == error.trace


def test_a_failure_by_a_seed_can_be_repeated(db: ferrisdb.Database) -> None:
    work = [at("snapshot", 1), at("snapshot", 2)]

    def outcome(seed: int) -> str:
        db.execute("UPDATE account SET balance = 100")
        try:
            interleave(db, work, together_100, seed=seed)
        except InterleavingFailed as error:
            assert error.seed == seed and f"seed={seed})" in str(error)
            return error.trace
        return ""

    traces = [outcome(seed) for seed in range(10)]
    assert any(traces) and [outcome(seed) for seed in range(10)] == traces


def test_each_schedule_begins_with_the_same_database(db: ferrisdb.Database) -> None:
    db.execute("CREATE TABLE bare (n INTEGER)")
    db.execute("INSERT INTO bare VALUES (1), (2)")
    with db.transaction() as tx:
        tx.put(b"k", b"v")
    seen = set()

    def change(db: ferrisdb.Database) -> None:
        with db.transaction() as tx:
            seen.add((tx.get(b"k"), *tx.query("SELECT n FROM bare ORDER BY n").all()))
            tx.delete(b"k")
            tx.execute("DELETE FROM bare WHERE n = 1")
            tx.execute("INSERT INTO bare VALUES (7)")
            tx.execute("CREATE TABLE new (n INTEGER)")

    found = interleave(db, [change], schedules=5)
    assert seen == {(b"v", (1,), (2,))}
    assert found.count == 1 and found.is_complete, "one task has one schedule"
    assert interleave(db, [lambda db: None], lambda db: balances(db) == [100, 100]).is_complete
    assert [table.name for table in db.tables()] == ["account", "bare", "new"], "as the last one left it"


def test_hidden_row_ids_begin_anew(db: ferrisdb.Database) -> None:
    db.execute("CREATE TABLE bare (n INTEGER)")
    store = db._lease.engine.store

    def insert(db: ferrisdb.Database) -> None:
        db.execute("INSERT INTO bare VALUES (7)")

    def keys(db: ferrisdb.Database) -> None:
        transaction = store.begin()
        seen.add(tuple(key for key, _ in transaction.scan(b"", None)))
        transaction.rollback()

    seen: set[tuple[bytes, ...]] = set()
    interleave(db, [insert, insert], keys, schedules=20)
    assert len(seen) == 1


def test_outcomes_are_counted(db: ferrisdb.Database) -> None:
    found = interleave(db, [lambda db: 7, lambda db: pause() or "x"], schedules=100)
    assert found.is_complete
    assert dict(found.outcomes) == {("7", "'x'"): found.count}


def test_an_error_of_a_function_is_a_finding_unless_it_is_allowed(db: ferrisdb.Database) -> None:
    def insert(db: ferrisdb.Database) -> None:
        db.execute("INSERT INTO account VALUES (3, 0)")

    with pytest.raises(InterleavingFailed, match="duplicate key") as failed:
        interleave(db, [insert, insert])
    assert isinstance(failed.value.__cause__, ferrisdb.IntegrityError)
    assert "insert-2: UniqueViolation" in str(failed.value)
    db.execute("DELETE FROM account WHERE id = 3")
    found = interleave(
        db, [insert, insert], lambda db: len(balances(db)) == 3, 20, allow=ferrisdb.IntegrityError
    )
    assert set(found.outcomes) <= {("None", "UniqueViolation"), ("UniqueViolation", "None")}

    with fail_commits(db, SerializationFailure, times=None), pytest.raises(InterleavingFailed):
        interleave(db, [at("snapshot")], allow=())


def test_a_check_may_also_say_false(db: ferrisdb.Database) -> None:
    def is_rich(db: ferrisdb.Database) -> bool:
        return sum(balances(db)) > 1000

    with pytest.raises(InterleavingFailed, match="is_rich is False"):
        interleave(db, [withdraw], is_rich)


def test_tasks_that_all_wait_are_a_finding(db: ferrisdb.Database) -> None:
    def forget(db: ferrisdb.Database) -> None:
        tx = db.begin()
        tx.put(b"k", b"v")
        kept.append(tx)

    kept: list[ferrisdb.Transaction] = []
    with pytest.raises(InterleavingFailed, match="all tasks that are left wait"):
        interleave(db, [forget, forget])
    for tx in kept:
        tx.rollback()
    with pytest.raises(InterfaceError, match="a function has left a transaction open"):
        interleave(db, [forget])
    with pytest.raises(InterfaceError, match="a transaction is open"):
        interleave(db, [withdraw])
    kept[-1].rollback()


def test_what_makes_no_sense_is_refused(db: ferrisdb.Database) -> None:
    with pytest.raises(InvalidParameterValue, match="at least 1"):
        interleave(db, [withdraw], schedules=0)
    with pytest.raises(InvalidParameterValue, match="not both"):
        interleave(db, [withdraw], seed=1, choices=[])


def test_a_failure_of_the_test_runner_keeps_its_kind_and_tells_the_schedule(db: ferrisdb.Database) -> None:
    def rule(_: ferrisdb.Database) -> None:
        pytest.fail("the rule is broken")

    with pytest.raises(pytest.fail.Exception, match="the rule is broken") as failed:
        interleave(db, [at("snapshot", 1)], rule)
    (note,) = failed.value.__notes__
    assert "again: interleave(..., choices=[])" in note
