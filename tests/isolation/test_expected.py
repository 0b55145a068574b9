"""Recorded outputs: what is read from them, and when a run agrees."""

from __future__ import annotations

import pytest

from ferrisdb.isolation.expected import Agreement, ExpectedStep, compare, parse_expected
from ferrisdb.isolation.report import permutation_text
from ferrisdb.isolation.runs import EventKind, PermutationRun, StepEvent
from ferrisdb.isolation.spec import Step
from ferrisdb.isolation.spec_parser import parse_spec
from ferrisdb.isolation.target import Answer, ErrorReport

RECORDED = """\
Parsed test spec with 2 sessions

starting permutation: s1 s2 s1c s2c
step s1: SELECT a,
  -- a comment
  b FROM t;
a|b
-+-
1|2
(1 row)

step s2: UPDATE t SET a = 2
  WHERE b = 2; <waiting ...>
step s1c: COMMIT;
step s2: <... completed>
ERROR:  could not serialize access due to concurrent update
step s2c: COMMIT;

starting permutation: s1 s1c s2 s2c
setup failed: ERROR:  syntax error at or near "REFERENCES"
"""


def test_each_step_is_known_by_how_it_ended() -> None:
    first, second = parse_expected(RECORDED)
    assert first.order == "s1 s2 s1c s2c"
    assert first.steps == {
        "s1": ExpectedStep(False, False, ("a|b", "-+-", "1|2", "(1 row)")),
        "s1c": ExpectedStep(False, False, ()),
        "s2": ExpectedStep(True, True, ()),
        "s2c": ExpectedStep(False, False, ()),
    }
    assert first.has_error
    assert second.is_refused


SPEC = parse_spec("""
session one step s1 { SELECT a,
  -- a comment
  b FROM t; } step s1c { COMMIT; }
session two step s2 { UPDATE t SET a = 2
  WHERE b = 2; } step s2c { COMMIT; }
permutation s1 s2 s1c s2c
""")
LOST = ErrorReport("could not serialize access due to concurrent update", "40001")


def a_run(*, rows: int = 1, waits: bool = True, loser: str | None = "s2") -> PermutationRun:
    (permutation,) = SPEC.permutations()
    steps: dict[str, Step] = {planned.step.name: planned.step for planned in permutation}

    def event(name: str, kind: EventKind = EventKind.DONE) -> StepEvent:
        answers = (Answer(("a", "b"), ((1, 2),) * rows),) if name == "s1" else ()
        error = LOST if name == loser and kind is not EventKind.WAITING else None
        return StepEvent(steps[name], steps[name].sql, kind, answers, error)

    last = EventKind.COMPLETED if waits else EventKind.DONE
    waiting = [event("s2", EventKind.WAITING)] * waits
    events = [event("s1"), *waiting, event("s1c"), event("s2", last), event("s2c")]
    return PermutationRun(permutation, events=events)


def test_what_the_runner_writes_is_what_is_read_back() -> None:
    first, _ = parse_expected(RECORDED)
    assert permutation_text(a_run()) in RECORDED
    assert compare(a_run(), first) == (Agreement.SAME, [])


@pytest.mark.parametrize(
    ("run", "agreement", "difference"),
    [
        (a_run(rows=2), Agreement.SAME_OUTCOME, "s1: other rows"),
        (a_run(waits=False), Agreement.SAME_OUTCOME, "s2: expected to wait"),
        (a_run(loser="s2c"), Agreement.SAME_OUTCOME, "s2: expected an error, got no error"),
        (a_run(loser=None), Agreement.DIFFERENT, "s2: expected an error, got no error"),
    ],
)
def test_only_an_error_in_one_of_two_is_a_difference_in_outcome(
    run: PermutationRun, agreement: Agreement, difference: str
) -> None:
    first, _ = parse_expected(RECORDED)
    assert compare(run, first)[0] is agreement
    assert difference in compare(run, first)[1]


def test_a_permutation_that_could_not_begin_agrees_with_one_that_could_not_either() -> None:
    first, refused = parse_expected(RECORDED)
    run = PermutationRun(a_run().permutation, failure="setup failed: no")
    assert compare(run, refused)[0] is Agreement.SAME_OUTCOME
    assert compare(run, first) == (Agreement.DIFFERENT, ["setup failed: no"])
    assert compare(a_run(), refused) == (Agreement.DIFFERENT, ["expected the setup to fail"])
    assert compare(a_run(), None)[0] is Agreement.DIFFERENT
