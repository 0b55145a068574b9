"""The command `ferrisdb`: what it is asked for, and how it ends.

    ferrisdb [PATH]                      the shell, when standard input is a terminal
    ferrisdb [PATH] -c SQL | -f FILE     run and leave
    ... | ferrisdb [PATH]                run what comes through the pipe
    ferrisdb --read-only PATH ...        each of these, beside a process that writes there
    ferrisdb import PATH TABLE FILE      load a CSV file
    ferrisdb inspect PATH wal | ...      show what the files hold, byte by byte
    ferrisdb check PATH                  verify every file
    ferrisdb backup PATH DIR | --list .. add a backup to a store, or look after the store
    ferrisdb restore DIR PATH            make a database of a backup
    ferrisdb isolation run | matrix      what happens when transactions meet, step by step
    ferrisdb salvage SRC DST             save what a damaged database still has

Whatever happens, the user sees one clear report on standard error, never a traceback.
Nothing that only the shell or one format needs is imported before it is needed: a short
statement is run and shown in less time than the libraries of the shell take to load.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import ferrisdb
from ferrisdb.errors import Error, InternalError, OperationalError, render

FORMATS = ("table", "box", "csv", "json", "jsonl", "markdown", "line", "html")
TRACEBACK_VARIABLE = "FERRISDB_TRACEBACK"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: the exit status. Leaves by SystemExit for --help and wrong usage."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if sys.stderr is None:  # closed by who started the program: print would take standard output
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    try:
        if sys.stdout is None:
            raise OperationalError("standard output is closed")
        if given[:1] and given[0] in _COMMANDS:
            return _COMMANDS[given[0]](given[1:])
        return _shell(given)
    except KeyboardInterrupt:
        print("cancelled", file=sys.stderr)
    except BrokenPipeError:
        # The reader, as `head`, has seen enough. Python would try to flush once more at exit
        # and complain; now it flushes into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Error as error:
        print(render(error), file=sys.stderr)
    except OSError as error:  # as when the disk that standard output goes to is full
        print(render(OperationalError(str(error))), file=sys.stderr)
    except Exception as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        print(render(_fault(error)), file=sys.stderr)
    return 1


def _fault(error: Exception) -> Error:
    return InternalError(
        f"{type(error).__name__}: {error}",
        hint=f"this is a bug in FerrisDB; please report it ({TRACEBACK_VARIABLE}=1 shows where)",
    )


def _shell(given: list[str]) -> int:
    options = _shell_parser().parse_args(given)
    if options.command is None and options.file is None and sys.stdin is not None and sys.stdin.isatty():
        from ferrisdb.cli.shell import Shell  # noqa: PLC0415

        with ferrisdb.open(options.path, read_only=options.read_only) as database:
            return Shell(database, options.format).run()
    return _script(options)


def _script(options: argparse.Namespace) -> int:
    from ferrisdb.cli import script  # noqa: PLC0415
    from ferrisdb.cli.surroundings import Surroundings  # noqa: PLC0415

    text, name = options.command, "the command"
    if options.file not in (None, "-"):
        # Read before the database is opened: a wrong file name must not make a new folder.
        text, name = script.read_text(options.file), options.file
    connection = ferrisdb.connect(options.path, autocommit=True, read_only=options.read_only)
    surroundings = Surroundings(connection, options.format)
    try:
        if text is None:
            name = "standard input"
            script.run_stream(surroundings, script.standard_input(), name=name)
        else:
            file = None if options.file is None else name
            script.run_script(surroundings, text, name=file)
        script.require_no_transaction(connection, name)
        sys.stdout.flush()
    except script.ScriptFailed as failure:
        sys.stdout.flush()
        print(failure, file=sys.stderr)
        return 1
    finally:
        surroundings.close()
    return 1 if surroundings.has_failed_step else 0


def _shell_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ferrisdb",
        description="Run SQL in a FerrisDB database, or type it in the shell.",
        epilog="`ferrisdb import --help` tells how to load CSV files, `ferrisdb inspect --help` how to "
        "look into a database's files, `ferrisdb check --help` how to verify them, `ferrisdb backup --help` "
        "how to keep copies, `ferrisdb salvage --help` how to save what a damaged one still has, "
        "`ferrisdb isolation --help` how to see what isolation levels do. "
        "A database in a folder called import is ./import.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "path",
        metavar="PATH",
        nargs="?",
        default=":memory:",
        help="folder of the database (default: :memory:)",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("-c", dest="command", metavar="SQL", help="run these statements and leave")
    source.add_argument(
        "-f",
        dest="file",
        metavar="FILE",
        help="run the statements of this file (- is standard input) and leave",
    )
    parser.add_argument(
        "--read-only",
        action="store_true",
        help="change nothing and lock nothing; works while another process writes the database",
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="of the rows (default: table)")
    parser.add_argument("--version", action="version", version=f"ferrisdb {ferrisdb.__version__}")
    return parser


def _import(given: list[str]) -> int:
    from ferrisdb.cli.import_command import run_import  # noqa: PLC0415

    return run_import(given)


def _inspect(given: list[str]) -> int:
    from ferrisdb.cli.inspect_command import run_inspect  # noqa: PLC0415

    return run_inspect(given)


def _check(given: list[str]) -> int:
    from ferrisdb.cli.check_command import run_check  # noqa: PLC0415

    return run_check(given)


def _backup(given: list[str]) -> int:
    from ferrisdb.cli.backup_command import run_backup  # noqa: PLC0415

    return run_backup(given)


def _restore(given: list[str]) -> int:
    from ferrisdb.cli.restore_command import run_restore  # noqa: PLC0415

    return run_restore(given)


def _salvage(given: list[str]) -> int:
    from ferrisdb.cli.salvage_command import run_salvage  # noqa: PLC0415

    return run_salvage(given)


def _isolation(given: list[str]) -> int:
    from ferrisdb.cli.isolation_command import run_isolation  # noqa: PLC0415

    return run_isolation(given)


_COMMANDS = {
    "import": _import,
    "inspect": _inspect,
    "check": _check,
    "backup": _backup,
    "restore": _restore,
    "salvage": _salvage,
    "isolation": _isolation,
}
