"""Specs of our own, with their outcomes beside them; of an error its SQLSTATE.

With FERRISDB_REWRITE=1 the outcomes are written anew instead of compared.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ferrisdb.isolation.ferris_target import FerrisTarget
from ferrisdb.isolation.report import heading, permutation_text
from ferrisdb.isolation.runner import RunOptions, run_permutations
from ferrisdb.isolation.runs import PermutationRun
from ferrisdb.isolation.spec_parser import read_spec
from ferrisdb.isolation.target import ErrorReport

SPECS = sorted((Path(__file__).parent / "specs").glob("*.spec"))


def without_messages(run: PermutationRun) -> PermutationRun:
    """They name transactions by numbers, which say nothing to a reader."""
    for place, event in enumerate(run.events):
        if event.error is not None:
            error = ErrorReport(str(event.error.sqlstate), event.error.sqlstate)
            run.events[place] = replace(event, error=error)
    return run


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_spec_goes_as_recorded(path: Path) -> None:
    spec = read_spec(str(path))
    runs = run_permutations(spec, FerrisTarget, RunOptions())
    told = f"{heading(spec)}\n" + "".join(permutation_text(without_messages(run)) for run in runs)
    recorded = path.with_suffix(".out")
    if os.environ.get("FERRISDB_REWRITE"):
        recorded.write_text(told)
    else:
        assert told == recorded.read_text()
