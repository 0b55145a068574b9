"""`ferrisdb isolation` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ferrisdb.cli.main import main

SPEC = """
setup { CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 10); }
teardown { DROP TABLE t; }
session a
setup { BEGIN ISOLATION LEVEL @LEVEL@; }
step a_writes { UPDATE t SET v = 11 WHERE id = 1; }
step a_ends { COMMIT; }
session b
setup { BEGIN ISOLATION LEVEL @LEVEL@; }
step b_reads { SELECT v FROM t; }
step b_ends { COMMIT; }
permutation a_writes a_ends b_reads b_ends
permutation a_writes b_reads a_ends b_ends
"""
RECORDED = """\
Parsed test spec with 2 sessions

starting permutation: a_writes a_ends b_reads b_ends
step a_writes: UPDATE t SET v = 11 WHERE id = 1;
step a_ends: COMMIT;
step b_reads: SELECT v FROM t;
 v
--
11
(1 row)

step b_ends: COMMIT;

starting permutation: a_writes b_reads a_ends b_ends
step a_writes: UPDATE t SET v = 11 WHERE id = 1;
step b_reads: SELECT v FROM t;
 v
--
10
(1 row)

step a_ends: COMMIT;
step b_ends: COMMIT;
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "visible.spec"
    file.write_text(SPEC)
    return file


def run(*arguments: str | Path) -> int:
    return main(["isolation", *map(str, arguments)])


def test_run_prints_what_isolationtester_would(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("run", spec, "--level", "snapshot") == 0
    assert capsys.readouterr().out == f"isolation level: snapshot\n{RECORDED}"


def test_run_goes_through_all_levels_that_a_spec_leaves_open(
    spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("run", spec)
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("isolation level")]
    assert [line.split(": ")[1] for line in told] == ["read committed", "snapshot", "serializable"]


def test_expected_output_is_compared(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = spec.with_suffix(".out")
    recorded.write_text(RECORDED)
    assert run("run", spec, "--level", "snapshot", "--expected", spec.parent) == 0
    assert capsys.readouterr().err == "2 permutations: 2 same, 0 same outcome, 0 different\n"
    recorded.write_text(
        RECORDED.replace("step a_ends: COMMIT;\nstep b_r", "step a_ends: COMMIT;\nERROR:  no\nstep b_r")
    )
    assert run("run", spec, "--level", "snapshot", "--expected", recorded) == 1
    assert capsys.readouterr().err == (
        f"{spec}: a_writes a_ends b_reads b_ends: different\n"
        "  a_ends: expected an error, got no error\n"
        "2 permutations: 1 same, 0 same outcome, 1 different\n"
    )


def test_one_permutation_as_json(spec: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = "a_writes b_reads a_ends b_ends"
    assert run("run", spec, "--level", "snapshot", "--permutation", chosen, "--format", "json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert (told["level"], told["permutation"], told["failure"]) == ("snapshot", chosen, None)
    assert told["events"][1] == {
        "step": "b_reads",
        "session": "b",
        "sql": "SELECT v FROM t;",
        "event": "done",
        "answers": [{"columns": ["v"], "rows": [[10]]}],
        "error": None,
    }


def test_a_folder_is_left_as_the_teardown_leaves_it(spec: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lab.ferris"
    assert run("run", spec, "--level", "snapshot", "--path", folder) == 0
    assert main([str(folder), "-c", "CREATE TABLE t (a int)"]) == 0  # the spec's t is gone


@pytest.mark.parametrize(
    ("arguments", "report"),
    [
        (["run", "absent.spec"], "ERROR 58000: cannot read absent.spec: No such file or directory"),
        (["run", "SPEC", "--permutation", "x"], "ERROR 22023: the spec has no permutation x"),
        (["run", "SPEC", "--url", "shop.db"], "ERROR 22023: 'shop.db' is no database URL"),
        (["run", "SPEC", "--url", "no_such_driver:connect()"], "ERROR 0A000: cannot import no_such_driver"),
        (["run", "SPEC", "--url", "sqlite3:open()"], "ERROR 22023: the module sqlite3 has no function open"),
        (["run", "SPEC", "--url", 'sqlite3:connect(__import__("os"))'], "ERROR 22023: 'connect(__import__"),
        (["run", "SPEC", "--url", 'sqlite3:connect("/no/such/place")'], "ERROR 58000: cannot connect to"),
        (["matrix", "--anomaly", "G7"], "ERROR 22023: there is no anomaly g7"),
        (["matrix", "--level", "chaos"], "ERROR 22023: FerrisDB has no isolation level 'chaos'"),
    ],
)
def test_what_is_wrong_is_said_in_one_report(
    arguments: list[str], report: str, spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(str(spec) if each == "SPEC" else each for each in arguments)) == 1
    assert capsys.readouterr().err.startswith(report)


def test_a_wrong_spec_is_shown_with_file_and_line_and_the_others_are_run(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.spec"
    wrong.write_text("session s\nstep a {}\npermutation b\n")
    assert run("run", wrong, spec, "--level", "snapshot") == 1
    told = capsys.readouterr()
    assert told.err.startswith(f'{wrong}:3: ERROR 42601: there is no step "b"\n  permutation b\n')
    assert told.out.endswith(RECORDED)


def test_without_a_word_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    assert "run SPEC..." in capsys.readouterr().err
    assert run("--help") == 0
    assert "matrix" in capsys.readouterr().out
