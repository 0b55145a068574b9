"""The scheduler: one thread at a time, in an order that a seed decides and repeats."""

from __future__ import annotations

import _thread
import itertools
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

import ferrisdb
from ferrisdb.errors import InterfaceError, InvalidParameterValue
from ferrisdb.storage import yield_points
from ferrisdb.testing import (
    AllTasksWait,
    EverySchedule,
    Scheduler,
    ScheduleTooLong,
    TaskStalled,
    pause,
)
from ferrisdb.txn.local_transaction import LocalTransaction

SEEDS = range(200)


def count_up(db: ferrisdb.Database) -> None:
    """Read, add one, write: again for as long as somebody else was faster."""

    def work(tx: ferrisdb.Transaction) -> None:
        tx.put(b"n", b"%d" % (int(tx.get(b"n") or b"0") + 1))

    db.run(work, attempts=100)


def counted(scheduler: Scheduler, tasks: str = "ab") -> int:
    """What the counter stands at when each task has counted up once."""
    with ferrisdb.open() as db:
        with scheduler as s:
            for name in tasks:
                s.spawn(count_up, db, name=name)
        with db.transaction() as tx:
            return int(tx.get(b"n") or b"0")


# --- a seed is a schedule


def test_the_same_seed_gives_the_same_trace_byte_for_byte() -> None:
    for seed in SEEDS[:20]:
        once, again = Scheduler(seed), Scheduler(seed)
        counted(once, "abc")
        counted(again, "abc")
        assert once.trace == again.trace and once.decisions == again.decisions


def test_other_seeds_give_other_schedules() -> None:
    traces = set()
    for seed in SEEDS[:20]:
        scheduler = Scheduler(seed)
        counted(scheduler, "abc")
        traces.add(scheduler.trace)
    assert len(traces) > 10


def test_a_seed_means_the_same_in_every_process() -> None:
    script = """
import ferrisdb
from ferrisdb.testing import Scheduler

with ferrisdb.open() as db:
    db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)")
    db.execute("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)")
    def work(tx):
        tx.query("SELECT * FROM t WHERE n > 1 FOR UPDATE").all()
        tx.execute("UPDATE t SET n = n + 1")
    with Scheduler(seed=11) as s:
        for name in "abc":
            s.spawn(db.run, work, name=name)
    print(s.trace)
"""
    traces = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(traces) == 1 and "waits" in traces.pop()


def test_choices_repeat_the_schedule_of_a_seed() -> None:
    by_seed = Scheduler(seed=5)
    counted(by_seed, "abc")
    by_choices = Scheduler(choices=by_seed.choices)
    counted(by_choices, "abc")
    assert by_choices.trace == by_seed.trace


def test_without_choices_each_task_runs_for_as_long_as_it_can() -> None:
    scheduler = Scheduler(choices=[])
    counted(scheduler)
    assert [step.task for step in scheduler.steps] == sorted(step.task for step in scheduler.steps)


def test_a_choice_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidParameterValue, match="place 7 where 2 tasks may go on"):
        counted(Scheduler(choices=[0, 7]))


def test_the_trace_shows_the_steps_of_a_commit_in_their_order() -> None:
    with ferrisdb.open() as db:
        with Scheduler() as s:
            s.spawn(count_up, db, name="a")
        before, after = "start snapshot lock locked commit lead log", "publish show release end"
        assert [step.point for step in s.steps] == [*before.split(), *after.split()]


# --- what a schedule finds


