"""`ferrisdb isolation matrix`: the anomalies and the levels, as they are and as they are written.

    anomaly   read committed           snapshot                 serializable
    G0        prevented (pre / sil)    errored (pre / sil)      errored (pre / pre)
                         \\_ what the literature and the standard say of the level

A cell with a `!` lets through what the literature says the level prevents; then the exit
status is 1, and standard error says what was seen. `--steps` shows the schedules.
"""

from __future__ import annotations

import argparse
import json
import sys

from ferrisdb.cli.draw_table import draw_table
from ferrisdb.cli.isolation_run import add_target_arguments, target_of
from ferrisdb.errors import InvalidParameterValue
from ferrisdb.isolation.anomalies import Anomaly, Catalogue, catalogue
from ferrisdb.isolation.dialects import Dialect, Level
from ferrisdb.isolation.matrix import Cell, Verdict, measure
from ferrisdb.isolation.report import permutation_text


def run_matrix(given: list[str]) -> int:
    """Run the command: the exit status. Raises Error."""
    parser = _parser()
    options = parser.parse_args(given)
    if options.path is not None and options.url is not None:
        parser.error("--path is a FerrisDB, --url any database: give one of them")
    known = catalogue()
    anomalies = known.chosen(options.anomaly or ())
    dialect, open_target = target_of(options.path, options.url)
    levels = _chosen_levels(dialect, options.level)
    cells = list(
        measure(
            anomalies,
            levels,
            open_target,
            wait_s=options.wait_ms / 1000,
            step_timeout_s=options.step_timeout_s,
        )
    )
    if options.steps:
        _print_steps(cells)
    if options.format == "json":
        for cell in cells:
            print(_as_json(cell, dialect, known))
    else:
        print(_table(dialect, anomalies, levels, cells, options.format))
    sys.stdout.flush()
    return _report(cells, dialect)


def _chosen_levels(dialect: Dialect, names: list[str] | None) -> list[Level]:
    if names is None:
        return list(dialect.levels)
    chosen = []
    for name in names:
        found = [each for each in dialect.levels if name.lower() in (each.name, each.reference)]
        if not found:
            raise InvalidParameterValue(
                f"{dialect.name} has no isolation level {name!r}",
                hint=f"it has {', '.join(each.name for each in dialect.levels)}",
            )
        chosen += found
    return chosen


def _table(
    dialect: Dialect, anomalies: tuple[Anomaly, ...], levels: list[Level], cells: list[Cell], style: str
) -> str:
    by_place = {(cell.anomaly.key, cell.level.name): cell for cell in cells}
    heading = [dialect.name, "", *(level.name for level in levels)]
    rows = [
        [each.key, each.title, *(_cell_text(by_place[each.key, level.name]) for level in levels)]
        for each in anomalies
    ]
    drawn = draw_table(rows, heading, "github" if style == "markdown" else "simple")
    return f"{drawn}\n\nobserved (what the literature says of the level / what the SQL standard says)"


def _cell_text(cell: Cell) -> str:
    mark = "!" if cell.breaks_promise else ""
    return f"{cell.verdict.value}{mark} ({cell.literature} / {cell.standard})"


def _as_json(cell: Cell, dialect: Dialect, known: Catalogue) -> str:
    return json.dumps(
        {
            "database": dialect.name,
            "anomaly": cell.anomaly.key,
            "title": cell.anomaly.title,
            "level": cell.level.name,
            "observed": cell.verdict.value,
            "reason": cell.reason,
            "literature": cell.literature,
            "standard": cell.standard,
            "breaks_promise": cell.breaks_promise,
            "note": cell.anomaly.note,
            "sources": [known.sources[each] for each in cell.anomaly.sources],
        },
        ensure_ascii=False,
    )


def _print_steps(cells: list[Cell]) -> None:
    for cell in cells:
        print(f"{cell.anomaly.key} ({cell.anomaly.title}) at {cell.level.name}: {cell.verdict.value}", end="")
        print(permutation_text(cell.run))


def _report(cells: list[Cell], dialect: Dialect) -> int:
    """What must not go unseen, on standard error; the exit status."""
    status = 0
    for cell in cells:
        if cell.verdict is Verdict.UNTESTED:
            print(f"{cell.anomaly.key} at {cell.level.name} was not tested: {cell.reason}", file=sys.stderr)
            status = 1
        elif cell.breaks_promise:
            print(
                f"{dialect.name} at {cell.level.name} lets {cell.anomaly.key} ({cell.anomaly.title}) happen, "
                f"which {cell.level.reference} is said to prevent",
                file=sys.stderr,
            )
            status = 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ferrisdb isolation matrix",
        description="Run a scenario for each anomaly at each isolation level, and say whether it was "
        "prevented, errored (a transaction was refused) or allowed, with what the literature and the SQL "
        "standard say of the level. Exits with 1 when a level lets through what it is said to prevent, or "
        "a scenario could not be run.",
        epilog="The scenarios make and drop a table named ferris_lab.",
        allow_abbrev=False,
    )
    add_target_arguments(parser)
    parser.add_argument(
        "--level", metavar="LEVEL", action="append", help="only this one; may be given again (default: all)"
    )
    parser.add_argument(
        "--anomaly", metavar="KEY", action="append", help="only this one, as G2-item; may be given again"
    )
    parser.add_argument("--steps", action="store_true", help="show each scenario step by step first")
    parser.add_argument(
        "--format", choices=("table", "markdown", "json"), default="table", help="default: table"
    )
    return parser
