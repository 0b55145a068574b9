"""Dot commands: words to the shell, not to the database.

.help   .tables   .schema [TABLE]   .format NAME   .read FILE   .import FILE TABLE
.timer on|off   .stats   .events [N]   .quit
.session NAME [close]   .sessions   .why   .versions TABLE KEY    (also in scripts)
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Final

from ferrisdb.cli.describe import create_table_sql, parents_first
from ferrisdb.cli.output import WRITERS
from ferrisdb.cli.script import read_text, run_script
from ferrisdb.cli.statistics_tables import describe_statistics
from ferrisdb.cli.surroundings import Surroundings
from ferrisdb.errors import ActiveTransaction, ProgrammingError, UndefinedTable
from ferrisdb.immutable import immutable
from ferrisdb.storage.event_hub import HISTORY_EVENTS

_FEW_EVENTS: Final = 20


class Leave(Exception):
    """The user asked to go."""


@immutable
class Command:
    run: Callable[[Surroundings, list[str]], None]
    usage: str
    purpose: str
    fewest: int
    most: int
    is_for_scripts: bool = False
    """The others print what has another way in a script, or make no sense there."""


def run_dot_command(line: str, surroundings: Surroundings, *, is_script: bool = False) -> None:
    """Raises ProgrammingError for an unknown command or wrong arguments; Leave."""
    try:
        name, *arguments = shlex.split(line)
    except ValueError as error:
        raise ProgrammingError(f"{line}: {error}") from None
    command = COMMANDS.get(name)
    if command is None:
        raise ProgrammingError(f"there is no command {name}", hint=".help lists the commands")
    if is_script and not command.is_for_scripts:
        raise ProgrammingError(
            f"{name} does not go in a script",
            hint="dot commands are for the prompt of the shell, all but those about sessions",
        )
    if not command.fewest <= len(arguments) <= command.most:
        raise ProgrammingError(f"it is {command.usage}", hint=".help lists the commands")
    command.run(surroundings, arguments)


def _help(surroundings: Surroundings, arguments: list[str]) -> None:
    width = max(len(command.usage) for command in COMMANDS.values())
    for command in COMMANDS.values():
        print(f"{command.usage:{width}}  {command.purpose}")


def _tables(surroundings: Surroundings, arguments: list[str]) -> None:
    for table in surroundings.connection.tables():
        print(table.name)


def _schema(surroundings: Surroundings, arguments: list[str]) -> None:
    wanted = arguments[0] if arguments else None
    tables = surroundings.connection.tables()
    found = [t for t in tables if wanted is None or t.name in {wanted, wanted.lower()}]
    if wanted is not None and not found:
        raise UndefinedTable(f'table "{wanted}" does not exist', hint=".tables lists the tables")
    for table in parents_first(found):
        print(create_table_sql(table, tables))


def _format(surroundings: Surroundings, arguments: list[str]) -> None:
    if arguments[0] not in WRITERS:
        raise ProgrammingError(f"there is no format {arguments[0]}", hint="it is " + ", ".join(WRITERS))
    surroundings.format = arguments[0]


def _read(surroundings: Surroundings, arguments: list[str]) -> None:
    run_script(surroundings, read_text(arguments[0]), name=arguments[0])


def _import(surroundings: Surroundings, arguments: list[str]) -> None:
    from ferrisdb.cli.import_command import import_with_report  # noqa: PLC0415

    if surroundings.connection.in_transaction:
        raise ActiveTransaction(
            ".import is a transaction of its own, and one is open here", hint="COMMIT or ROLLBACK first"
        )
    import_with_report(surroundings.database, arguments[1], arguments[0])


def _timer(surroundings: Surroundings, arguments: list[str]) -> None:
    if arguments[0] not in {"on", "off"}:
        raise ProgrammingError("it is .timer on or .timer off")
    surroundings.has_timer = arguments[0] == "on"


def _stats(surroundings: Surroundings, arguments: list[str]) -> None:
    print(describe_statistics(surroundings.database.statistics()))


def _events(surroundings: Surroundings, arguments: list[str]) -> None:
    text = arguments[0] if arguments else str(_FEW_EVENTS)
    is_short_number = text.isascii() and text.isdigit() and len(text) <= len(str(HISTORY_EVENTS))
    if not (is_short_number and 1 <= int(text) <= HISTORY_EVENTS):
        raise ProgrammingError(f"it is .events [N], with N from 1 to {HISTORY_EVENTS}")
    history = surroundings.database.event_history()
    for event in history[-int(text) :]:
        print(f"{event.at_s - history[0].at_s:+10.3f} s  {event}")


def _quit(surroundings: Surroundings, arguments: list[str]) -> None:
    raise Leave


def _session(surroundings: Surroundings, arguments: list[str]) -> None:
    # Late, here and below: without a second session none of it is needed.
    from ferrisdb.cli.session_commands import session  # noqa: PLC0415

    session(surroundings, arguments)


def _sessions(surroundings: Surroundings, arguments: list[str]) -> None:
    from ferrisdb.cli.session_commands import sessions  # noqa: PLC0415

    sessions(surroundings, arguments)


def _why(surroundings: Surroundings, arguments: list[str]) -> None:
    from ferrisdb.cli.session_commands import why  # noqa: PLC0415

    why(surroundings, arguments)


def _versions(surroundings: Surroundings, arguments: list[str]) -> None:
    from ferrisdb.cli.session_commands import versions  # noqa: PLC0415

    versions(surroundings, arguments)


COMMANDS = {
    ".help": Command(_help, ".help", "this list", 0, 0),
    ".tables": Command(_tables, ".tables", "names of the tables", 0, 0),
    ".schema": Command(_schema, ".schema [TABLE]", "the SQL that makes the tables, or one of them", 0, 1),
    ".format": Command(_format, ".format NAME", "of rows: " + ", ".join(WRITERS), 1, 1),
    ".read": Command(_read, ".read FILE", "run the statements of a file", 1, 1),
    ".import": Command(_import, ".import FILE TABLE", "load a CSV file, also .csv.gz", 2, 2),
    ".timer": Command(_timer, ".timer on|off", "show how long statements take", 1, 1),
    ".stats": Command(_stats, ".stats", "what the storage engine holds, has done, and pays for it", 0, 0),
    ".events": Command(_events, ".events [N]", "what it did last on its own: flushes, stalls, ...", 0, 1),
    ".session": Command(
        _session, ".session NAME [close]", "go over to session NAME; NAME> SQL runs one there", 1, 2, True
    ),
    ".sessions": Command(_sessions, ".sessions", "who is there, and who waits for whom", 0, 0, True),
    ".why": Command(_why, ".why", "why the session's last transaction was refused", 0, 0, True),
    ".versions": Command(
        _versions, ".versions TABLE KEY", "the versions of a row, and who sees which", 2, 33, True
    ),
    ".quit": Command(_quit, ".quit", "leave, as Ctrl-D does", 0, 0),
}
