"""`ferrisdb isolation run | matrix | fuzz | interleavings`: the laboratory from the command line.

    run SPEC...      run isolation specs, in the format of PostgreSQL's isolationtester
    matrix           which anomalies the levels let through
    fuzz             random transactions, and the cycles in what they saw
    interleavings    small transactions in every order, judged by brute force

Each part is imported when it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

_USAGE = """\
usage: ferrisdb isolation COMMAND ...

What a database really does when transactions meet.

  run SPEC...   run isolation specs step by step (PostgreSQL's isolationtester format)
  matrix        anomalies x isolation levels: prevented, allowed, or errored
  fuzz          random transactions against each other, checked for dependency cycles
  interleavings small transactions in every order of their steps, judged by brute force

`ferrisdb isolation COMMAND --help` tells more."""


def run_isolation(given: list[str]) -> int:
    """Run the command: the exit status. Raises Error."""
    if given[:1] and given[0] in _PARTS:
        return _PARTS[given[0]](given[1:])
    if given[:1] in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    print(_USAGE, file=sys.stderr)
    if given:
        print(f"ferrisdb isolation: there is no command {given[0]!r}", file=sys.stderr)
    return 2


def _run(given: list[str]) -> int:
    from ferrisdb.cli.isolation_run import run_specs  # noqa: PLC0415

    return run_specs(given)


def _matrix(given: list[str]) -> int:
    from ferrisdb.cli.isolation_matrix import run_matrix  # noqa: PLC0415

    return run_matrix(given)


def _fuzz(given: list[str]) -> int:
    from ferrisdb.cli.isolation_fuzz import run_fuzz  # noqa: PLC0415

    return run_fuzz(given)


def _interleavings(given: list[str]) -> int:
    from ferrisdb.cli.isolation_interleavings import run_interleavings  # noqa: PLC0415

    return run_interleavings(given)


_PARTS: dict[str, Callable[[list[str]], int]] = {
    "run": _run,
    "matrix": _matrix,
    "fuzz": _fuzz,
    "interleavings": _interleavings,
}
