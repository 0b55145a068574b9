"""Retry: what is run again, how often, and what the program hears when it was not enough."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest

import ferrisdb
from ferrisdb import errors
from ferrisdb.api import retry
from ferrisdb.testing import EverySchedule, Scheduler, fail_commits

CONFLICT = ferrisdb.SerializationFailure


@pytest.fixture
def db() -> Iterator[ferrisdb.Database]:
    with ferrisdb.open() as db:
        yield db


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made, in seconds."""
    pauses: list[float] = []
    monkeypatch.setattr(retry.yield_points, "sleep", pauses.append)
    return pauses


def stored(db: ferrisdb.Database, key: bytes = b"k") -> bytes | None:
    with db.transaction() as tx:
        return tx.get(key)


def put(tx: ferrisdb.Transaction, value: bytes = b"v") -> bytes:
    tx.put(b"k", value)
    return value


def put_in_loop(db: ferrisdb.Database, attempts: int = 10) -> list[int]:
    numbers = []
    for attempt in db.attempts(attempts):
        with attempt as tx:
            numbers.append(attempt.number)
            put(tx)
    return numbers


# --- three ways, the same answers


def test_run_gives_what_the_work_gives(db: ferrisdb.Database) -> None:
    with fail_commits(db, CONFLICT, times=2) as failures:
        assert db.run(put) == b"v"
    assert failures.count == 2 and stored(db) == b"v"


def test_a_decorated_function_is_called_without_the_transaction(db: ferrisdb.Database) -> None:
    @db.transactional(attempts=3)
    def write(tx: ferrisdb.Transaction, value: bytes, *, key: bytes = b"k") -> bytes:
        """Write it."""
        tx.put(key, value)
        return key

    @db.transactional
    def read(tx: ferrisdb.Transaction, key: bytes) -> bytes | None:
        return tx.get(key)

    with fail_commits(db, CONFLICT, times=2):
        assert write(b"v", key=b"other") == b"other"
    assert read(b"other") == b"v"
    assert write.__name__ == "write" and write.__doc__ == "Write it."
    with fail_commits(db, CONFLICT, times=3), pytest.raises(CONFLICT):
        write(b"v")


def test_a_loop_has_as_many_rounds_as_it_takes(db: ferrisdb.Database) -> None:
    with fail_commits(db, CONFLICT, times=2):
        assert put_in_loop(db) == [1, 2, 3]
    assert stored(db) == b"v"
    assert put_in_loop(db) == [1]


def test_a_conflict_inside_of_the_block_begins_the_next_round(db: ferrisdb.Database) -> None:
    rounds = 0
    for attempt in db.attempts():
        with attempt as tx:
            rounds += 1
            tx.get(b"k")
            if rounds == 1:
                with db.transaction() as other:
                    other.put(b"k", b"other")
            tx.put(b"k", (tx.get(b"k") or b"") + b" and mine")
    assert rounds == 2 and stored(db) == b"other and mine"


def test_options_reach_the_transaction(db: ferrisdb.Database) -> None:
    with pytest.raises(errors.ReadOnlyTransaction):
        db.run(put, read_only=True)
    with pytest.raises(errors.ReadOnlyTransaction):
        for attempt in db.attempts(read_only=True, isolation="read committed"):
            with attempt as tx:
                put(tx)


# --- when it is not enough


def test_the_last_error_says_how_many_attempts_there_were(db: ferrisdb.Database) -> None:
    for call in (lambda: db.run(put, attempts=3), lambda: put_in_loop(db, 3)):
        with fail_commits(db, CONFLICT, times=None) as failures, pytest.raises(CONFLICT) as caught:
            call()
        assert failures.count == 3
        assert [note.partition(" in ")[0] for note in caught.value.__notes__] == ["after 3 attempts"]
    assert stored(db) is None


