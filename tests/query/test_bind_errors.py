"""What the binder says to statements that mean nothing: code, place, and what to do."""

from __future__ import annotations

import os
from pathlib import Path

from query_lab import Lab, answered

from ferrisdb.errors import Error, render

FIXTURE = Path(__file__).parent / "plans" / "bind_errors.txt"


def test_errors_point_and_help() -> None:
    lab, written = Lab(), FIXTURE.read_text()

    def answer(sql: str) -> list[str]:
        try:
            return [f"no error: {lab.rows(sql)}"]
        except Error as error:
            return render(error, sql).split("\n")

    said = answered(written, answer)
    if os.environ.get("FERRISDB_REWRITE"):
        FIXTURE.write_text(said)
    assert said == written or os.environ.get("FERRISDB_REWRITE")