def release_before_publish(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant a bug: who waits for a lock gets it before the commit can be seen."""
    commit = LocalTransaction.commit

    def wrong(self: LocalTransaction) -> object:
        self._locks.release_all(self.lock_owner, None)
        return commit(self)

    monkeypatch.setattr(LocalTransaction, "commit", wrong)


def test_no_schedule_loses_an_update() -> None:
    for seed in SEEDS:
        assert counted(Scheduler(seed)) == 2, f"seed {seed}"


def test_a_lock_that_is_released_too_early_is_found_by_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    release_before_publish(monkeypatch)
    lost = [seed for seed in SEEDS if counted(Scheduler(seed)) == 1]
    assert lost
    assert counted(Scheduler(lost[0])) == 1, "and again by the same one"


def test_going_through_the_schedules_finds_it_with_one_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    schedules = EverySchedule(1000, max_switches=1)
    assert all(counted(scheduler) == 2 for scheduler in schedules)
    assert schedules.is_complete

    release_before_publish(monkeypatch)
    assert any(counted(scheduler) == 1 for scheduler in EverySchedule(1000, max_switches=1))


@pytest.mark.parametrize("isolation", ["read committed", "snapshot", "serializable"])
def test_write_skew_is_found_where_it_is_possible(isolation: str) -> None:
    """Two doctors on call; each may leave where another one stays."""

    def left(scheduler: Scheduler) -> int:
        with ferrisdb.open() as db:
            db.execute("CREATE TABLE doctor (id INTEGER PRIMARY KEY, on_call INTEGER)")
            db.execute("INSERT INTO doctor VALUES (1, 1), (2, 1)")

            def leave(doctor: int) -> None:
                for attempt in db.attempts(isolation=isolation):
                    with attempt as tx:
                        if tx.query("SELECT sum(on_call) FROM doctor").scalar() > 1:
                            tx.execute("UPDATE doctor SET on_call = 0 WHERE id = ?", (doctor,))

            with scheduler as s:
                s.spawn(leave, 1)
                s.spawn(leave, 2)
            return int(db.query("SELECT sum(on_call) FROM doctor").scalar())

    outcomes = {
        left(scheduler) for scheduler in itertools.chain(EverySchedule(50), map(Scheduler, SEEDS[:50]))
    }
    assert outcomes == ({1} if isolation == "serializable" else {0, 1})


@pytest.mark.parametrize("isolation", ["read committed", "snapshot", "serializable"])
def test_whatever_tasks_do_no_schedule_gets_stuck(isolation: str) -> None:
    # A point within a mutex would stop the one thread that may run.
    statements = [
        "INSERT INTO t VALUES (1, 1), (2, 2), (9, 9)",
        "UPDATE t SET n = n + 1 WHERE id > 1",
        "SELECT * FROM t WHERE n > 2 FOR UPDATE",
        "DELETE FROM t WHERE id = 2",
        "INSERT INTO bare VALUES (1), (2)",
        "CREATE TABLE other (id INTEGER PRIMARY KEY)",
        "DROP TABLE IF EXISTS other",
        "CREATE INDEX by_n ON t (n)",
    ]
    for seed in SEEDS[:60]:
        chance = random.Random(seed)
        with ferrisdb.open() as db:
            db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER UNIQUE)")
            db.execute("CREATE TABLE bare (n INTEGER)")
            db.execute("INSERT INTO t VALUES (3, 3), (4, 4)")

            def work(statements: list[str]) -> None:
                try:
                    with db.transaction(isolation) as tx:
                        for statement in statements:
                            tx.execute(statement)
                        tx.delete_range(b"a", b"c")
                        tx.put(b"b", b"v")
                    db.ingest([(b"b", b"1"), (b"d", b"2")])
                except (ferrisdb.IntegrityError, ferrisdb.OperationalError, ferrisdb.ProgrammingError):
                    pass  # Those of a schedule like this one; any other is a finding.

            with Scheduler(seed, stall_s=20) as s:
                for name in "abc":
                    s.spawn(work, chance.sample(statements, 4), name=name)


def test_what_tasks_share_outside_of_the_database_races_at_pauses() -> None:
    def outcome(scheduler: Scheduler) -> int:
        shared = {"n": 0}

        def add() -> None:
            seen = shared["n"]
            pause("between")
            shared["n"] = seen + 1

        with scheduler as s:
            s.spawn(add)
            s.spawn(add)
        return shared["n"]

    assert {outcome(scheduler) for scheduler in EverySchedule()} == {1, 2}


# --- all schedules


def orders(names: str, points: int, limit: int = 10_000, max_switches: int | None = None) -> list[str]:
    """Who went on, step by step, in each schedule of tasks with so many points."""

    def work() -> None:
        for _ in range(points):
            pause()

    found = []
    for scheduler in EverySchedule(limit, max_switches=max_switches):
        with scheduler as s:
            for name in names:
                s.spawn(work, name=name)
        found.append("".join(step.task for step in s.steps if step.point != "end"))
    return found


def test_each_order_comes_once() -> None:
    # Two tasks of three steps, the start among them: 6! / (3! 3!) orders.
    found = orders("ab", 2)
    assert len(found) == len(set(found)) == 20
    assert len(set(orders("abc", 1))) == 90


def test_the_schedules_with_the_fewest_switches_come_first() -> None:
    found = orders("ab", 2)
    assert found[:2] == ["aaabbb", "bbbaaa"]
    assert orders("ab", 2, limit=7) == found[:7]
    assert set(orders("ab", 2, max_switches=0)) == {"aaabbb", "bbbaaa"}


def test_a_limit_says_that_there_was_more() -> None:
    schedules = EverySchedule(3)
    for scheduler in schedules:
        counted(scheduler)
    assert schedules.count == 3 and not schedules.is_complete


def test_a_loop_that_does_not_run_its_schedule_is_told() -> None:
    with pytest.raises(InterfaceError, match="has to run each one"):
        for _ in EverySchedule():
            pass


# --- waiting


def in_both(s: Scheduler, first: Callable[[], object], second: Callable[[], object]) -> None:
    s.spawn(first, name="a")
    s.spawn(second, name="b")


def test_a_task_that_waits_is_not_chosen_until_it_can_have_the_lock() -> None:
    with ferrisdb.open() as db:

        def write() -> None:
            tx = db.begin()
            tx.put(b"k", b"v")
            pause("holds it")
            tx.rollback()

        for seed in SEEDS[:50]:
            s = Scheduler(seed)
            in_both(s, write, write)
            s.run()
            inside = [step.task for step in s.steps if step.point in ("locked", "release")]
            assert inside in (["a", "a", "b", "b"], ["b", "b", "a", "a"])


def test_a_wait_that_nobody_can_end_is_reported_and_its_tasks_are_ended() -> None:
    with ferrisdb.open() as db:
        outside = db.begin()
        outside.put(b"k", b"held by no task")
        s = Scheduler(seed=3)
        in_both(s, lambda: count_up_key(db, b"k"), lambda: count_up_key(db, b"k"))
        with pytest.raises(AllTasksWait, match="seed 3 all tasks that are left wait: a, b") as caught:
            s.run()
        assert "waits" in caught.value.trace
        assert all(task.has_ended for task in s.tasks)
        outside.commit()
        count_up_key(db, b"k")  # Nobody holds it, and nobody stands in its queue.


def count_up_key(db: ferrisdb.Database, key: bytes) -> None:
    with db.transaction() as tx:
        tx.put(key, b"new")


def test_a_waiter_in_the_queue_of_commits_is_served_before_it_is_ended() -> None:
    with ferrisdb.open() as db:
        outside = db.begin()
        outside.put(b"k", b"held by no task")

        def commit_then_wait(key: bytes) -> None:
            with db.transaction() as tx:
                tx.put(key, b"committed")
            count_up_key(db, b"k")

        for seed in SEEDS[:30]:
            s = Scheduler(seed)
            in_both(s, lambda: commit_then_wait(b"a"), lambda: commit_then_wait(b"b"))
            with pytest.raises(AllTasksWait):
                s.run()
            with db.transaction() as tx:
                assert tx.get_many([b"a", b"b"]) == [b"committed", b"committed"]
        outside.rollback()


def test_commits_that_wait_for_a_leader_share_his_sync() -> None:
    def put(db: ferrisdb.Database, key: bytes) -> None:
        with db.transaction() as tx:
            tx.put(key, b"v")

    syncs = set()
    for seed in SEEDS[:50]:
        with ferrisdb.open(durability="full") as db:
            with Scheduler(seed) as s:
                for name in "abc":
                    s.spawn(put, db, name.encode(), name=name)
            syncs.add(sum(step.point == "sync" for step in s.steps))
            with db.transaction() as tx:
                assert len(list(tx.scan())) == 3
    assert syncs == {1, 2, 3}


def test_time_goes_on_only_when_all_wait() -> None:
    gates = [threading.Lock(), threading.Lock()]
    for gate in gates:
        gate.acquire()
    ended = []

    def wait(number: int, timeout_s: float) -> None:
        got_it = yield_points.acquire(gates[number], timeout_s)
        ended.append((number, got_it))

    def work() -> None:
        for _ in range(50):
            pause()
        gates[0].release()

    for timeouts_s in ((1000.0, 2000.0), (2000.0, 1000.0)):
        ended.clear()
        with Scheduler(seed=1) as s:
            s.spawn(wait, 0, timeouts_s[0])
            s.spawn(wait, 1, timeouts_s[1])
            s.spawn(work)
        assert ended == [(0, True), (1, False)]


# --- what goes wrong in tasks


def test_an_error_of_a_task_is_raised_with_the_seed_that_repeats_it() -> None:
    def fail() -> None:
        raise ValueError("broken")

    s = Scheduler(seed=8)
    in_both(s, fail, lambda: "fine")
    with pytest.raises(ValueError, match="broken") as caught:
        s.run()
    assert caught.value.__notes__ == ["in task 'a' of the schedule of seed 8"]
    assert isinstance(s.tasks[0].error, ValueError) and s.tasks[1].result == "fine"
    assert "a ValueError" in s.trace


def test_tasks_that_never_end_are_ended() -> None:
    def spin() -> None:
        while True:
            pause()

    s = Scheduler(max_steps=100)
    in_both(s, spin, spin)
    with pytest.raises(ScheduleTooLong, match="more than 100 steps"):
        s.run()
    assert all(task.has_ended for task in s.tasks)


def test_a_wait_that_the_scheduler_does_not_see_is_shown() -> None:
    event = threading.Event()
    s = Scheduler(stall_s=0.05)
    s.spawn(event.wait, name="a")
    with pytest.raises(TaskStalled, match=r"task 'a' has come to no point") as caught:
        s.run()
    event.set()
    assert "wait" in str(caught.value)


def test_ctrl_c_ends_the_tasks() -> None:
    def interrupt() -> None:
        _thread.interrupt_main()
        while True:
            pause()

    s = Scheduler()
    in_both(s, interrupt, interrupt)
    with pytest.raises(KeyboardInterrupt):
        s.run()
    assert all(task.has_ended for task in s.tasks)


def test_one_scheduler_at_a_time() -> None:
    def nested() -> None:
        with Scheduler() as inner:
            inner.spawn(pause)

    s = Scheduler()
    s.spawn(nested)
    with pytest.raises(InterfaceError, match="one at a time"):
        s.run()


def test_a_scheduler_runs_once_with_names_that_differ() -> None:
    s = Scheduler()
    s.spawn(pause, name="a")
    with pytest.raises(InvalidParameterValue, match="task 'a' already"):
        s.spawn(pause, name="a")
    s.run()
    with pytest.raises(InterfaceError, match="runs once"):
        s.run()
    with pytest.raises(InterfaceError, match="has begun"):
        s.spawn(pause)


def test_other_threads_go_their_own_way() -> None:
    with ferrisdb.open() as db:
        others = threading.Thread(target=count_up, args=(db,))

        def start_and_wait() -> None:
            others.start()
            others.join()

        with Scheduler() as s:
            s.spawn(start_and_wait, name="a")
        assert [step.point for step in s.steps] == ["start", "end"]
