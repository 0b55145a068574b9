"""TPC-H at scale 0.01: loaded by `ferrisdb import`, asked from the shell, and again after a kill."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Shell

TABLES = ("region", "nation", "part", "supplier", "partsupp", "customer", "orders", "lineitem")
QUERIES = ("q01", "q03", "q05", "q06", "q10", "q12")


def cell(text: str) -> str | Decimal:
    """A number to two decimals, so that more digits of an average make no difference."""
    try:
        return round(Decimal(text), 2)
    except InvalidOperation:
        return text


def rows(text: str, delimiter: str) -> list[list[str | Decimal]]:
    return [[cell(each) for each in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter)]


def check_answers(shell: Shell, tpch: Path) -> None:
    for query in QUERIES:
        printed = shell.ok("tpch.ferris", "--format", "csv", "-f", tpch / "queries" / f"{query}.sql")
        expected = (tpch / "answers" / f"{query}.csv").read_text()
        assert rows(printed, ",") == rows(expected, "|"), query


@pytest.mark.shared
def test_the_answers_are_right_and_survive_a_kill(shell: Shell, shared: Path) -> None:
    tpch = shared / "suites" / "tpch"
    shell.ok("tpch.ferris", "-f", tpch / "schema.sql")
    for table in TABLES:
        shell.ok("import", "tpch.ferris", table, tpch / f"{table}.csv.gz")
    check_answers(shell, tpch)

    shell.ok("tpch.ferris", "-c", "CREATE TABLE more (k INTEGER PRIMARY KEY, filler TEXT NOT NULL)")
    stood = kill_while_loading(shell)

    assert stood > 0
    check_answers(shell, tpch)
    count, largest = (
        shell.ok("tpch.ferris", "--format", "csv", "-c", "SELECT count(*), max(k) FROM more")
        .splitlines()[1]
        .split(",")
    )
    assert count == largest, "rows came in order, so a gap is a lost row"
    assert int(count) >= stood


def kill_while_loading(shell: Shell) -> int:
    """Pipe inserts into the shell, and kill it (SIGKILL) in the middle. The rows it had acknowledged."""
    process = subprocess.Popen(
        shell.command("tpch.ferris", "--format", "csv"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=shell.folder,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for first in range(1, 20_001, 20):
        values = ", ".join(f"({k}, 'row {k}')" for k in range(first, first + 20))
        process.stdin.write(f"INSERT INTO more VALUES {values};\nSELECT {first + 19} AS acknowledged;\n")
    process.stdin.flush()
    acknowledged = 0
    deadline = time.monotonic() + 60
    while acknowledged < 1000 and time.monotonic() < deadline:
        line = process.stdout.readline().strip()
        acknowledged = int(line) if line.isdigit() else acknowledged
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL, "it had finished before it was killed"
    process.stdin.close()
    process.stdout.close()
    return acknowledged
