"""SQLite's logic tests, by the runner that comes with them, over our DB-API."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.shared
@pytest.mark.parametrize("name", ["select1", "select2", "select3"])
def test_every_record_passes(shared: Path, name: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            str(shared / "tools" / "slt_run.py"),
            "--engine",
            "postgresql",
            "--connect",
            'ferrisdb:connect(":memory:", autocommit=True)',
            "--autocommit",
            str(shared / "suites" / "sqllogictest" / f"{name}.test"),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'failed': 0" in done.stdout
    assert "'executed': 0" not in done.stdout
