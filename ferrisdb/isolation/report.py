"""A run as text in isolationtester's own format, byte for byte where the outcomes are the same.

    starting permutation: s1u s2u s1c s2c
    step s1u: update test set value = 11 where id = 1;
    step s2u: update test set value = 12 where id = 1; <waiting ...>
    step s1c: COMMIT;
    step s2u: <... completed>
    ERROR:  could not serialize access due to concurrent update
    step s2c: COMMIT;

So a recorded output of PostgreSQL's and this one can be laid side by side with diff. Values are
written as PostgreSQL writes them (t and f, nothing for NULL); columns of numbers stand right,
all others left, as libpq's PQprint aligns them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ferrisdb.isolation.runs import EventKind, PermutationRun, StepEvent
from ferrisdb.isolation.spec import Spec
from ferrisdb.isolation.target import Answer


def heading(spec: Spec) -> str:
    return f"Parsed test spec with {len(spec.sessions)} sessions"


def permutation_text(run: PermutationRun) -> str:
    """Everything about one permutation, with the empty line in front that sets it apart."""
    return "".join(f"{line}\n" for line in _lines(run))


def _lines(run: PermutationRun) -> Iterator[str]:
    yield ""
    yield f"starting permutation: {run.order}"
    for answer in run.setup_answers:
        yield from answer_lines(answer)
    for event in run.events:
        yield from _event_lines(event)
    if run.failure is not None:
        yield f"FAILED: {run.failure}"
    for answer in run.teardown_answers:
        yield from answer_lines(answer)
    for failure in run.teardown_failures:
        yield f"FAILED: {failure}"


def _event_lines(event: StepEvent) -> Iterator[str]:
    name = event.step.name
    if event.kind is EventKind.WAITING:
        yield f"step {name}: {event.sql} <waiting ...>"
    elif event.kind is EventKind.COMPLETED:
        yield f"step {name}: <... completed>"
    elif event.kind is EventKind.DONE:
        yield f"step {name}: {event.sql}"
    else:
        yield f"step {name}: <... {event.kind.value}>"
    for answer in event.answers:
        yield from answer_lines(answer)
    if event.error is not None:
        yield f"ERROR:  {event.error.message}"


def answer_lines(answer: Answer) -> Iterator[str]:
    """The rows as a table, and an empty line."""
    rows = [[text_of(value) for value in row] for row in answer.rows]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(answer.columns)
    widths = [
        max(len(name), *map(len, values), 0) for name, values in zip(answer.columns, columns, strict=True)
    ]
    are_numbers = [all(_looks_like_a_number(value) for value in values) for values in columns]

    def aligned(values: list[str] | tuple[str, ...]) -> str:
        cells = zip(values, widths, are_numbers, strict=True)
        return "|".join(
            each.rjust(width) if is_number else each.ljust(width) for each, width, is_number in cells
        )

    yield aligned(answer.columns)
    yield "+".join("-" * width for width in widths)
    for row in rows:
        yield aligned(row)
    yield "(1 row)" if len(rows) == 1 else f"({len(rows)} rows)"
    yield ""


def text_of(value: Any) -> str:
    """As PostgreSQL writes it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "\\x" + bytes(value).hex()
    return str(value)


def _looks_like_a_number(text: str) -> bool:
    if not text:
        return True
    return all(each in "0123456789.eE -" for each in text) and text[0] not in "eE" and text[-1].isdigit()
