"""The table that `python -m bench` prints, and the line for each contest."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterable

from tabulate import tabulate

import ferrisdb
from bench.runner import Outcome
from bench.trial import Figure


def machine_line() -> str:
    """What a reader must know to judge the figures; no names."""
    return (
        f"FerrisDB {ferrisdb.__version__}, sqlite3 {sqlite3.sqlite_version}, "
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    )


def outcome_line(outcome: Outcome) -> str:
    work = outcome.work
    parts = [f"{outcome.rounds} rounds of {work.count:,} {outcome.contest.unit}"]
    if work.rows:
        parts.append(f"{work.rows:,} rows")
    parts.append(f"{work.threads} thread{'s' if work.threads > 1 else ''}")
    times = f"FerrisDB {outcome.ours_s:.2f} s, {outcome.contest.peer_name} {outcome.peer_s:.2f} s"
    return f"{outcome.contest.name}: {', '.join(parts)}: {times}"


def table(outcomes: Iterable[Outcome], table_format: str = "simple") -> str:
    rows = [
        (
            outcome.contest.name,
            outcome.contest.unit,
            _rate(outcome.ours_per_s),
            _rate(outcome.peer_per_s),
            outcome.contest.peer_name,
            f"{outcome.ratio:.2f}",
            f"{outcome.contest.target:.2f}",
            "yes" if outcome.is_met else "no",
        )
        for outcome in outcomes
    ]
    return tabulate(
        rows,
        headers=["work", "unit", "FerrisDB/s", "peer/s", "peer", "ratio", "target", "met"],
        tablefmt=table_format,
        disable_numparse=True,
        colalign=("left", "left", "right", "right", "left", "right", "right", "left"),
    )


def figures_table(figures: Iterable[Figure], table_format: str = "simple") -> str:
    rows = [(figure.name, figure.value, figure.bound, _verdict(figure)) for figure in figures]
    return tabulate(
        rows,
        headers=["figure", "measured", "bound", "kept"],
        tablefmt=table_format,
        disable_numparse=True,
    )


def _verdict(figure: Figure) -> str:
    if not figure.bound:
        return ""
    return "yes" if figure.is_kept else "no"


def _rate(per_s: float) -> str:
    return f"{per_s:,.1f}" if per_s < 100 else f"{per_s:,.0f}"
