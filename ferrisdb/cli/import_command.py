"""`ferrisdb import PATH TABLE FILE.csv[.gz]`: the command line of the importer, and its reports."""

from __future__ import annotations

import argparse
import codecs
import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import ferrisdb
from ferrisdb.api.database import Database
from ferrisdb.cli.csv_file import CsvFile, CsvFormat
from ferrisdb.cli.csv_import import ImportJob, Progress, import_csv
from ferrisdb.cli.describe import identifier
from ferrisdb.errors import Error, TransactionTooLarge


def run_import(given: list[str]) -> int:
    """Run the command: the exit status. Raises Error."""
    options = _parser().parse_args(given)
    job = ImportJob(
        path=options.file,
        table_name=options.table,
        format=CsvFormat(options.delimiter, options.null, options.encoding),
        batch_rows=options.batch,
    )
    # Looked at before the database is opened: a wrong file name must not make a new folder.
    with CsvFile(job.path, job.format):
        pass
    with ferrisdb.open(options.path) as database:
        _import(database, job, shows_progress=options.progress or sys.stderr.isatty())
    return 0


def import_with_report(database: Database, table_name: str, path: str) -> None:
    """As the command does it, with the defaults. Raises Error."""
    _import(database, ImportJob(path, table_name, CsvFormat()), shows_progress=sys.stderr.isatty())


def _import(database: Database, job: ImportJob, *, shows_progress: bool) -> None:
    started_s = time.perf_counter()
    try:
        with _progress_bar(job.path, shows_progress) as progress:
            import_csv(database, job, progress)
    except TransactionTooLarge as error:
        error.hint = f"--batch 100000 commits every so many rows; {_what_stands(job)}"
        raise
    except Error as error:
        error.hint = f"{error.hint}; {_what_stands(job)}" if error.hint else _what_stands(job)
        raise
    except KeyboardInterrupt:
        print(_what_stands(job), file=sys.stderr)
        raise
    elapsed_s = time.perf_counter() - started_s
    if job.created_table is not None:
        table = job.created_table
        columns = ", ".join(f"{identifier(column.name)} {column.type}" for column in table.columns)
        print(f"created {identifier(table.name)} ({columns})", file=sys.stderr)
    print(
        f"{job.committed_rows:,} rows into {job.table_name} in {elapsed_s:.1f} s "
        f"({job.committed_rows / elapsed_s:,.0f} rows/s)",
        file=sys.stderr,
    )


def _what_stands(job: ImportJob) -> str:
    if job.committed_rows:
        return f"{job.committed_rows:,} rows were committed before and stand"
    return "nothing was changed"


@contextlib.contextmanager
def _progress_bar(path: str, is_shown: bool) -> Iterator[Progress]:
    if not is_shown:
        yield lambda read_bytes: None
        return
    # Late: a quarter of the time that a small import takes.
    from tqdm import tqdm  # noqa: PLC0415

    size_bytes = Path(path).stat().st_size if Path(path).is_file() else None
    with tqdm(total=size_bytes, desc=Path(path).name, unit="B", unit_scale=True, file=sys.stderr) as bar:

        def advance(read_bytes: int) -> None:
            # A new table's file is read twice: for its types, then for its rows.
            if size_bytes is not None and bar.n + read_bytes > size_bytes:
                bar.reset(total=size_bytes)
            bar.update(read_bytes)

        yield advance


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ferrisdb import",
        description="Load a CSV file with a header into a table. A table that does not exist is created; "
        "the types of its columns are inferred from all values. An empty field is NULL, in text columns too, "
        'and "" is the empty text. All rows are loaded in one transaction.',
        allow_abbrev=False,
    )
    parser.add_argument("path", metavar="PATH", help="folder of the database")
    parser.add_argument("table", metavar="TABLE")
    parser.add_argument("file", metavar="FILE", help="a .csv, or a .csv.gz")
    parser.add_argument(
        "--delimiter",
        metavar="C",
        default=",",
        type=_delimiter,
        help="between fields; tab is \\t (default: ,)",
    )
    parser.add_argument(
        "--null", metavar="TEXT", default="", help="the unquoted text that is NULL (default: empty)"
    )
    parser.add_argument(
        "--encoding", metavar="NAME", default="utf-8-sig", type=_encoding, help="(default: UTF-8)"
    )
    parser.add_argument(
        "--batch", metavar="N", type=_batch_rows, help="commit every N rows; after an error those stand"
    )
    parser.add_argument("--progress", action="store_true", help="show a progress bar, also into a pipe")
    return parser


def _delimiter(given: str) -> str:
    delimiter = "\t" if given == "\\t" else given
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise argparse.ArgumentTypeError(f"a delimiter is one character, not {given!r}")
    return delimiter


def _encoding(given: str) -> str:
    try:
        name = codecs.lookup(given).name
        " ".encode(name)  # else base64 and its like would pass
    except (LookupError, UnicodeError):
        raise argparse.ArgumentTypeError(f"there is no encoding {given!r}") from None
    return "utf-8-sig" if name == "utf-8" else name


def _batch_rows(given: str) -> int:
    if not given.isdecimal() or int(given) < 1:
        raise argparse.ArgumentTypeError(f"a number of rows of at least 1, not {given!r}")
    return int(given)
