"""Bad input gets one clear line with its SQLSTATE and exit status 1, and changes nothing."""

from __future__ import annotations

import struct
import subprocess
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Shell

SETUP = """
CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT NOT NULL UNIQUE, balance NUMERIC(10,2));
INSERT INTO account VALUES (1, 'ann', 10.50), (2, 'bob', 20);
"""

BAD_STATEMENTS = {
    "a syntax error": ("SELECT * FORM account", "42601", "syntax error at line 1 col 10 near 'FORM'"),
    "an unknown table": ("SELECT * FROM acount", "42P01", '"acount" does not exist'),
    "an unknown column": ("SELECT balnce FROM account", "42703", '"balnce" does not exist'),
    "a wrong type": ("INSERT INTO account VALUES ('one', 'cy', 1)", "22P02", "one"),
    "an operator without such types": ("SELECT id + TRUE FROM account", "42883", "INTEGER + BOOLEAN"),
    "a division by zero": ("UPDATE account SET balance = balance / 0", "22012", "division by zero"),
    "a duplicate key": ("INSERT INTO account VALUES (3, 'cy', 1), (1, 'dee', 1)", "23505", "account_pkey"),
    "a duplicate unique value": ("UPDATE account SET owner = 'ann'", "23505", "account_owner_key"),
    "a missing value": ("INSERT INTO account (id) VALUES (3)", "23502", "owner"),
    "an integer too large": ("SELECT 9223372036854775807 + 1", "22003", "out of range"),
    "a number that does not fit": ("INSERT INTO account VALUES (3, 'cy', 1e9)", "22003", ""),
    "an unknown function": ("SELECT lenght('a')", "42883", "lenght"),
    "a lock on rows that are none": ("SELECT count(*) FROM account FOR UPDATE", "0A000", "aggregate"),
    "a commit of nothing": ("COMMIT", "25P01", ""),
    "an overlong statement": ("SELECT '" + "x" * 1_100_000 + "'", "54000", "1000000"),
    "a statement too deep": ("SELECT " + "NOT " * 5000 + "TRUE", "54001", ""),
}


@pytest.fixture
def bank(shell: Shell) -> Shell:
    shell.ok("bank.ferris", stdin=SETUP)
    return shell


def contents(shell: Shell) -> str:
    return shell.ok("bank.ferris", "--format", "csv", "-c", "SELECT * FROM account ORDER BY id")


@pytest.mark.parametrize("name", BAD_STATEMENTS)
def test_a_bad_statement(bank: Shell, name: str) -> None:
    sql, sqlstate, words = BAD_STATEMENTS[name]
    before = contents(bank)

    done = bank.run("bank.ferris", stdin=sql + ";\nDELETE FROM account;\n")

    assert done.returncode == 1
    first_line = done.stderr.splitlines()[0]
    assert first_line.startswith(f"standard input:1: ERROR {sqlstate}: "), done.stderr
    assert words in first_line
    assert len(first_line) < 300
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert contents(bank) == before


def test_a_syntax_error_points_at_its_place(bank: Shell) -> None:
    done = bank.run("bank.ferris", "-c", "SELECT *\n  FORM account")
    assert done.stderr.splitlines() == [
        "ERROR 42601: syntax error at line 2 col 3 near 'FORM'",
        "    FORM account",
        "    ^",
        "HINT: did you mean FROM?",
    ]


def test_a_second_process_is_told_which_process_holds_the_folder(bank: Shell) -> None:
    holder = subprocess.Popen(
        bank.command("bank.ferris", "--format", "csv"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=bank.folder,
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write("SELECT 'ready' AS r;\n")
    holder.stdin.flush()
    assert [holder.stdout.readline() for _ in range(2)] == ["r\n", "ready\n"]

    done = bank.run("bank.ferris", "-c", "DELETE FROM account")

    assert done.returncode == 1
    first_line = done.stderr.splitlines()[0]
    assert first_line.startswith("ERROR 55006: ")
    assert f"process {holder.pid}" in first_line
    holder.communicate("", timeout=30)
    assert contents(bank).count("\n") == 3


def test_a_folder_that_is_no_database_is_left_alone(shell: Shell) -> None:
    photos = shell.folder / "photos"
    photos.mkdir()
    (photos / "holiday.jpg").write_bytes(b"not a row")
    done = shell.run("photos", "-c", "CREATE TABLE t (a INTEGER)")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("ERROR 58P01: ")
    assert [each.name for each in photos.iterdir()] == ["holiday.jpg"]


def test_a_file_that_is_no_database_is_left_alone(shell: Shell) -> None:
    (shell.folder / "notes.txt").write_text("not a database")
    done = shell.run("notes.txt", "-c", "SELECT 1")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith("ERROR 58P01: ")
    assert (shell.folder / "notes.txt").read_text() == "not a database"


@pytest.mark.parametrize("pattern", ["*.wal", "MANIFEST-*", "*.sst"])
def test_a_file_of_a_newer_format_version_is_left_alone(bank: Shell, pattern: str) -> None:
    folder = bank.folder / "bank.ferris"
    if pattern == "*.sst":
        import ferrisdb

        with ferrisdb.open(str(folder)) as db:
            db.flush()
    path = max(folder.glob(pattern))
    path.write_bytes(with_version(path.read_bytes(), 99))
    files = {each.name: each.read_bytes() for each in folder.iterdir() if each.name != "LOCK"}

    done = bank.run("bank.ferris", "-c", "DELETE FROM account")

    assert done.returncode == 1
    first_line = done.stderr.splitlines()[0]
    assert first_line.startswith("ERROR 58P02: ")
    assert "99" in first_line
    assert path.name in first_line
    assert {each.name: each.read_bytes() for each in folder.iterdir() if each.name != "LOCK"} == files


def with_version(data: bytes, version: int) -> bytes:
    """The file with another format version in a header that is otherwise sound (docs/formats.md)."""
    head = data[:8] + struct.pack("<H", version) + data[10:12]
    return head + struct.pack("<I", zlib.crc32(head)) + data[16:]


def test_bad_arguments_are_usage_errors_without_a_traceback(shell: Shell, tmp_path: Path) -> None:
    done = shell.run("x.ferris", "-f", tmp_path / "missing.sql")
    assert done.returncode == 1
    assert "missing.sql" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "x.ferris").exists()
