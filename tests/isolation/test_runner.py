"""The runner: what it reports when, and that nothing makes it hang.

What FerrisDB does is shown by specs; what a runner must survive, by a database made of gates
(`toy_target`).
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from toy_target import ToyTarget

from ferrisdb.isolation.ferris_target import FerrisTarget
from ferrisdb.isolation.report import permutation_text
from ferrisdb.isolation.runner import RunOptions, run_permutations
from ferrisdb.isolation.runs import PermutationRun
from ferrisdb.isolation.spec_parser import parse_spec


def play(text: str, target: ToyTarget | None = None, **options: object) -> list[PermutationRun]:
    """The runs of a spec against FerrisDB, or the target."""
    run_options = RunOptions(**{"step_timeout_s": 10.0, **options})  # type: ignore[arg-type]
    return list(run_permutations(parse_spec(text), lambda: target or FerrisTarget(), run_options))


def told(text: str, target: ToyTarget | None = None, **options: object) -> list[str]:
    """The lines of the report on the only permutation, without its heading."""
    (run,) = play(text, target, **options)
    return permutation_text(run).splitlines()[2:]


def events(text: str, target: ToyTarget, **options: object) -> list[str]:
    (run,) = play(text, target, **options)
    return [f"{each.step.name} {each.kind.value}" for each in run.events] + (
        [run.failure] * bool(run.failure)
    )


# --- against FerrisDB -----------------------------------------------------------------------


def test_a_step_that_waits_for_a_lock_is_shown_waiting_and_then_completed() -> None:
    spec = """
    setup { CREATE TABLE account (id int PRIMARY KEY, owner text, balance int);
            INSERT INTO account VALUES (1, 'ann', 100), (2, NULL, -20); }
    session a
    setup { BEGIN; }
    step a_adds { UPDATE account SET balance = 110 WHERE id = 1; }
    step a_ends { COMMIT; }
    session b
    setup { BEGIN ISOLATION LEVEL @LEVEL@; }
    step b_reads { SELECT id, owner, balance FROM account ORDER BY id; }
    step b_adds { UPDATE account SET balance = 120 WHERE id = 1; }
    step b_ends { COMMIT; }
    permutation a_adds b_reads b_adds a_ends b_ends
    """
    (run,) = play(spec, level="SNAPSHOT")
    completed = run.outcomes()["b_adds"]
    assert completed.error is not None
    assert completed.error.sqlstate == "40001"
    message = f"ERROR:  {completed.error.message}"
    # The numbers stand right, the texts left and NULL is empty: as libpq prints them.
    assert permutation_text(run) == (
        f"""
starting permutation: a_adds b_reads b_adds a_ends b_ends
step a_adds: UPDATE account SET balance = 110 WHERE id = 1;
step b_reads: SELECT id, owner, balance FROM account ORDER BY id;
id|owner|balance
--+-----+-------
 1|ann  |    100
 2|     |    -20
(2 rows)

