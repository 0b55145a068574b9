"""EXPLAIN's transcripts: a query, and under it how it will run.

With FERRISDB_REWRITE=1 the fixtures are written anew instead of compared.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from query_lab import Lab, answered

FIXTURES = sorted((Path(__file__).parent / "plans" / "explain").glob("*.txt"))


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_the_plan_is_the_one_in_the_lesson(path: Path) -> None:
    written = path.read_text()
    said = answered(written, Lab().explain)
    if os.environ.get("FERRISDB_REWRITE"):
        path.write_text(said)
    assert said == written or os.environ.get("FERRISDB_REWRITE")
