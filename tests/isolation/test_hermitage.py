"""The Hermitage cases at `snapshot`: which anomalies FerrisDB prevents, shown step by step.

The cases are Martin Kleppmann's (Hermitage, CC-BY 4.0); each schedule and its outcome stands
in a file under hermitage/.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from schedule import perform

CASES = sorted((Path(__file__).parent / "hermitage").glob("*.txt"))
REQUIRED = {"g0", "g1a", "g1b", "g1c", "otv", "pmp", "p4", "g_single"}


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_the_schedule_goes_as_written(case: Path) -> None:
    written = case.read_text()
    assert perform(written) == written


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_repeatable_read_is_the_same_level_by_its_other_name(case: Path) -> None:
    written = case.read_text()
    renamed = re.compile("ISOLATION LEVEL SNAPSHOT")
    assert perform(written, lambda sql: renamed.sub("ISOLATION LEVEL REPEATABLE READ", sql)) == written


def test_no_case_has_gone_missing() -> None:
    assert {case.stem for case in CASES} >= REQUIRED