step b_adds: UPDATE account SET balance = 120 WHERE id = 1; <waiting ...>
step a_ends: COMMIT;
step b_adds: <... completed>
{message}
step b_ends: COMMIT;
"""
    )


def test_those_who_wait_complete_in_the_order_in_which_they_began_to() -> None:
    spec = """
    setup { CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0); }
    session a setup { BEGIN; }
    step a1 { UPDATE t SET v = 1; }
    step ac { COMMIT; }
    session b step b2 { UPDATE t SET v = 2 WHERE id = 2; }
    session c step c1 { UPDATE t SET v = 3 WHERE id = 1; }
    session d step d_reads { SELECT id FROM t ORDER BY id; }
    permutation a1 b2 c1 d_reads ac
    """
    (run,) = play(spec)
    assert [f"{each.step.name} {each.kind.value}" for each in run.events] == [
        "a1 done",
        "b2 waiting",
        "c1 waiting",
        "d_reads done",
        "ac done",
        "b2 completed",
        "c1 completed",
    ]


def test_the_outcome_is_the_same_each_time() -> None:
    spec = """
    setup { CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0); }
    session a setup { BEGIN; }
    step a1 { UPDATE t SET v = 1 WHERE id = 1; }
    step a2 { UPDATE t SET v = 1 WHERE id = 2; }
    step ac { COMMIT; }
    session b setup { BEGIN; }
    step b2 { UPDATE t SET v = 2 WHERE id = 2; }
    step bc { COMMIT; }
    """
    first = [permutation_text(run) for run in play(spec)]
    assert len(first) == 10
    for _ in range(5):
        assert [permutation_text(run) for run in play(spec)] == first


def test_each_permutation_gets_a_fresh_database_whatever_the_one_before_left() -> None:
    spec = """
    setup { CREATE TABLE t (id int PRIMARY KEY); }
    session a step a1 { INSERT INTO t VALUES (1); } step a2 { SELECT * FROM t; }
    session b step b1 { SELECT 1; }
    """
    runs = play(spec)
    assert [run.failure for run in runs] == [None] * 3
    assert all(len(run.outcomes()["a2"].answers[0].rows) == 1 for run in runs)


def test_a_step_that_nobody_is_left_to_wake_is_reported_at_once() -> None:
    spec = """
    setup { CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0); }
    teardown { DROP TABLE t; }
    session a setup { BEGIN; } step a1 { UPDATE t SET v = 1; }
    session b step b1 { UPDATE t SET v = 2; }
    permutation a1 b1
    """
    assert told(spec) == [
        "step a1: UPDATE t SET v = 1;",
        "step b1: UPDATE t SET v = 2; <waiting ...>",
        "step b1: <... timed out>",
        "FAILED: step b1 waits for ever: no session is in a step that could let it go on",
    ]


def test_a_setup_that_fails_ends_the_permutation_and_the_teardown_is_run_all_the_same(tmp_path: Path) -> None:
    folder = str(tmp_path / "lab.ferris")
    spec = parse_spec("""
    setup { CREATE TABLE t (id int PRIMARY KEY); }
    setup { INSERT INTO missing VALUES (1); }
    teardown { DROP TABLE t; }
    session a step a1 { SELECT 1; }
    """)
    for _ in range(2):
        # The second finds no table that the first has left: else its setup would say so.
        (run,) = run_permutations(spec, lambda: FerrisTarget(folder), RunOptions())
        assert run.failure == 'setup failed: table "missing" does not exist'
        assert run.events == []
        assert run.teardown_failures == []


def test_a_step_with_too_many_rows_is_an_error_of_that_step() -> None:
    spec = """
    setup { CREATE TABLE t (id int PRIMARY KEY); }
    setup { INSERT INTO t VALUES (1), (2), (3), (4), (5), (6), (7), (8); }
    session a
    step fits { SELECT 1 FROM t a, t b, t c, t d; }
    step many { SELECT 1 FROM t a, t b, t c, t d, t e; }
    """
    (run,) = play(spec)
    assert len(run.outcomes()["fits"].answers[0].rows) == 8**4
    error = run.outcomes()["many"].error
    assert error is not None
    assert error.message == "the step gives more than 10,000 rows"


# --- against gates --------------------------------------------------------------------------


def test_a_step_that_was_said_to_wait_is_shown_so_though_it_was_over_at_once() -> None:
    spec = "session a step a1 { say x } session b step b1 { say y } permutation a1(*) b1"
    assert events(spec, ToyTarget()) == ["a1 waiting", "b1 done", "a1 completed"]


def test_a_step_is_not_reported_before_the_one_that_it_is_after() -> None:
    spec = """
    session a step a1 { wait g }
    session b step b1 { wait h }
    session c step c1 { open g } step c2 { open h } step c3 { say x }
    """
    plain = "permutation a1 b1 c1 c2 c3"
    held_back = "permutation a1(b1) b1 c1 c2 c3"
    assert events(spec + plain, ToyTarget()) == [
        "a1 waiting", "b1 waiting", "c1 done", "a1 completed", "c2 done", "b1 completed", "c3 done",
    ]  # fmt: skip
    assert events(spec + held_back, ToyTarget()) == [
        "a1 waiting", "b1 waiting", "c1 done", "c2 done", "b1 completed", "a1 completed", "c3 done",
    ]  # fmt: skip


def test_who_is_woken_by_a_step_that_then_waits_itself_is_reported_before_the_next_step() -> None:
    spec = """
    session a step a1 { wait g }
    session b step b1 { open g; wait h }
    session c step c1 { open h }
    permutation a1 b1 c1
    """
    assert events(spec, ToyTarget()) == [
        "a1 waiting", "b1 waiting", "a1 completed", "c1 done", "b1 completed",
    ]  # fmt: skip


def test_a_step_is_not_reported_before_the_notices_that_it_is_after() -> None:
    spec = """
    session a step a1 { say x }
    session b step b1 { notice } step b2 { notice }
    permutation a1(b1 notices 2) b1 b2
    """
    assert events(spec, ToyTarget()) == ["a1 waiting", "b1 done", "b2 done", "a1 completed"]


def test_steps_that_hold_each_other_back_end_the_permutation() -> None:
    spec = """
    session a step a1 { say x }
    session b step b1 { say y }
    permutation a1(b1 notices 1) b1
    """
    assert events(spec, ToyTarget())[-1].startswith("step a1 is held back for ever")


def test_a_session_whose_turn_comes_while_it_waits_is_waited_for() -> None:
    spec = """
    session a step a1 { wait g 0.2 } step a2 { say x }
    session b step b1 { say y }
    permutation a1 b1 a2
    """
    assert events(spec, ToyTarget()) == ["a1 waiting", "b1 done", "a1 completed", "a2 done"]


@pytest.mark.parametrize("can_be_asked", [True, False])
def test_a_step_that_hangs_is_cancelled_after_its_time_and_the_teardown_is_run(can_be_asked: bool) -> None:
    spec = """
    teardown { say bye }
    session a step a1 { hang } teardown { say no }
    session b step b1 { say x } teardown { say done }
    permutation b1 a1
    """
    target = ToyTarget(can_be_asked=can_be_asked)
    told = events(spec, target, step_timeout_s=0.5, wait_s=0.05)
    assert told[-1] == "step a1 timed out after 0.5 s"
    assert target.cancelled == 1
    assert target.done.index("say done") < target.done.index("left") < target.done.index("say bye")
    assert target.done[-1] == "close"


def test_a_session_that_cannot_be_cancelled_is_left_behind_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ferrisdb.isolation.runner._GOODBYE_S", 0.1)
    (run,) = play("session a step a1 { deaf } permutation a1", ToyTarget(), step_timeout_s=0.1)
    assert run.failure == "step a1 timed out after 0.1 s"
    assert run.teardown_failures == ["session a was left in its step"]


def test_a_database_that_cannot_be_asked_is_judged_by_the_clock() -> None:
    spec = "session a step a1 { wait g } session b step b1 { open g } permutation a1 b1"
    assert events(spec, ToyTarget(can_be_asked=False), wait_s=0.1) == [
        "a1 waiting", "b1 done", "a1 completed",
    ]  # fmt: skip


def test_where_an_error_ends_the_transaction_the_session_rolls_back_and_its_other_steps_are_skipped() -> None:
    spec = """
    session a step a1 { fail oh } step a2 { say x }
    session b step b1 { say y }
    permutation a1 b1 a2
    """
    target = ToyTarget()
    assert events(spec, target, abort_on_error=True) == ["a1 done", "b1 done", "a2 skipped"]
    assert target.done[:3] == ["fail oh", "ROLLBACK", "say y"]