def test_no_attempt_begins_when_the_time_is_over(db: ferrisdb.Database) -> None:
    with fail_commits(db, CONFLICT, times=None) as failures, pytest.raises(CONFLICT):
        db.run(put, attempts=1000, retry_for_s=0)
    assert failures.count == 1


def test_what_is_not_retryable_is_raised_at_once(db: ferrisdb.Database) -> None:
    for error in (errors.UniqueViolation, errors.LockNotAvailable, errors.StorageError):
        with fail_commits(db, error, times=None) as failures, pytest.raises(error):
            db.run(put)
        assert failures.count == 1


@pytest.mark.parametrize("is_committed", [False, True])
def test_an_unknown_commit_is_never_tried_again(db: ferrisdb.Database, is_committed: bool) -> None:
    for call in (lambda: db.run(put), lambda: put_in_loop(db)):
        unknown = fail_commits(db, errors.CommitUnknown, is_committed=is_committed)
        with unknown as failures, pytest.raises(errors.CommitUnknown):
            call()
        assert failures.count == 1
        assert (stored(db) == b"v") is is_committed


def test_pauses_are_drawn_from_nothing_to_a_bound_that_doubles(
    db: ferrisdb.Database, no_pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "_pauses", random.Random(1))
    for _ in range(50):
        with fail_commits(db, CONFLICT, times=None), pytest.raises(CONFLICT):
            db.run(put, attempts=12)
    assert len(no_pauses) == 50 * 11
    for number in range(11):
        bound_s = min(retry.LONGEST_PAUSE_S, retry.FIRST_PAUSE_S * 2 ** (number + 1))
        drawn = no_pauses[number::11]
        assert max(drawn) <= bound_s
        assert min(drawn) < bound_s / 4 < bound_s * 3 / 4 < max(drawn), "full jitter, not some"


def test_thousands_of_attempts_are_made_if_they_are_asked_for(db: ferrisdb.Database) -> None:
    with fail_commits(db, CONFLICT, times=1100) as failures:
        assert db.run(put, attempts=2000, retry_for_s=float("inf")) == b"v"
    assert failures.count == 1100


@pytest.mark.parametrize("attempts", [0, -1, "5", 2.5])
def test_at_least_one_attempt(db: ferrisdb.Database, attempts: Any) -> None:
    for call in (lambda: db.run(put, attempts=attempts), lambda: put_in_loop(db, attempts)):
        with pytest.raises(errors.InvalidParameterValue, match="at least 1"):
            call()
    for retry_for_s in (-1, "30"):
        with pytest.raises(errors.InvalidParameterValue, match="retry_for_s"):
            db.run(put, retry_for_s=retry_for_s)  # type: ignore[arg-type]


# --- blocks that end in other ways


def test_a_failed_commit_is_not_swallowed_where_the_block_ends_by_return(db: ferrisdb.Database) -> None:
    def by_return() -> str:
        for attempt in db.attempts():
            with attempt as tx:
                put(tx)
                return "saved"
        return "not saved"

    def by_break() -> str:
        for attempt in db.attempts():
            with attempt as tx:
                put(tx)
                break
        return "saved"

    for call in (by_return, by_break):
        with fail_commits(db, CONFLICT), pytest.raises(CONFLICT):
            call()
        assert stored(db) is None
    for call in (by_return, by_break):
        assert call() == "saved"


def test_code_behind_the_block_does_not_keep_it_from_being_tried_again(db: ferrisdb.Database) -> None:
    seen = []
    with fail_commits(db, CONFLICT, times=1):
        for attempt in db.attempts():
            try:
                with attempt as tx:
                    put(tx)
                for letter in "ab":
                    seen.append((attempt.number, letter))
            finally:
                seen.append((attempt.number, "end"))
    assert seen == [(1, "a"), (1, "b"), (1, "end"), (2, "a"), (2, "b"), (2, "end")]


def test_a_loop_that_makes_no_attempt_is_told(db: ferrisdb.Database) -> None:
    with pytest.raises(errors.InterfaceError, match="an attempt was not made"):
        for _ in db.attempts():
            pass
    with pytest.raises(errors.InterfaceError, match="made once"):
        for attempt in db.attempts():
            with attempt:
                pass
            with attempt:
                pass


