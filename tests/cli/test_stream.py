"""Statements that come through a pipe are answered as they come."""

from __future__ import annotations

import subprocess
import sys


def test_an_answer_can_be_read_before_the_next_statement_is_written() -> None:
    shell = subprocess.Popen(
        [sys.executable, "-m", "ferrisdb", "--format", "csv"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert shell.stdin is not None
    assert shell.stdout is not None
    for number in (1, 2):
        # The `;` within the string and the comment ends nothing.
        shell.stdin.write(f"SELECT {number} AS n, ';\n' -- ;\n ;\n")
        shell.stdin.flush()
        assert shell.stdout.readline() == "n,?column?\n"
        assert shell.stdout.readline() == f'{number},";\n'
        assert shell.stdout.readline() == '"\n'
    shell.stdin.write("SELECT *\nFORM t")
    out, error = shell.communicate(timeout=30)
    assert out == ""
    assert error.splitlines()[0] == "standard input:8: ERROR 42601: syntax error at line 2 col 1 near 'FORM'"
    assert shell.returncode == 1
