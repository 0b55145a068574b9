"""Specs as text: what they mean, and where a wrong one is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from ferrisdb.errors import OperationalError, SpecError, StatementTooLarge, render
from ferrisdb.isolation.spec import MAX_STEPS, AfterNotices, AfterStep, PlannedStep, ShownWaiting
from ferrisdb.isolation.spec_parser import parse_spec, read_spec, render_spec_error

FULL = """
# Comments reach to the end of the line: { and } mean nothing in them.
setup { CREATE TABLE t (a int); }
setup { INSERT INTO t VALUES (1); }     # each setup is run by itself
teardown { DROP TABLE t; }

session "the \"\"first\"\" one"
setup { BEGIN; }
step r1 { SELECT '#no comment'
          FROM t; }
step setup2 { COMMIT; }
teardown { ROLLBACK; }

session s2
step w2 { UPDATE t SET a = 2; }

permutation r1 w2(r1, *) setup2
permutation w2 r1(w2 notices 3) "setup2"
"""


def test_a_spec_holds_what_its_text_says() -> None:
    spec = parse_spec(FULL)
    assert spec.setups == ("CREATE TABLE t (a int);", "INSERT INTO t VALUES (1);")
    assert spec.teardown == "DROP TABLE t;"
    first, second = spec.sessions
    assert (first.name, first.setup, first.teardown) == ('the "first" one', "BEGIN;", "ROLLBACK;")
    assert [(step.name, step.session) for step in first.steps] == [("r1", 0), ("setup2", 0)]
    assert first.steps[0].sql == "SELECT '#no comment'\n          FROM t;"
    assert (second.name, second.setup, second.teardown) == ("s2", None, None)
    r1, setup2, w2 = *first.steps, *second.steps
    assert list(spec.permutations()) == [
        (PlannedStep(r1), PlannedStep(w2, (AfterStep(r1), ShownWaiting())), PlannedStep(setup2)),
        (PlannedStep(w2), PlannedStep(r1, (AfterNotices(w2, 3),)), PlannedStep(setup2)),
    ]


def test_without_permutations_all_orders_are_meant_that_keep_each_sessions_own() -> None:
    spec = parse_spec("session a step a1 {} step a2 {} session b step b1 {}")
    orders = [" ".join(planned.step.name for planned in each) for each in spec.permutations()]
    assert orders == ["a1 a2 b1", "a1 b1 a2", "b1 a1 a2"]


def test_too_many_orders_are_refused_before_the_first_is_run() -> None:
    sessions = "".join(
        f"session s{each} {' '.join(f'step s{each}_{n} {{}}' for n in range(5))}\n" for each in range(3)
    )
    with pytest.raises(StatementTooLarge, match="756,756 orders; the limit is 10,000"):
        parse_spec(sessions).permutations()


@pytest.mark.parametrize(
    ("text", "report"),
    [
        (
            "session s\nstep a { SELECT 1;",
            "ERROR 42601: this block is not closed: its } is missing\n  step a { SELECT 1;\n         ^",
        ),
        (
            "session s { BEGIN; }",
            'ERROR 42601: "{ BEGIN; }" where "setup" or "step" should stand\n'
            "  session s { BEGIN; }\n            ^",
        ),
        (
            "session s step a {}\npermutation a b",
            'ERROR 42601: there is no step "b"\n  permutation a b\n                ^\nHINT: the steps are a',
        ),
        (
            "session s step a {} session t step a {}",
            'ERROR 42601: there are two steps "a"\n'
            "  session s step a {} session t step a {}\n                                     ^",
        ),
        (
            "session s step a {} session s step b {}",
            'ERROR 42601: there are two sessions "s"\n'
            "  session s step a {} session s step b {}\n                              ^",
        ),
        (
            "session s step a {} step b {} permutation a b(a)",
            'ERROR 42601: step "b" cannot be held back by "a" of its own session\n'
            "  session s step a {} step b {} permutation a b(a)\n" + " " * 48 + "^",
        ),
        (
            "session setup step a {}",
            'ERROR 42601: "setup" where a name should stand\n  session setup step a {}\n          ^',
        ),
        (
            "session s step a {} permutation a(",
            'ERROR 42601: the end of the spec where "*" or a name should stand\n'
            "  session s step a {} permutation a(\n                                    ^",
        ),
        (
            "".join(f"session s{n} step a{n} {{}}\n" for n in range(101)),
            "ERROR 42601: a spec has 100 sessions at most\n  session s100 step",
        ),
        (
            "session s\n" + "".join(f"step a{n} {{}}\n" for n in range(501)),
            "ERROR 42601: a spec has 500 steps at most\n  step a500",
        ),
        (
            f"session s step a {{}} session t step b {{}} permutation a b(a notices {'9' * 5000})",
            "ERROR 42601: a step waits for 999999 notices at most\n",
        ),
        ("session s step a {} ;", "ERROR 42601: the character ';' has no meaning here\n"),
        ('session "s', "ERROR 42601: this name is not closed: its quote is missing\n"),
        ("", 'ERROR 42601: the end of the spec where "session", "setup" or "teardown" should stand\n'),
    ],
)
def test_a_wrong_spec_is_answered_with_what_would_be_right(text: str, report: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(text)
    assert render(caught.value, text).startswith(report)


def test_as_many_steps_as_a_spec_may_have_can_be_put_in_order() -> None:
    spec = parse_spec("session s\n" + "".join(f"step a{n} {{}}\n" for n in range(MAX_STEPS)))
    (permutation,) = spec.permutations()
    assert len(permutation) == MAX_STEPS


def test_the_report_names_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "broken.spec"
    file.write_text("session s\nstep a {}\npermutation a c\n")
    with pytest.raises(SpecError) as caught:
        read_spec(str(file))
    assert render_spec_error(caught.value).startswith(f'{file}:3: ERROR 42601: there is no step "c"\n  perm')


def test_a_file_that_is_no_text_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match="cannot read"):
        read_spec(str(tmp_path / "absent.spec"))
    file = tmp_path / "binary.spec"
    file.write_bytes(b"session \xff")
    with pytest.raises(SpecError, match="is not UTF-8 text: byte 8 is 0xff"):
        read_spec(str(file))
