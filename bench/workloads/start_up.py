"""A whole process: from the shell's Enter to the answer.

The peer does nothing at all (`python -c pass`), so it is what Python itself costs. The
target of 0.20 is "not more than five times that".
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.contest import Contest, Side, Work


class Process(Side):
    def __init__(self, command: list[str], folder: Path, work: Work) -> None:
        self._command = command
        self._folder = folder
        self._work = work

    def run_round(self) -> int:
        for _ in range(self._work.count):
            subprocess.run(self._command, cwd=self._folder, check=True, capture_output=True)
        return self._work.count

    def answer(self) -> object:
        return "every process ended with status 0"

    def close(self) -> None:
        """Nothing is left behind."""


def _ferris(folder: Path, work: Work) -> Side:
    # The installed script, next to this interpreter: what a user's shell finds.
    return Process([str(Path(sys.executable).with_name("ferrisdb")), "-c", "SELECT 1"], folder, work)


def _bare_python(folder: Path, work: Work) -> Side:
    return Process([sys.executable, "-c", "pass"], folder, work)


CONTESTS = (
    Contest(
        name="start-up",
        what='ferrisdb -c "SELECT 1", the whole process',
        unit="processes",
        target=0.2,
        work=Work(count=3),
        peer_name="python -c pass",
        ours=_ferris,
        peer=_bare_python,
    ),
)
