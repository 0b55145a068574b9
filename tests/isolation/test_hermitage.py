"""The 14 Hermitage cases at all three levels, through SQL and through the ordered bytes.

The cases are Martin Kleppmann's (Hermitage, CC-BY 4.0). What each must come to is data, in
hermitage_outcomes.toml.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bytes_target import BytesTarget
from suites import needs_suites, specs_of

from ferrisdb.isolation.anomalies import committed_sessions
from ferrisdb.isolation.ferris_target import FerrisTarget
from ferrisdb.isolation.report import permutation_text
from ferrisdb.isolation.runner import RunOptions, run_permutations
from ferrisdb.isolation.runs import PermutationRun
from ferrisdb.isolation.spec import Spec
from ferrisdb.isolation.spec_parser import parse_spec
from ferrisdb.isolation.target import OpenTarget

OUTCOMES = tomllib.loads((Path(__file__).parent / "hermitage_outcomes.toml").read_text())
LEVELS = ["read committed", "snapshot", "repeatable read", "serializable"]
CASES = specs_of("hermitage")
RULES = {"aborts", "one_of", "waits", "either", "rolls_back"}


def outcome_at(case: str, level: str) -> dict[str, Any]:
    """The entry of the level, or of the strongest below it that has one."""
    level = {"repeatable read": "snapshot"}.get(level, level)
    weaker = ["read committed", "snapshot", "serializable"]
    for each in reversed(weaker[: weaker.index(level) + 1]):
        if each in OUTCOMES[case]:
            return OUTCOMES[case][each]  # type: ignore[no-any-return]
    raise AssertionError(f"{case} has no outcome at {level}")


def play(case: Path, level: str, open_target: OpenTarget) -> tuple[Spec, PermutationRun]:
    """Run the case, and look at the table in the end."""
    text, permutation = case.read_text().split("permutation", 1)
    spec = parse_spec(
        f"{text}session after step final {{ select * from test order by id; }}\n"
        f"permutation {permutation.strip()} final"
    )
    (run,) = run_permutations(spec, open_target, RunOptions(level.upper(), abort_on_error=True))
    return spec, run


def check(spec: Spec, run: PermutationRun, outcome: dict[str, Any]) -> None:
    shown = permutation_text(run)
    assert run.failure is None, shown
    sessions = {session.name for session in spec.sessions} - {"after"}
    aborted = sessions - {spec.sessions[index].name for index in committed_sessions(run)}
    aborted -= set(outcome.get("rolls_back", ()))
    if "one_of" in outcome:
        assert len(aborted) == 1, shown
        assert aborted <= set(outcome["one_of"]), shown
    else:
        assert aborted == set(outcome.get("aborts", ())), shown
    assert run.waited >= set(outcome.get("waits", ())), shown
    for step, event in run.outcomes().items():
        if spec.sessions[event.step.session].name in aborted:
            continue
        rows = [list(row) for row in event.answers[-1].rows] if event.answers else None
        if step in outcome:
            assert rows == outcome[step], shown
        elif step in outcome.get("either", {}):
            assert rows in outcome["either"][step], shown


@needs_suites
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_a_case_comes_to_what_its_level_promises(case: Path, level: str) -> None:
    spec, run = play(case, level, FerrisTarget)
    check(spec, run, outcome_at(case.stem, level))


@needs_suites
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_it_is_the_same_without_sql(case: Path, level: str) -> None:
    spec, run = play(case, level, BytesTarget)
    check(spec, run, outcome_at(case.stem, level))


@needs_suites
def test_no_case_and_no_step_has_gone_missing() -> None:
    assert {case.stem for case in CASES} == OUTCOMES.keys()
    assert len(CASES) == 14
    for case in CASES:
        spec = parse_spec(case.read_text())
        known = {step.name for session in spec.sessions for step in session.steps} | {"final"} | RULES
        for outcome in OUTCOMES[case.stem].values():
            assert outcome.keys() <= known
            assert set(outcome.get("waits", ())) <= known
