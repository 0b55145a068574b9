"""`ferrisdb isolation fuzz`: random transactions against each other, and what they prove.

    level snapshot, workload register: 10,000 transactions in 5 rounds, from seed 0
      committed    8,012
      allowed      write skew 61, G2-item 130
      forbidden    none

    the smallest that was found, in the round of seed 3:
    write skew: two transactions each read what the other replaced, and both acted on it
      ...
    again: ferrisdb isolation fuzz --level snapshot --kind register --transactions 2000 --seed 3

The report goes to standard output, progress to standard error. The exit status is 1 when the
database showed what the level forbids.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from dataclasses import replace

from ferrisdb.api.choices import isolation_level
from ferrisdb.errors import InvalidParameterValue
from ferrisdb.isolation.dialects import FERRISDB
from ferrisdb.isolation.fuzz import (
    ROUND_TRANSACTIONS,
    SESSIONS,
    FuzzOptions,
    FuzzTotals,
    OpenSubject,
    ferrisdb_in_memory,
    fuzz,
)
from ferrisdb.isolation.phenomena import Anomaly
from ferrisdb.isolation.workload import WorkloadKind

MAX_SESSIONS = 64


def run_fuzz(given: list[str]) -> int:
    """Run the command: the exit status. Raises Error."""
    options = _parser().parse_args(given)
    kinds = options.kind or [each.value for each in WorkloadKind]
    level = isolation_level(options.level.lower().replace("-", " "))
    chosen = FuzzOptions(
        level=level,
        transactions=_at_least_one(options.transactions, "--transactions"),
        seed=options.seed,
        sessions=_at_least_one(options.sessions, "--sessions"),
        uses_threads=options.threads or options.sql or options.url is not None,
    )
    if chosen.sessions > MAX_SESSIONS:
        raise InvalidParameterValue(f"--sessions is at most {MAX_SESSIONS}")
    open_subject = _subject(chosen, options)
    is_clean = True
    for number, kind in enumerate(kinds):
        if number:
            print()
        totals = _run(replace(chosen, kind=WorkloadKind(kind)), open_subject, options)
        is_clean = is_clean and not totals.forbidden
    return 0 if is_clean else 1


def _subject(chosen: FuzzOptions, options: argparse.Namespace) -> OpenSubject:
    if options.url is None and not options.sql:
        return ferrisdb_in_memory(chosen.level)
    from ferrisdb.isolation.dbapi_target import opener  # noqa: PLC0415
    from ferrisdb.isolation.ferris_target import FerrisTarget  # noqa: PLC0415
    from ferrisdb.isolation.subject_sql import SqlSubject  # noqa: PLC0415

    if options.url is None:
        return lambda: SqlSubject(FerrisTarget(), FERRISDB, chosen.level)
    dialect, open_target = opener(options.url)
    return lambda: SqlSubject(open_target(), dialect, chosen.level)


def _run(chosen: FuzzOptions, open_subject: OpenSubject, options: argparse.Namespace) -> FuzzTotals:
    totals = FuzzTotals(chosen.level)
    shows_progress = sys.stderr.isatty()
    for each in fuzz(chosen, open_subject):
        totals.add(each)
        if shows_progress:
            print(f"\r{totals.transactions:,} transactions", end="", file=sys.stderr, flush=True)
    if shows_progress:
        print("\r\033[K", end="", file=sys.stderr)
    rounds = f"{totals.rounds} rounds" if totals.rounds > 1 else "one round"
    print(
        f"level {chosen.level.value}, workload {chosen.kind.value}: "
        f"{totals.transactions:,} transactions in {rounds}, from seed {chosen.seed}"
    )
    print(f"  committed    {totals.committed:,}")
    print(f"  allowed      {_counted(totals.allowed)}")
    print(f"  forbidden    {_counted(totals.forbidden)}")
    if totals.smallest is not None:
        finding, shown = totals.smallest
        if shown.history is not None:
            print(f"\nthe smallest that was found, in the round of seed {shown.seed}:")
            print(finding.explain(shown.history))
            print(f"again: {_command(chosen, shown.transactions, shown.seed, options)}")
            if chosen.uses_threads:
                print("(the seed repeats the transactions; the schedule is up to the operating system)")
    sys.stdout.flush()
    return totals


def _counted(counts: Counter[Anomaly]) -> str:
    return ", ".join(f"{each.title} {count:,}" for each, count in counts.most_common()) or "none"


def _command(chosen: FuzzOptions, transactions: int, seed: int, options: argparse.Namespace) -> str:
    words = ["ferrisdb", "isolation", "fuzz", "--level", chosen.level.value, "--kind", chosen.kind.value]
    words += ["--transactions", str(transactions), "--seed", str(seed)]
    if chosen.sessions != SESSIONS:
        words += ["--sessions", str(chosen.sessions)]
    if options.url is not None:
        words += ["--url", options.url]
    elif options.sql:
        words.append("--sql")
    elif options.threads:
        words.append("--threads")
    return shlex.join(words)


def _at_least_one(number: int, what: str) -> int:
    if number < 1:
        raise InvalidParameterValue(f"{what} is at least 1, not {number}")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ferrisdb isolation fuzz",
        description="Run random transactions against each other and look for dependency cycles in what they "
        "saw (Adya 1999; Elle 2020). Prints what was found, the smallest cycle edge by edge, and the command "
        "that repeats it. Exits with 1 when the database showed what the level forbids.",
        epilog="Without --url it is a FerrisDB in memory. One thread interleaves the sessions' operations, "
        "and a seed repeats a run exactly; with --threads, --sql and --url each session is a thread, and a "
        "seed repeats the transactions alone. A --url's database gets a table named ferris_fuzz.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--level",
        default="snapshot",
        help="read committed, snapshot (or repeatable read), or serializable (default: snapshot)",
    )
    parser.add_argument(
        "--kind",
        action="append",
        choices=[each.value for each in WorkloadKind],
        help="of the transactions; may be given again (default: all three)",
    )
    parser.add_argument(
        "--transactions",
        type=int,
        default=10_000,
        metavar="N",
        help=f"of each kind, in rounds of {ROUND_TRANSACTIONS:,} (default: 10,000)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first round (default: 0)")
    parser.add_argument(
        "--sessions", type=int, default=SESSIONS, metavar="N", help=f"side by side (default: {SESSIONS})"
    )
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--threads", action="store_true", help="a thread for each session")
    way.add_argument("--sql", action="store_true", help="through SQL instead of the bytes API")
    way.add_argument("--url", help='another database: sqlite3:connect("file.db"), or a URL of SQLAlchemy')
    return parser
