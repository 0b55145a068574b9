"""PostgreSQL's own isolation specs: an error or none, in each permutation, as it recorded.

Where FerrisDB differs, postgresql_differences.toml says so and docs/isolation/differences.md
argues it. A difference that is no longer one fails here, too.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from suites import needs_suites, specs_of

from ferrisdb.isolation.expected import Agreement, compare, read_expected
from ferrisdb.isolation.ferris_target import FerrisTarget
from ferrisdb.isolation.report import permutation_text
from ferrisdb.isolation.runner import RunOptions, run_permutations
from ferrisdb.isolation.runs import PermutationRun
from ferrisdb.isolation.spec import Spec
from ferrisdb.isolation.spec_parser import parse_spec

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "isolation" / "differences.md"
DATA: dict[str, list[dict[str, Any]]] = tomllib.loads(
    (Path(__file__).parent / "postgresql_differences.toml").read_text()
)
DIFFERENCES, LEFT_OUT = DATA["difference"], DATA["left_out"]
SPECS = specs_of("postgresql")


def difference_of(spec: str, order: str) -> dict[str, Any] | None:
    return next(
        (
            each
            for each in DIFFERENCES
            if each["spec"] == spec and (not each["permutations"] or order in each["permutations"])
        ),
        None,
    )


def outcome_word(run: PermutationRun) -> str:
    if run.failure is not None:
        return "stuck" if run.events else "setup failed"
    return "error" if run.has_error else "no error"


def spec_of(path: Path) -> Spec:
    text = path.read_text()
    for each in LEFT_OUT:
        if each["spec"] == path.stem:
            text, count = re.subn(each["text"], "", text)
            assert count, f"nothing to leave out of {path.stem}"
    return parse_spec(text)


def judged(path: Path) -> Iterator[tuple[PermutationRun, Agreement, list[str]]]:
    recorded = read_expected(str(path.with_suffix(".out")))
    for run in run_permutations(spec_of(path), FerrisTarget, RunOptions()):
        yield run, *compare(run, recorded.get(run.order))


@needs_suites
@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_each_permutation_ends_as_recorded_or_as_argued(path: Path) -> None:
    counts: Counter[str] = Counter()
    for run, agreement, lines in judged(path):
        shown = "\n".join([*lines, permutation_text(run)])
        assert "stuck" not in outcome_word(run), shown
        difference = difference_of(path.stem, run.order)
        if difference is None:
            assert agreement is not Agreement.DIFFERENT, shown
        else:
            assert agreement is Agreement.DIFFERENT, f"no difference any more:\n{shown}"
            assert outcome_word(run) == difference["ferrisdb"], shown
        counts[agreement.value] += 1
    print(path.stem, dict(counts))


def test_every_difference_is_argued_in_the_docs() -> None:
    page = PAGE.read_text()
    headings = {line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")}
    argued = [*DIFFERENCES, *LEFT_OUT]
    for difference in argued:
        assert difference["argued"] in headings, difference
        section = page.split(f"## {difference['argued']}\n")[1].split("\n## ")[0]
        assert f"`{difference['spec']}`" in section, difference
    assert headings <= {difference["argued"] for difference in argued} | {
        "What random schedules find",
        "Not differences",
    }
