"""`ferrisdb isolation run SPEC...`: what each permutation did, on standard output.

Without `--path` or `--url` each permutation gets a FerrisDB in memory of its own. The output is
isolationtester's, so it can be compared with a recorded one by diff; `--expected` compares
the outcomes, and says on standard error where they differ.

A spec that leaves its level open (@LEVEL@) is run at each `--level`, or at all of them.

The exit status is 0 when every permutation was run to its end and none differs.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ferrisdb.errors import Error, InvalidParameterValue
from ferrisdb.isolation.dbapi_target import opener
from ferrisdb.isolation.dialects import FERRISDB, Dialect
from ferrisdb.isolation.expected import Agreement, ExpectedPermutation, compare, read_expected
from ferrisdb.isolation.ferris_target import FerrisTarget
from ferrisdb.isolation.json_report import permutation_json
from ferrisdb.isolation.report import heading, permutation_text
from ferrisdb.isolation.runner import RunOptions, run_permutation
from ferrisdb.isolation.runs import PermutationRun
from ferrisdb.isolation.spec import Permutation, Spec, order_of
from ferrisdb.isolation.spec_parser import read_spec, render_spec_error
from ferrisdb.isolation.target import OpenTarget


@dataclass
class _Tally:
    permutations: int = 0
    failed: int = 0
    by_agreement: dict[Agreement, int] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return self.failed == 0 and Agreement.DIFFERENT not in self.by_agreement


Expected = dict[str, ExpectedPermutation]


def run_specs(given: list[str]) -> int:
    """Run the command: the exit status. Raises Error."""
    parser = _parser()
    options = parser.parse_args(given)
    if options.path is not None and options.url is not None:
        parser.error("--path is a FerrisDB, --url any database: give one of them")
    dialect, open_target = target_of(options.path, options.url)
    tally = _Tally()
    is_readable = True
    for path in options.specs:
        try:
            spec = read_spec(path)
        except Error as error:
            print(render_spec_error(error), file=sys.stderr)
            is_readable = False
            continue
        for level in _levels(spec, options.level, dialect):
            _run_at(level, path, spec, options, tally=tally, open_target=open_target)
    sys.stdout.flush()
    if options.expected is not None:
        print(_verdict(tally), file=sys.stderr)
    return 0 if is_readable and tally.is_good else 1


def target_of(path: str | None, url: str | None) -> tuple[Dialect, OpenTarget]:
    """Raises Error, where a URL is wrong or what it names cannot be reached."""
    if url is not None:
        return opener(url)
    if path is not None:
        return FERRISDB, lambda: FerrisTarget(path)
    return FERRISDB, FerrisTarget


def _levels(spec: Spec, chosen: list[str] | None, dialect: Dialect) -> list[str | None]:
    if not spec.leaves_level_open:
        return [None]
    return [*(chosen or [level.name for level in dialect.levels])]


def _run_at(
    level: str | None,
    path: str,
    spec: Spec,
    options: argparse.Namespace,
    *,
    tally: _Tally,
    open_target: OpenTarget,
) -> None:
    expected = _expected_for(path, options.expected)
    if options.format == "text":
        if len(options.specs) > 1:
            print(f"spec: {path}")
        if level is not None:
            print(f"isolation level: {level}")
        print(heading(spec))
    run_options = RunOptions(
        level=level, wait_s=options.wait_ms / 1000, step_timeout_s=options.step_timeout_s
    )
    for permutation in _chosen(spec, options.permutation):
        run = run_permutation(spec, permutation, open_target, run_options)
        tally.permutations += 1
        tally.failed += run.failure is not None
        agreement = _compared(path, run, expected, tally)
        if options.format == "json":
            print(permutation_json(path, spec, level, run, agreement and agreement.value))
        else:
            print(permutation_text(run), end="")
        sys.stdout.flush()


def _chosen(spec: Spec, order: str | None) -> list[Permutation]:
    """All, or the one that is asked for by the names of its steps."""
    permutations = list(spec.permutations())
    if order is None:
        return permutations
    wanted = " ".join(order.split())
    found = [each for each in permutations if order_of(each) == wanted]
    if not found:
        raise InvalidParameterValue(f"the spec has no permutation {wanted}")
    return found


def _expected_for(path: str, given: str | None) -> Expected | None:
    if given is None:
        return None
    place = Path(given)
    return read_expected(str(place / f"{Path(path).stem}.out" if place.is_dir() else place))


def _compared(path: str, run: PermutationRun, expected: Expected | None, tally: _Tally) -> Agreement | None:
    if expected is None:
        return None
    agreement, differences = compare(run, expected.get(run.order))
    tally.by_agreement[agreement] = tally.by_agreement.get(agreement, 0) + 1
    if agreement is Agreement.DIFFERENT:
        print(f"{path}: {run.order}: different", file=sys.stderr)
        for line in differences:
            print(f"  {line}", file=sys.stderr)
    return agreement


def _verdict(tally: _Tally) -> str:
    counts = ", ".join(f"{tally.by_agreement.get(each, 0)} {each.value}" for each in Agreement)
    return f"{tally.permutations} permutations: {counts}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ferrisdb isolation run",
        description="Run isolation specs, in the format of PostgreSQL's isolationtester, and show what every "
        "step did. Exits with 0 when all permutations were run to their ends and none differs from "
        "--expected.",
        allow_abbrev=False,
    )
    parser.add_argument("specs", metavar="SPEC", nargs="+", help="files")
    add_target_arguments(parser)
    parser.add_argument(
        "--level",
        metavar="LEVEL",
        action="append",
        help="stands for @LEVEL@; may be given again (default: every level of the database)",
    )
    parser.add_argument("--permutation", metavar="STEPS", help='run only this one: "s1 s2 s1c"')
    parser.add_argument(
        "--expected", metavar="FILE|DIR", help="recorded output, or the folder with NAME.out for each spec"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    return parser


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """What `run` and `matrix` have in common: where to run, and how long to wait."""
    parser.add_argument("--path", metavar="PATH", help="folder of a FerrisDB (default: one in memory)")
    parser.add_argument(
        "--url",
        metavar="URL",
        help='another database: sqlite3:connect("file.db"), or a URL of SQLAlchemy',
    )
    parser.add_argument(
        "--wait-ms",
        metavar="MS",
        type=_positive,
        default=100,
        help="when a step counts as waiting, where the database cannot be asked (default: 100)",
    )
    parser.add_argument(
        "--step-timeout",
        dest="step_timeout_s",
        metavar="S",
        type=_positive,
        default=20,
        help="seconds after which a step is given up (default: 20)",
    )


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value
