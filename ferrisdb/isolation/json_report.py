"""A run as data: one JSON object for each permutation, on a line of its own."""

from __future__ import annotations

import json
from typing import Any

from ferrisdb.isolation.report import text_of
from ferrisdb.isolation.runs import PermutationRun, StepEvent
from ferrisdb.isolation.spec import Spec
from ferrisdb.isolation.target import Answer, ErrorReport

_PLAIN = (type(None), bool, int, float, str)


def permutation_json(
    spec_name: str, spec: Spec, level: str | None, run: PermutationRun, agreement: str | None
) -> str:
    """`agreement` is what a comparison has said, None without one."""
    return json.dumps(
        {
            "spec": spec_name,
            "level": level,
            "permutation": run.order,
            "setup": [_answer(each) for each in run.setup_answers],
            "events": [_event(spec, each) for each in run.events],
            "teardown": [_answer(each) for each in run.teardown_answers],
            "failure": run.failure,
            "teardown_failures": run.teardown_failures,
            "agreement": agreement,
        },
        ensure_ascii=False,
    )


def _event(spec: Spec, event: StepEvent) -> dict[str, Any]:
    return {
        "step": event.step.name,
        "session": spec.sessions[event.step.session].name,
        "sql": event.sql,
        "event": event.kind.value,
        "answers": [_answer(each) for each in event.answers],
        "error": None if event.error is None else _error(event.error),
    }


def _error(error: ErrorReport) -> dict[str, Any]:
    return {"sqlstate": error.sqlstate, "message": error.message}


def _answer(answer: Answer) -> dict[str, Any]:
    rows = [[value if isinstance(value, _PLAIN) else text_of(value) for value in row] for row in answer.rows]
    return {"columns": answer.columns, "rows": rows}
