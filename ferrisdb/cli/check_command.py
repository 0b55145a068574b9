"""`ferrisdb check PATH`: is every file of the database sound?

Nothing on standard output and exit status 0: yes. Otherwise one line for each finding,
`FILE: byte OFFSET: what is wrong`, and exit status 1. What was looked at, and what is
remarkable but no damage, goes to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ferrisdb.cli.inspect_command import warn_of_holder
from ferrisdb.storage.check import check_folder
from ferrisdb.storage.os_env import OsEnv


def run_check(given: list[str]) -> int:
    """Run the command: the exit status. Raises Error."""
    options = _parser().parse_args(given)
    folder = Path(options.path).as_posix()
    with progress_bar(folder, options.progress or sys.stderr.isatty()) as progress:
        report = check_folder(OsEnv(), folder, progress)
    warn_of_holder(folder)
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    for finding in report.findings:
        print(finding)
    sys.stdout.flush()
    figures = (
        f"{report.tables:,} tables with {report.blocks:,} blocks and {report.versions:,} versions, "
        f"{report.log_segments:,} log segments with {report.commits:,} commits"
    )
    verdict = f"{len(report.findings):,} found" if report.findings else "ok"
    print(f"{verdict}: {figures}", file=sys.stderr)
    return 1 if report.findings else 0


@contextlib.contextmanager
def progress_bar(folder: str, is_shown: bool, what: str = "check") -> Iterator[Callable[[int], None]]:
    if not is_shown or not Path(folder).is_dir():
        yield lambda read_bytes: None
        return
    # Late: it takes longer to import than a small database to check.
    from tqdm import tqdm  # noqa: PLC0415

    size_bytes = sum(file.stat().st_size for file in Path(folder).iterdir() if file.is_file())
    with tqdm(total=size_bytes, desc=what, unit="B", unit_scale=True, file=sys.stderr) as bar:

        def advance(read_bytes: int) -> None:
            bar.update(read_bytes)

        yield advance


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ferrisdb check",
        description="Verify every checksum and every order in a database's files. Reads only. Prints one "
        "line for each finding and exits with 1, or nothing and exits with 0.",
        allow_abbrev=False,
    )
    parser.add_argument("path", metavar="PATH", help="folder of the database")
    parser.add_argument("--progress", action="store_true", help="show a progress bar, also into a pipe")
    return parser
