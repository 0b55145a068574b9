"""`make demo` works: from any folder, twice, and never on what is not its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from markdown_blocks import ROOT


def take_the_tour(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py")],
        cwd=folder,
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )


def test_the_tour_ends_well_and_can_be_taken_again(tmp_path: Path) -> None:
    for _ in range(2):
        tour = take_the_tour(tmp_path)
        assert tour.stderr == ""
        assert tour.returncode == 0
        assert "Nothing that was acknowledged is lost" in tour.stdout
        assert "SerializationFailure 40001" in tour.stdout
        assert "bug in FerrisDB" not in tour.stdout


def test_the_tour_removes_nothing_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "demo.ferris").mkdir()
    treasure = tmp_path / "demo.ferris" / "thesis.txt"
    treasure.write_text("years of work", encoding="utf-8")
    tour = take_the_tour(tmp_path)
    assert tour.returncode == 1
    assert "not a FerrisDB database" in tour.stderr
    assert treasure.read_text(encoding="utf-8") == "years of work"
