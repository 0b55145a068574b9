"""`ferrisdb restore DIR PATH [--backup N]`: make a database of a backup."""

from __future__ import annotations

import argparse
import sys

import ferrisdb
from ferrisdb.cli.backup_command import backup_number, folder_given, progress_bar


def run_restore(given: list[str]) -> int:
    """Run the command: the exit status. Raises Error."""
    options = _parser().parse_args(given)
    directory, folder = folder_given(options.directory), folder_given(options.path)
    with progress_bar("restore", is_shown=options.progress or sys.stderr.isatty()) as progress:
        backup = ferrisdb.restore(directory, folder, backup=options.backup, progress=progress)
    tables = "1 table" if backup.table_count == 1 else f"{backup.table_count:,} tables"
    print(
        f"restored backup {backup.number} of {backup.made_at:%Y-%m-%d %H:%M:%S} UTC into {options.path}: "
        f"{tables}, {backup.table_bytes:,} bytes",
        file=sys.stderr,
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ferrisdb restore",
        description="Make a database of a backup, in a folder that is empty or not there yet. Every byte is "
        "checked on the way.",
        allow_abbrev=False,
    )
    parser.add_argument("directory", metavar="DIR", help="the backup store")
    parser.add_argument("path", metavar="PATH", help="folder of the new database")
    parser.add_argument(
        "--backup", metavar="N", type=backup_number, help="which backup (default: the newest)"
    )
    parser.add_argument("--progress", action="store_true", help="show a progress bar, also into a pipe")
    return parser
