"""`ferrisdb restore DIR PATH [--backup N]`: make a database of a backup."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ferrisdb.cli.backup_command import progress_bar
from ferrisdb.storage.backup_store import BackupStore
from ferrisdb.storage.os_env import OsEnv
from ferrisdb.storage.restore import restore_backup


def run_restore(given: list[str]) -> int:
    """Run the command: the exit status. Raises Error."""
    options = _parser().parse_args(given)
    env = OsEnv()
    store = BackupStore(env, Path(options.directory).as_posix())
    folder = Path(options.path).as_posix()
    with progress_bar("restore", is_shown=options.progress or sys.stderr.isatty()) as progress:
        backup = restore_backup(store, env, folder, number=options.backup, progress=progress)
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
    parser.add_argument("--backup", metavar="N", type=_number, help="which backup (default: the newest)")
    parser.add_argument("--progress", action="store_true", help="show a progress bar, also into a pipe")
    return parser


def _number(given: str) -> int:
    if not given.isdecimal():
        raise argparse.ArgumentTypeError(f"the number of a backup, not {given!r}")
    return int(given)
