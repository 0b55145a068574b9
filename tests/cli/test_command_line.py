"""`ferrisdb ...`: data on standard output, all else on standard error, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ferrisdb.cli.main import main


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(list(arguments))
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def process(*arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ferrisdb", *arguments],
        input=typed,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_statement_and_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = ran(capsys, "-c", "SELECT 1 AS one, 'x' AS text")
    assert (status, err) == (0, "")
    assert [line.rstrip() for line in out.splitlines()] == [" one | text", "-----+------", "   1 | x"]


def test_several_statements_in_one_database(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    sql = (
        "CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1), (2); "
        "BEGIN; DELETE FROM t; ROLLBACK; SELECT a FROM t ORDER BY a"
    )
    assert ran(capsys, path, "-c", sql, "--format", "csv") == (0, "a\n1\n2\n", "")
    assert ran(capsys, path, "-c", "SELECT count(*) AS n FROM t;", "--format", "jsonl") == (
        0,
        '{"n": 2}\n',
        "",
    )


def test_a_script_stops_at_its_first_error_and_names_its_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    script = tmp_path / "s.sql"
    script.write_text(
        "-- a script\nCREATE TABLE t (a INTEGER);\n\nSELECT 1 AS before;\n"
        "SELECT\n  nothing\nFROM t;\nSELECT 2 AS after;\n"
    )
    status, out, err = ran(capsys, "-f", str(script), "--format", "csv")
    assert (status, out) == (1, "before\n1\n")
    assert err.splitlines()[:3] == [
        f'{script}:6: ERROR 42703: column "nothing" does not exist',
        "    nothing",
        "    ^",
    ]


@pytest.mark.parametrize("broken", ["SELECT 'never closed;\n", "SELECT (1;\n", "FORM t;"])
def test_a_syntax_error_in_a_script_has_a_line_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, broken: str
) -> None:
    script = tmp_path / "s.sql"
    script.write_text("SELECT 1 AS before;\n\n" + broken)
    status, out, err = ran(capsys, "-f", str(script), "--format", "csv")
    assert (status, out) == (1, "before\n1\n")
    assert err.startswith(f"{script}:3: ERROR 42601: ")


def test_a_script_that_ends_inside_a_transaction_has_failed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = str(tmp_path / "db")
    assert main([path, "-c", "CREATE TABLE t (a INTEGER)"]) == 0
    status, _, err = ran(capsys, path, "-c", "BEGIN; INSERT INTO t VALUES (1)")
    assert status == 1
    assert "ended inside a transaction; it was rolled back" in err
    assert ran(capsys, path, "-c", "SELECT * FROM t", "--format", "jsonl") == (0, "", "")


def test_what_comes_through_a_pipe_is_run() -> None:
    done = process(
        "--format", "json", typed="CREATE TABLE t (a INTEGER);\nINSERT INTO t VALUES (7);\nSELECT * FROM t;\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [{"a": 7}]
    failed = process(typed="SELECT 1;\nSELEC 2;\n")
    assert failed.returncode == 1
    assert failed.stderr.startswith("standard input:2: ERROR 42601")
    assert "Traceback" not in failed.stderr
    assert process(typed="").returncode == 0


def test_a_byte_order_mark_and_line_ends_of_windows(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    script = tmp_path / "s.sql"
    script.write_bytes(b"\xef\xbb\xbfSELECT 'one\r\ntwo' AS a;\r\nSELECT 3 AS b;\r\n")
    expected = '{"a": "one\\r\\ntwo"}\n{"b": 3}\n'
    assert ran(capsys, "-f", str(script), "--format", "jsonl") == (0, expected, "")
    with script.open("rb") as standard_input:
        piped = subprocess.run(
            [sys.executable, "-m", "ferrisdb", "--format", "jsonl"],
            stdin=standard_input,
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert (piped.returncode, piped.stdout.decode(), piped.stderr) == (0, expected, b"")


def test_standard_input_that_is_no_text_is_told_as_that() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ferrisdb"],
        input=b"SELECT '\xff';",
        env={**os.environ, "LC_ALL": "POSIX"},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert b"standard input is not utf-8 text" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="closing by number is the POSIX shell's")
@pytest.mark.parametrize(
    ("closed", "out", "err"),
    [("<&-", "", "standard input is closed"), (">&-", "", "standard output is closed"), ("2>&-", "", "")],
)
def test_a_stream_that_whoever_started_it_has_closed(closed: str, out: str, err: str) -> None:
    arguments = "" if closed == "<&-" else "-c 'SELECT nothing'"
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec '{sys.executable}' -m ferrisdb {arguments} {closed}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, out)
    assert err in done.stderr
    assert "bug" not in done.stderr


def test_a_dot_command_in_a_script_is_told_where_it_belongs(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = ran(capsys, "-c", ".tables")
    assert status == 1
    assert "HINT: dot commands are for the prompt of the shell" in err


def test_files_that_cannot_be_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, err = ran(capsys, "-f", str(tmp_path / "absent.sql"))
    assert (status, out) == (1, "")
    assert err == f"ERROR 58000: cannot read {tmp_path}/absent.sql: No such file or directory\n"
    (tmp_path / "latin.sql").write_bytes(b"SELECT '\xe4';")
    status, _, err = ran(capsys, "-f", str(tmp_path / "latin.sql"))
    assert status == 1
    assert "not UTF-8" in err
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").write_text("not a database")
    for path in ("file", "folder"):
        status, out, err = ran(capsys, str(tmp_path / path), "-c", "SELECT 1")
        assert (status, out) == (1, "")
        assert err.startswith("ERROR 58P01: ")


def test_a_folder_that_another_process_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "db")
    code = f"import ferrisdb; db = ferrisdb.open({path!r}); print('open', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        status, out, err = ran(capsys, path, "-c", "SELECT 1")
        holder.communicate(b"\n")
    assert (status, out) == (1, "")
    assert err.startswith("ERROR 55006: ")
    assert str(holder.pid) in err.splitlines()[0]


def test_help_version_and_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, status in (
        (["--help"], 0),
        (["--version"], 0),
        (["import", "--help"], 0),
        (["--format", "pdf"], 2),
        (["-c", "SELECT 1", "-f", "x"], 2),
        (["import", "db"], 2),
        (["import", "db", "t", "f", "--batch", "0"], 2),
        (["import", "db", "t", "f", "--delimiter", "::"], 2),
        (["import", "db", "t", "f", "--encoding", "klingon"], 2),
    ):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == status
        shown = capsys.readouterr()
        assert (shown.out == "") == (status == 2)
        assert (shown.err == "") == (status == 0)


def test_a_reader_that_has_seen_enough() -> None:
    sql = "SELECT 'some text that fills the pipe' AS a;" * 20_000
    with subprocess.Popen(
        [sys.executable, "-m", "ferrisdb", "--format", "csv"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        assert writer.stderr is not None
        writer.stdin.write(sql.encode())
        writer.stdin.close()
        assert writer.stdout.readline() == b"a\n"
        writer.stdout.close()
        assert writer.stderr.read() == b""
        assert writer.wait(30) == 1


def test_an_output_that_cannot_hold_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = process("-c", "SELECT 'ä' AS a; SELECT 1", "--format", "csv")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "ERROR 58000: the output is ascii and has no '\\xe4'"


def test_an_interrupt_is_no_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "ferrisdb"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stdin is not None
        time.sleep(1.0)  # it reads its standard input by now; an earlier signal would end it the same
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=30)
    assert (waiting.returncode, err) == (1, "cancelled\n")


def test_a_fault_of_our_own_is_one_clear_report(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*arguments: object, **more: object) -> None:
        raise TypeError("a fault")

    monkeypatch.setattr("ferrisdb.cli.script.run_script", breaks)
    monkeypatch.delenv("FERRISDB_TRACEBACK", raising=False)
    status, _, err = ran(capsys, "-c", "SELECT 1")
    assert status == 1
    assert "TypeError: a fault" in err
    assert "this is a bug in FerrisDB" in err
    monkeypatch.setenv("FERRISDB_TRACEBACK", "1")
    with pytest.raises(TypeError):
        main(["-c", "SELECT 1"])


def test_a_short_statement_loads_only_what_it_needs() -> None:
    code = (
        "import sys; from ferrisdb.cli.main import main\n"
        "main(['-c', 'SELECT 1', '--format', 'csv'])\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert (
        loaded & {"lark", "tabulate", "prompt_toolkit", "pygments", "tqdm", "json", "csv", "asyncio"} == set()
    )
