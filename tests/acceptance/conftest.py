"""The suites that others wrote lie beside the checkout; a clone without them skips, and says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared"


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"needs the test suites in {SHARED}, which are not in this repository")
    return SHARED


class Shell:
    """The `ferrisdb` command, as a user runs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "ferrisdb", *map(str, arguments)]

    def run(
        self, *arguments: str | Path, stdin: str = "", timeout_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=self.folder,
            env={**os.environ, "PYTHONWARNINGS": "error"},
            check=False,
        )

    def ok(self, *arguments: str | Path, stdin: str = "") -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)
