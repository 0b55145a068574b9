"""What a trial is: one side, much work, and bounds that it must keep.

A contest asks who is faster. A trial asks whether FerrisDB keeps a promise under a load: it
runs once, measures several figures, and each stands beside its bound. Where a figure is a
time, its bound is a multiple of another time of the same run, or so wide that the machine
does not matter.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One thing that was measured. `bound` is what it is held against, in words; empty when
    the figure is only told."""

    name: str
    value: str
    bound: str = ""
    is_kept: bool = True


@dataclass(frozen=True)
class Trial:
    name: str
    what: str
    run: Callable[[Path, float], list[Figure]]
    """In an empty folder, at this share of the full size."""


def hold_trial(trial: Trial, factor: float) -> list[Figure]:
    """Run it in a temporary folder, which is removed whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="ferrisdb-bench-"))
    try:
        return trial.run(folder, factor)
    finally:
        shutil.rmtree(folder)