def test_another_exception_rolls_back_and_is_raised(db: ferrisdb.Database) -> None:
    def fail(tx: ferrisdb.Transaction) -> None:
        put(tx)
        raise KeyError("k")

    def fail_in_loop() -> None:
        for attempt in db.attempts():
            with attempt as tx:
                fail(tx)

    for call in (lambda: db.run(fail), fail_in_loop):
        with pytest.raises(KeyError):
            call()
    assert stored(db) is None


# --- in each other


def test_a_retry_inside_of_a_retry_is_refused(db: ferrisdb.Database) -> None:
    @db.transactional
    def inner(tx: ferrisdb.Transaction, value: bytes) -> bytes:
        return put(tx, value)

    for nested in (lambda tx: db.run(put), lambda tx: inner(b"v"), lambda tx: put_in_loop(db)):
        with pytest.raises(errors.InterfaceError, match="retry inside of a retry") as refused:
            db.run(nested)
        assert "__wrapped__(tx, ...)" in (refused.value.hint or "")
    assert stored(db) is None
    assert db.run(lambda tx: inner.__wrapped__(tx, b"passed on")) == b"passed on"  # type: ignore[attr-defined]
    assert inner(b"and alone") == b"and alone"


def test_another_database_is_no_nesting(db: ferrisdb.Database) -> None:
    with ferrisdb.open() as other:
        db.run(lambda tx: (put(tx), other.run(put)))
        assert stored(db) == stored(other) == b"v"


def test_work_that_has_yet_to_begin_is_refused(db: ferrisdb.Database) -> None:
    def generator(tx: ferrisdb.Transaction) -> Iterator[bytes]:
        yield put(tx)

    async def coroutine(tx: ferrisdb.Transaction) -> bytes:
        return put(tx)

    for work in (generator, coroutine):
        with pytest.raises(errors.InterfaceError, match="begins only after its transaction"):
            db.run(work)


# --- failing on purpose


def test_failures_end_with_their_block(db: ferrisdb.Database) -> None:
    with pytest.raises(ZeroDivisionError), fail_commits(db, CONFLICT, times=None):
        raise ZeroDivisionError
    db.run(put)
    with fail_commits(db, CONFLICT) as failures:
        with db.transaction() as tx:
            tx.get(b"k")
        assert failures.count == 0, "nothing to write, nothing to fail"
        with pytest.raises(errors.InterfaceError, match="already"), fail_commits(db, CONFLICT):
            pass
    committed = fail_commits(db, CONFLICT, is_committed=True)
    with pytest.raises(errors.InvalidParameterValue, match="only CommitUnknown"), committed:
        pass
    with pytest.raises(errors.InvalidParameterValue, match="negative"), fail_commits(db, CONFLICT, times=-1):
        pass


def test_a_failed_commit_lets_go_of_its_locks(db: ferrisdb.Database) -> None:
    early = db.begin()
    put(early, b"early")
    with fail_commits(db, lambda: CONFLICT("mine")), pytest.raises(CONFLICT, match="mine"):
        early.commit()
    with db.transaction() as tx:
        put(tx, b"late")


# --- schedules


def test_whatever_the_schedule_no_update_is_lost_and_each_is_made_once() -> None:
    def add(db: ferrisdb.Database) -> None:
        for attempt in db.attempts(20):
            with attempt as tx:
                tx.put(b"n", b"%d" % (int(tx.get(b"n") or b"0") + 1))

    for scheduler in itertools.chain(EverySchedule(150), map(Scheduler, range(50))):
        with ferrisdb.open() as db, fail_commits(db, CONFLICT, times=1):
            with scheduler as s:
                s.spawn(add, db, name="a")
                s.spawn(add, db, name="b")
            assert stored(db, b"n") == b"2", s.trace
