"""`ferrisdb inspect PATH ...`: look at a database's files, byte by byte.

    wal [FILE]      records of the write-ahead log
    manifest        edits of the live manifest
    levels          tables by level, and what is not flushed yet
    sst FILE        a table's parts: blocks, index, filter, properties, footer
    block FILE N    the rows of one block
    key KEY         every version of one key, file by file

Nothing is opened for writing, locked or repaired, so it also works beside a process that has
the database open; standard error then says that the files may change while they are read.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ferrisdb.cli.inspect_draw import (
    Limit,
    Lines,
    draw_block,
    draw_key,
    draw_levels,
    draw_log,
    draw_manifest,
    draw_table,
)
from ferrisdb.cli.inspect_names import KeyNames
from ferrisdb.errors import CorruptionError, InvalidParameterValue
from ferrisdb.query.catalog import tables_in
from ferrisdb.query.keyspace import names_range
from ferrisdb.storage.env import join
from ferrisdb.storage.file_names import FileKind, parse_name
from ferrisdb.storage.inspect_folder import SeenFolder, file_named, holder_pid, look_at
from ferrisdb.storage.inspect_table import TableFile
from ferrisdb.storage.os_env import OsEnv

DEFAULT_LIMIT = 100
DEFAULT_WIDTH = 60


def run_inspect(given: list[str]) -> int:
    """Run the command: the exit status. Raises Error."""
    options = _parser().parse_args(given)
    folder = Path(options.path).as_posix()
    seen = look_at(OsEnv(), folder)
    warn_of_holder(folder)
    names = KeyNames([], options.width) if options.raw else _names(seen, options.width)
    for line in _draw(seen, options, names):
        print(line)
    sys.stdout.flush()
    return 0


def warn_of_holder(folder: str) -> None:
    pid = holder_pid(OsEnv(), folder)
    if pid is not None:
        print(
            f"note: process {pid} has the database open, or died while it had; if it runs, the files may "
            "change while they are read",
            file=sys.stderr,
        )


def _names(seen: SeenFolder, width: int) -> KeyNames:
    try:
        return KeyNames(tables_in(seen.newest_rows(*names_range())), width)
    except CorruptionError as error:
        print(f"note: the catalog cannot be read, so keys are shown as bytes: {error}", file=sys.stderr)
        return KeyNames([], width)


def _draw(seen: SeenFolder, options: argparse.Namespace, names: KeyNames) -> Lines:
    limit = Limit(options.limit)
    match options.what:
        case "wal":
            return _draw_logs(seen, options.file, names, limit)
        case "manifest":
            return draw_manifest(seen, seen.manifest_number, names, limit)
        case "levels":
            return draw_levels(seen, names, limit)
        case "key":
            return draw_key(seen, names.parse_key(options.key), names, limit)
        case _:
            return _draw_table(seen, options, names, limit)


def _draw_logs(seen: SeenFolder, wanted: str | None, names: KeyNames, limit: Limit) -> Lines:
    numbers = seen.log_numbers if wanted is None else [_number(seen, wanted, FileKind.LOG)]
    for number in numbers:
        yield from draw_log(seen, number, names, limit)
    yield from limit.rest("records")


def _draw_table(seen: SeenFolder, options: argparse.Namespace, names: KeyNames, limit: Limit) -> Lines:
    number = _number(seen, options.file, FileKind.TABLE)
    name = file_named(seen.names, options.file) or options.file
    # Only the manifest knows that a table was ingested, and with which commit.
    ingested_at = {entry.number: entry.ingested_at for entry in seen.state.tables}
    table = TableFile(seen.env, join(seen.folder, name), ingested_at.get(number, 0))
    try:
        if options.what == "sst":
            yield from draw_table(table.path, table, names, limit)
        else:
            yield from draw_block(table.path, table, options.number, names, limit)
    finally:
        table.close()


def _number(seen: SeenFolder, wanted: str, kind: FileKind) -> int:
    name = file_named(seen.names, wanted)
    parsed = None if name is None else parse_name(name)
    if parsed is None or parsed[0] is not kind:
        there = [name for name in seen.names if (found := parse_name(name)) and found[0] is kind]
        raise InvalidParameterValue(
            f"{seen.folder} has no .{kind.value} file {wanted}",
            hint=f"it has {', '.join(there[:20])}" if there else f"it has no .{kind.value} file at all",
        )
    return parsed[1]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ferrisdb inspect",
        description="Show what a database's files hold: offsets, lengths, checksums, keys and values. "
        "Reads only, and works on a database that is open elsewhere.",
        allow_abbrev=False,
    )
    parser.add_argument("path", metavar="PATH", help="folder of the database")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--limit",
        metavar="N",
        type=_count,
        default=DEFAULT_LIMIT,
        help=f"show N records, edits, blocks, rows or versions at most; 0 is all (default: {DEFAULT_LIMIT})",
    )
    common.add_argument(
        "--width",
        metavar="N",
        type=_width,
        default=DEFAULT_WIDTH,
        help=f"show N characters of a key or value at most (default: {DEFAULT_WIDTH})",
    )
    common.add_argument("--raw", action="store_true", help="do not decode SQL's keys and rows")
    what = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    log = what.add_parser("wal", parents=[common], help="records of the write-ahead log")
    log.add_argument("file", metavar="FILE", nargs="?", help="one segment, as 000003.wal or 3")
    what.add_parser("manifest", parents=[common], help="edits of the live manifest")
    what.add_parser("levels", parents=[common], help="tables by level, and the log")
    table = what.add_parser("sst", parents=[common], help="the parts of a table")
    table.add_argument("file", metavar="FILE", help="as 000004.sst or 4")
    block = what.add_parser("block", parents=[common], help="the rows of one block")
    block.add_argument("file", metavar="FILE", help="as 000004.sst or 4")
    block.add_argument("number", metavar="N", type=_count, help="the block, from 0")
    key = what.add_parser("key", parents=[common], help="every version of one key, file by file")
    key.add_argument("key", metavar="KEY", help="account(3), 'text', 0xff00, or as any of these is shown")
    return parser


def _count(given: str) -> int:
    if not given.isdecimal():
        raise argparse.ArgumentTypeError(f"a number from 0, not {given!r}")
    return int(given)


def _width(given: str) -> int:
    if not given.isdecimal() or int(given) < 8:
        raise argparse.ArgumentTypeError(f"a number from 8, not {given!r}")
    return int(given)
