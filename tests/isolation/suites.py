"""Where the suites that others wrote lie: beside the checkout, if they are there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., Any])

SUITES = Path(__file__).resolve().parents[3] / "shared" / "suites" / "isolation"


def specs_of(suite: str) -> list[Path]:
    return sorted((SUITES / suite).glob("*.spec"))


def needs_suites(test: Test) -> Test:
    """A mark: the test is skipped, with the reason, where the suites are not."""
    is_absent = not SUITES.is_dir()
    return pytest.mark.shared(
        pytest.mark.skipif(is_absent, reason=f"needs the suites in {SUITES}, which are not here")(test)
    )
