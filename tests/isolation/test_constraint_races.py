"""Constraints beside other transactions: every schedule in constraints/ goes as it is written.

With FERRISDB_REWRITE=1 the files are written anew instead of compared.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from schedule import perform

SCHEDULES = sorted((Path(__file__).parent / "constraints").glob("*.txt"))


@pytest.mark.parametrize("path", SCHEDULES, ids=lambda path: path.stem)
def test_the_schedule_goes_as_written(path: Path) -> None:
    written = path.read_text()
    performed = perform(written)
    if os.environ.get("FERRISDB_REWRITE"):
        path.write_text(performed)
    else:
        assert performed == written
