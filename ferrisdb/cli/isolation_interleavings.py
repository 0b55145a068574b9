"""`ferrisdb isolation interleavings`: small transactions in every order, judged by brute force.

    level serializable
    2 transactions of 4 operations: 195,625 sets x 252 interleavings = 49,297,500
      5,000 runs of 10,000 transactions, 6,923 committed
      refused: 2,433 at a write, 644 at commit, 0 of those falsely (0.00%)
      without a serial order: 0 runs, 0 with what the level forbids

A refusal is false when there was a serial order with the transaction that was refused: the
rate says how often a program has to run again for nothing. The report goes to standard output,
progress to standard error. The exit status is 1 when a run showed what the level forbids.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator

from ferrisdb.api.choices import isolation_level
from ferrisdb.errors import InvalidParameterValue
from ferrisdb.isolation.exhaustive import Laboratory, Verdicts
from ferrisdb.isolation.small_programs import (
    SIZES,
    ProgramSet,
    Schedule,
    every_run,
    interleaving_count,
    set_count,
    some_runs,
)
from ferrisdb.txn.api import IsolationLevel

RUNS_PER_PROGRESS = 500


def run_interleavings(given: list[str]) -> int:
    """Run the command: the exit status. Raises Error."""
    options = _parser().parse_args(given)
    level = isolation_level(options.level.lower().replace("-", " "))
    if options.runs < 1:
        raise InvalidParameterValue(f"--runs is at least 1, not {options.runs}")
    if options.part is not None and not options.all:
        raise InvalidParameterValue("--part is a part of all runs: it goes with --all")
    part = _part(options.part or "1/1")
    print(f"level {level.value}")
    is_clean = True
    for count, length in SIZES:
        sets, each = set_count(count, length), interleaving_count(count, length)
        print(
            f"{count} transactions of {length} operations: "
            f"{sets:,} sets x {each:,} interleavings = {sets * each:,}"
        )
        if options.all:
            runs = every_run(count, length, *part)
        else:
            runs = some_runs(count, length, options.runs, options.seed)
        verdicts = _judge(runs, level)
        _show(verdicts)
        is_clean = is_clean and not verdicts.forbidden
    return 0 if is_clean else 1


def _judge(runs: Iterator[tuple[ProgramSet, Schedule]], level: IsolationLevel) -> Verdicts:
    laboratory = Laboratory(level)
    shows_progress = sys.stderr.isatty()
    try:
        for number, (programs, schedule) in enumerate(runs):
            laboratory.judge(programs, schedule)
            if shows_progress and number % RUNS_PER_PROGRESS == 0:
                print(f"\r{number:,} runs", end="", file=sys.stderr, flush=True)
    finally:
        laboratory.close()
        if shows_progress:
            print("\r\033[K", end="", file=sys.stderr)
    return laboratory.verdicts


def _show(verdicts: Verdicts) -> None:
    for line in str(verdicts).splitlines():
        print(f"  {line}")
    for programs, schedule, history in verdicts.examples[:1]:
        order = " ".join(str(number + 1) for number in schedule)
        print(f"  an example: {'; '.join(' '.join(program) for program in programs)}, in the order {order}")
        for line in str(history).splitlines():
            print(f"    {line}")
    sys.stdout.flush()


def _part(text: str) -> tuple[int, int]:
    matched = re.fullmatch(r"(\d+)/(\d+)", text)
    part, parts = (int(matched[1]), int(matched[2])) if matched else (0, 0)
    if not 1 <= part <= parts:
        raise InvalidParameterValue(f"--part is written as 3/8, the third of eight, not {text!r}")
    return part, parts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ferrisdb isolation interleavings",
        description="Run small transactions against each other in every order of their steps (two of four "
        "operations, three of three, over two keys and one range), and look for a serial order that explains "
        "what each has read. Exits with 1 when a run showed what the level forbids.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--level",
        default="serializable",
        help="read committed, snapshot (or repeatable read), or serializable (default: serializable)",
    )
    parser.add_argument(
        "--runs", type=int, default=2000, metavar="N", help="of each size, chosen by the seed (default: 2000)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    parser.add_argument(
        "--all",
        action="store_true",
        help="all runs, but one of those that differ only in the order of steps that do not meet: many hours",
    )
    parser.add_argument("--part", metavar="I/N", help="with --all: the part I of N, for several processes")
    return parser
