"""A recorded output of isolationtester, and where a run differs from it.

Two databases that are both right need not say the same. Messages differ; the one finds a
conflict when a row is read and the other at commit; the one of two that must lose is the
first here and the second there. What two databases at one level must have in common for each
permutation is whether anything is refused at all: `Agreement.SAME_OUTCOME`. Anything beyond
that is `SAME`: the same steps with errors, the same steps waiting, the same rows.

    SAME           every step has the same outcome
    SAME_OUTCOME   an error in both, or in neither
    DIFFERENT      an error in one only
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from pathlib import Path

from ferrisdb.errors import OperationalError
from ferrisdb.immutable import immutable
from ferrisdb.isolation.report import answer_lines
from ferrisdb.isolation.runs import EventKind, PermutationRun

_START = "starting permutation: "
_STEP = re.compile(r"step (.+?): ")
_ERROR = re.compile(r"(?:ERROR|FATAL):  ")
_SETUP_FAILED = "setup failed: "
_COMPLETED = "<... completed>"
_WAITING = "<waiting ...>"


class Agreement(enum.Enum):
    SAME = "same"
    SAME_OUTCOME = "same outcome"
    DIFFERENT = "different"


@immutable
class ExpectedStep:
    """How a step ended. `rows` are the lines of its tables."""

    has_waited: bool
    has_error: bool
    rows: tuple[str, ...]


@immutable
class ExpectedPermutation:
    """`is_refused`: its setup failed, and isolationtester went no further."""

    order: str
    steps: dict[str, ExpectedStep]
    is_refused: bool = False

    @property
    def has_error(self) -> bool:
        return any(step.has_error for step in self.steps.values())


def read_expected(path: str) -> dict[str, ExpectedPermutation]:
    """The permutations of a recorded output, by the orders of their steps. Raises OperationalError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OperationalError(f"cannot read the expected output {path}: {error}") from None
    return {each.order: each for each in parse_expected(text)}


def parse_expected(text: str) -> Iterator[ExpectedPermutation]:
    order: str | None = None
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith(_START):
            if order is not None:
                yield _permutation(order, lines)
            order, lines = line.removeprefix(_START), []
        else:
            lines.append(line)
    if order is not None:
        yield _permutation(order, lines)


def _permutation(order: str, lines: list[str]) -> ExpectedPermutation:
    is_refused = any(line.startswith(_SETUP_FAILED) for line in lines)
    return ExpectedPermutation(order, {} if is_refused else _steps(lines), is_refused)


def _steps(lines: list[str]) -> dict[str, ExpectedStep]:
    found: dict[str, ExpectedStep] = {}
    waited: set[str] = set()
    name, body = "", list[str]()

    def close() -> None:
        # The text of a step may go over several lines; it waits if the mark ends one of them.
        if any(line.endswith(_WAITING) for line in body):
            waited.add(name)
        elif name:
            has_error = any(_ERROR.match(line) for line in body)
            found[name] = ExpectedStep(name in waited, has_error, tuple(_table_lines(body)))

    for line in lines:
        match = _STEP.match(line)
        if match is not None:
            close()
            name, body = match.group(1), []
        body.append(line)
    close()
    return found


def _table_lines(body: list[str]) -> Iterator[str]:
    """From the line above each ruler to the count of rows."""
    is_inside = False
    for place, line in enumerate(body):
        following = body[place + 1] if place + 1 < len(body) else ""
        if not is_inside and place > 0 and re.fullmatch(r"-+(?:\+-+)*", following):
            is_inside = True
        if is_inside:
            yield line
            is_inside = not re.fullmatch(r"\(\d+ rows?\)", line)


def compare(run: PermutationRun, expected: ExpectedPermutation | None) -> tuple[Agreement, list[str]]:
    """How far they agree, and a line for each step that differs. None: it was not recorded."""
    if expected is None:
        return Agreement.DIFFERENT, ["the expected output has no such permutation"]
    if expected.is_refused or run.failure is not None:
        is_refused = run.failure is not None and not run.events
        if expected.is_refused and is_refused:
            return Agreement.SAME_OUTCOME, []
        return Agreement.DIFFERENT, [run.failure or "expected the setup to fail"]
    differences = list(_differences(run, expected))
    if run.has_error != expected.has_error:
        return Agreement.DIFFERENT, differences
    return (Agreement.SAME_OUTCOME if differences else Agreement.SAME), differences


def _differences(run: PermutationRun, expected: ExpectedPermutation) -> Iterator[str]:
    for name, event in run.outcomes().items():
        other = expected.steps.get(name)
        if other is None or event.kind is EventKind.SKIPPED:
            yield f"{name}: not in both"
            continue
        if (event.error is not None) != other.has_error:
            got = "no error" if event.error is None else f"error: {event.error.message}"
            yield f"{name}: expected {'an error' if other.has_error else 'no error'}, got {got}"
        if (name in run.waited) != other.has_waited:
            yield f"{name}: expected {'to wait' if other.has_waited else 'not to wait'}"
        rows = tuple(line for answer in event.answers for line in answer_lines(answer) if line)
        if rows != other.rows and not other.has_error and event.error is None:
            yield f"{name}: other rows"
