"""`ferrisdb backup`: make, list, verify and delete backups.

    ferrisdb backup PATH DIR               add a backup of the database PATH to the store DIR
    ferrisdb backup --list DIR             what is there: on standard output, a table
    ferrisdb backup --verify DIR [N]       read every byte: a line for each finding, exit status 1
    ferrisdb backup --delete DIR N ...     delete backups
    ferrisdb backup --keep-last N DIR      delete all but the newest

A database that a process has open is backed up in that process, by `db.backup`.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import ferrisdb
from ferrisdb.api.choices import checked_path
from ferrisdb.cli.draw_table import draw_table
from ferrisdb.errors import DatabaseLocked, render
from ferrisdb.storage.backup import Progress, delete_backups, ignore_progress, keep_last_backups
from ferrisdb.storage.backup_store import Backup, BackupStore
from ferrisdb.storage.backup_verify import verify_backups
from ferrisdb.storage.inspect_folder import require_database
from ferrisdb.storage.os_env import OsEnv


def run_backup(given: list[str]) -> int:
    """Run the command: the exit status. Raises Error."""
    parser = _parser()
    options = parser.parse_args(given)
    names: list[str] = options.names
    shows_progress = options.progress or sys.stderr.isatty()
    if options.list:
        _require_count(parser, names, 1, "--list takes DIR")
        return _list(_store(names[0]))
    if options.verify:
        _require_count(parser, names[:2], len(names), "--verify takes DIR and perhaps one N")
        number = _numbers(parser, names[1:])[0] if len(names) == 2 else None
        return _verify(_store(names[0]), number, shows_progress=shows_progress)
    if options.delete:
        if len(names) < 2:
            parser.error("--delete takes DIR and at least one N")
        delete_backups(_store(names[0]), _numbers(parser, names[1:]))
        return 0
    if options.keep_last is not None and len(names) == 1:
        gone = keep_last_backups(_store(names[0]), options.keep_last)
        print(f"deleted {_count(len(gone), 'backup')}", file=sys.stderr)
        return 0
    _require_count(parser, names, 2, "PATH of a database and DIR of a backup store are needed")
    return _make(names[0], names[1], options.keep_last, shows_progress=shows_progress)


def _make(path: str, directory: str, keep_last: int | None, *, shows_progress: bool) -> int:
    # Opening would make a database where there is none.
    require_database(OsEnv(), folder_given(path))
    try:
        database = ferrisdb.open(path)
    except DatabaseLocked as error:
        error.hint = "call db.backup(...) in the process that has it open, or close it there first"
        raise
    with database, progress_bar("backup", is_shown=shows_progress) as progress:
        made = database.backup(directory, keep_last=keep_last, progress=progress)
    print(
        f"backup {made.number}: {_count(made.table_count, 'table')}, {made.table_bytes:,} bytes; "
        f"copied {_count(made.copied_count, 'new table')}, {made.copied_bytes:,} bytes",
        file=sys.stderr,
    )
    return 0


def _list(store: BackupStore) -> int:
    store.require()
    sound, damaged = store.read_all()
    rows = [_row(description.backup) for description in sound]
    if rows:
        headers = ["backup", "made at (UTC)", "last commit", "tables", "bytes", "new tables", "new bytes"]
        print(draw_table(rows, headers, "presto", disable_numparse=True, colalign=_ALIGNED))
        sys.stdout.flush()
    else:
        print(f"{store.folder} has no backup that can be read", file=sys.stderr)
    for error in damaged:
        print(render(error), file=sys.stderr)
    return 1 if damaged else 0


_ALIGNED = ("right", "left", "right", "right", "right", "right", "right")


def _row(backup: Backup) -> list[str]:
    figures = (backup.last_timestamp, backup.table_count, backup.table_bytes)
    copied = (backup.copied_count, backup.copied_bytes)
    return [
        str(backup.number),
        f"{backup.made_at:%Y-%m-%d %H:%M:%S}",
        *(f"{figure:,}" for figure in (*figures, *copied)),
    ]


def _verify(store: BackupStore, number: int | None, *, shows_progress: bool) -> int:
    with progress_bar("verify", is_shown=shows_progress) as progress:
        report = verify_backups(store, number, progress)
    for finding in report.findings:
        print(finding)
    sys.stdout.flush()
    figures = (
        f"{_count(len(report.backups), 'backup')} with {_count(report.tables, 'table')}, "
        f"{report.table_bytes:,} bytes"
    )
    print(f"{'damaged' if report.findings else 'ok'}: {figures}", file=sys.stderr)
    if report.damaged:
        print(f"cannot be restored: {', '.join(map(str, report.damaged))}", file=sys.stderr)
    return 1 if report.findings else 0


@contextlib.contextmanager
def progress_bar(what: str, *, is_shown: bool) -> Iterator[Progress]:
    """A bar on standard error, when it is shown; it appears with the first bytes."""
    if not is_shown:
        yield ignore_progress
        return
    # Late: it takes longer to import than a small database to copy.
    from tqdm import tqdm  # noqa: PLC0415

    with tqdm(total=0, desc=what, unit="B", unit_scale=True, file=sys.stderr) as bar:

        def advance(done_bytes: int, total_bytes: int) -> None:
            bar.total = total_bytes
            bar.update(done_bytes)

        yield advance


def _store(directory: str) -> BackupStore:
    return BackupStore(OsEnv(), folder_given(directory))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _require_count(parser: argparse.ArgumentParser, names: list[str], count: int, usage: str) -> None:
    if len(names) != count:
        parser.error(usage)


def _numbers(parser: argparse.ArgumentParser, given: list[str]) -> list[int]:
    try:
        return [backup_number(text) for text in given]
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))


def backup_number(given: str) -> int:
    """Raises ArgumentTypeError for what is none; one of 19 digits is the longest that a file may have."""
    if not given.isdecimal() or len(given) > 19:
        raise argparse.ArgumentTypeError(f"the number of a backup, not {given[:40]!r}")
    return int(given)


def folder_given(text: str) -> str:
    """As it is named in messages. InterfaceError for an empty one: it must not mean "here"."""
    return Path(checked_path(text)).as_posix()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ferrisdb backup",
        usage="ferrisdb backup PATH DIR [--keep-last N]\n"
        "       ferrisdb backup --list DIR\n"
        "       ferrisdb backup --verify DIR [N]\n"
        "       ferrisdb backup --delete DIR N [N ...]\n"
        "       ferrisdb backup --keep-last N DIR",
        description="Add a backup of the database PATH to the backup store DIR; only tables that no earlier "
        "backup has are copied. Or look after the store. `ferrisdb restore` makes a database of a backup.",
        allow_abbrev=False,
    )
    parser.add_argument("names", metavar="PATH | DIR | N", nargs="+", help="see above")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="the backups in DIR")
    what.add_argument("--verify", action="store_true", help="read every byte of one, or of all")
    what.add_argument("--delete", action="store_true", help="delete backups, and tables only they have")
    what.add_argument(
        "--keep-last", metavar="N", type=_at_least_one, help="delete all but the N newest; after the backup"
    )
    parser.add_argument("--progress", action="store_true", help="show a progress bar, also into a pipe")
    return parser


def _at_least_one(given: str) -> int:
    if not given.isdecimal() or len(given) > 19 or int(given) < 1:
        raise argparse.ArgumentTypeError(f"a number of backups of at least 1, not {given[:40]!r}")
    return int(given)
