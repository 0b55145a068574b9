"""The bench at a tiny size: every contest runs, both sides agree, nothing is left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench import runner
from bench.contest import Contest, Side, Size, Work
from bench.report import table
from bench.trial import Trial, hold_trial
from bench.trials import TRIALS
from bench.workloads import CONTESTS

ROOT = Path(__file__).resolve().parents[2]
TINY = Size(factor=0.002, rounds=1)


@pytest.fixture
def bench_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the temporary folders of the bench are made in this test."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("contest", CONTESTS, ids=lambda contest: contest.name)
def test_both_sides_do_the_same_work(contest: Contest, bench_folders: Path) -> None:
    outcome = runner.hold(contest, TINY)
    assert outcome.ours_per_s > 0
    assert outcome.peer_per_s > 0
    assert contest.name in table([outcome])
    assert list(bench_folders.iterdir()) == []


class Liar(Side):
    def __init__(self, answer: int) -> None:
        self._answer = answer

    def run_round(self) -> int:
        return 1

    def answer(self) -> object:
        return self._answer

    def close(self) -> None: ...


def test_a_contest_with_two_answers_is_void(bench_folders: Path) -> None:
    contest = Contest(
        name="lies",
        what="",
        unit="lies",
        target=1,
        work=Work(count=1),
        peer_name="peer",
        ours=lambda folder, work: Liar(1),
        peer=lambda folder, work: Liar(2),
    )
    with pytest.raises(runner.ContestVoid, match="lies: FerrisDB answers 1, peer 2"):
        runner.hold(contest, TINY)
    assert list(bench_folders.iterdir()) == []


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_a_trial_measures_and_leaves_nothing_behind(trial: Trial, bench_folders: Path) -> None:
    figures = hold_trial(trial, 0.0004)
    assert len(figures) > 4
    promises = [figure for figure in figures if figure.bound and "p99" not in figure.name]
    assert [figure for figure in promises if not figure.is_kept] == []
    assert list(bench_folders.iterdir()) == []


def test_it_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--only", "start-up"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert "start-up: 3 rounds of 1 processes, 1 thread" in done.stdout
    assert "python -c pass" in done.stdout


def test_the_page_about_performance_explains_every_contest() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    for contest in CONTESTS:
        assert f"| {contest.name} " in page, f"{contest.name} has no row in the table"
        assert f"`{contest.name}`" in page, f"{contest.name} is not explained"
