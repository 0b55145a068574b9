"""Each rule of the optimiser alone: the plan that reaches it, and the plan that leaves it.

A fixture is named after its rule. With FERRISDB_REWRITE=1 it is written anew.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from query_lab import Lab, answered

from ferrisdb.query.algebra.operators import Plan
from ferrisdb.query.explain import explain_plan
from ferrisdb.query.optimise import RULES

FIXTURES = sorted((Path(__file__).parent / "plans" / "rules").glob("*.txt"))


def before_and_after(lab: Lab, sql: str, rule: str) -> list[str]:
    chosen: Callable[[Plan], Plan] = getattr(importlib.import_module(f"ferrisdb.query.optimise.{rule}"), rule)
    plan = lab.bound(sql)
    for earlier in RULES:
        if earlier is chosen:
            break
        plan = earlier(plan)
    return ["before:", *indented(plan), "after:", *indented(chosen(plan))]


def indented(plan: Plan) -> list[str]:
    return ["  " + line for line in explain_plan(plan)]


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_the_rule_changes_the_plan_as_its_lesson_says(path: Path) -> None:
    lab, written = Lab(), path.read_text()
    said = answered(written, lambda sql: before_and_after(lab, sql, path.stem))
    if os.environ.get("FERRISDB_REWRITE"):
        path.write_text(said)
    assert said == written or os.environ.get("FERRISDB_REWRITE")


def test_every_rule_has_its_lesson() -> None:
    assert {rule.__name__ for rule in RULES} == {path.stem for path in FIXTURES}
