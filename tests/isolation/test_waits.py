"""Row locks as lessons: who waits for whom, what is skipped, and what a waiter sees afterwards.

The schedules stand under waits/. With FERRISDB_REWRITE=1 they are written anew.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from schedule import perform

LESSONS = sorted((Path(__file__).parent / "waits").glob("*.txt"))


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_the_schedule_goes_as_the_lesson_says(lesson: Path) -> None:
    written = lesson.read_text()
    played = perform(written)
    if os.environ.get("FERRISDB_REWRITE"):
        lesson.write_text(played)
    else:
        assert played == written
