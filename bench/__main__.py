"""`python -m bench`: run the contests, or one trial, and print the table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence

from tqdm import tqdm

from bench.contest import FULL, QUICK, Contest
from bench.report import figures_table, machine_line, outcome_line, table
from bench.runner import ContestVoid, hold
from bench.trial import hold_trial
from bench.trials import TRIALS
from bench.workloads import CONTESTS


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.trial:
        return _trial(options.trial, QUICK.factor if options.quick else FULL.factor, options.format)
    chosen = [contest for contest in CONTESTS if not options.only or contest.name in options.only]
    size = QUICK if options.quick else FULL
    print(machine_line())
    outcomes = []
    for contest in _with_progress(chosen):
        try:
            outcome = hold(contest, size)
        except ContestVoid as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        outcomes.append(outcome)
        tqdm.write(outcome_line(outcome))
    print(f"\n{table(outcomes, options.format)}")
    return 0


def _trial(name: str, factor: float, table_format: str) -> int:
    """Hold one trial. Exit status 1 when it did not keep a bound."""
    print(machine_line())
    trial = next(trial for trial in TRIALS if trial.name == name)
    figures = hold_trial(trial, factor)
    print(f"\n{figures_table(figures, table_format)}")
    return 0 if all(figure.is_kept for figure in figures) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="FerrisDB beside its peers: same work, same run, same disk."
    )
    parser.add_argument("--quick", action="store_true", help="a smaller run of a few seconds")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=[contest.name for contest in CONTESTS],
        help="only these: " + ", ".join(contest.name for contest in CONTESTS),
    )
    parser.add_argument(
        "--trial",
        choices=[trial.name for trial in TRIALS],
        help="instead of contests, one load with bounds: "
        + "; ".join(f"{trial.name}, {trial.what}" for trial in TRIALS),
    )
    parser.add_argument("--format", default="simple", help="a table format of tabulate: pipe is Markdown")
    return parser


def _with_progress(contests: list[Contest]) -> Iterable[Contest]:
    # disable=None: a bar on a terminal, nothing in a pipe or a log.
    return tqdm(contests, unit="contest", leave=False, disable=None)


if __name__ == "__main__":
    sys.exit(main())
