"""Several statements, one after the other, until the first error.

Each statement is run by itself, as if it had been typed. A line may also be a dot command about
sessions, or a step of one of them, `a> UPDATE ...;`, which may go on over several lines. The
error of a step is told, and the script goes on: who plays a scene wants to see the rest of it.

The error of a script names the file and the line in it, and shows the statement with a caret:

    schema.sql:12: ERROR 42703: column "balnce" does not exist
      UPDATE account SET balnce = 5
                         ^
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ferrisdb.api.connection import Connection
from ferrisdb.cli.output import Writer
from ferrisdb.errors import ActiveTransaction, Error, OperationalError, line_and_column, render
from ferrisdb.query.parse import is_complete, split_statements

if TYPE_CHECKING:
    from ferrisdb.cli.surroundings import Surroundings

_PROMPT = r"\s*([a-z_][a-z0-9_]*)(?:[*!]| waits| runs)?>"
_STEP = re.compile(rf"{_PROMPT}(?:\s+(.*)|\s*)", re.DOTALL)
_COMMAND = re.compile(rf"^(?:[ \t]*\.[a-z]|{_PROMPT}(?:\s|$))", re.MULTILINE)


class ScriptFailed(Exception):
    """The report to print; the error is the cause."""


def parsed_step(text: str) -> tuple[str, str] | None:
    """The session and the SQL of `a> SQL`; None for any other text. No SQL begins so."""
    match = _STEP.fullmatch(text)
    return None if match is None else (match[1], match[2] or "")


def run_script(surroundings: Surroundings, text: str, *, name: str | None, first_line: int = 1) -> None:
    """Run the statements of `text`. `name` is the file for error reports; None is the command line.

    `first_line` is the number that the text's first line has in that file. Raises
    ScriptFailed at the first error.
    """
    if _COMMAND.search(text):
        run_stream(surroundings, StringIO(text), name=name, first_line=first_line)
    else:
        _run_statements(surroundings, text, name, first_line)


def run_stream(
    surroundings: Surroundings, lines: Iterable[str], *, name: str | None, first_line: int = 1
) -> None:
    """Run statements as they come, each as soon as its `;` has been read.

    So a program at the other end of the pipe can read the answer to one statement before it
    writes the next. Raises ScriptFailed at the first error.
    """
    waiting: list[str] = []
    for line in lines:
        if _COMMAND.match(line) and _is_empty("".join(waiting)):
            first_line += len(waiting)
            waiting = []
            if _sql_of(line).lstrip().startswith("."):  # of the shell, or `a> .why`
                _run_piece(surroundings, line, name, first_line)
                first_line += 1
                continue
        waiting.append(line)
        if ";" in line and is_complete(_sql_of(text := "".join(waiting))):
            _run_piece(surroundings, text, name, first_line)
            first_line += len(waiting)
            waiting = []
    _run_piece(surroundings, "".join(waiting), name, first_line)


def _is_empty(text: str) -> bool:
    """Whether there are only blanks and comments."""
    try:
        return not text or next(split_statements(text), None) is None
    except Error:
        return False


def _sql_of(text: str) -> str:
    step = parsed_step(text)
    return text if step is None else step[1]


def _run_piece(surroundings: Surroundings, text: str, name: str | None, first_line: int) -> None:
    """A dot command, a step, or statements."""
    if not _COMMAND.match(text):
        _run_statements(surroundings, text, name, first_line)
        return
    try:
        run_command(surroundings, text)
    except Error as error:
        raise ScriptFailed(report(error, text, 0, text, name, first_line=first_line)) from error


def run_command(surroundings: Surroundings, text: str) -> None:
    """A dot command or a step of a script. Raises Error for what cannot even be begun."""
    from ferrisdb.cli.dot_commands import run_dot_command  # noqa: PLC0415

    step = parsed_step(text)
    if step is None:
        run_dot_command(text.strip(), surroundings, is_script=True)
        return
    from ferrisdb.cli.session_commands import run_step  # noqa: PLC0415

    run_step(surroundings, *step, is_script=True)


def _run_statements(surroundings: Surroundings, text: str, name: str | None, first_line: int) -> None:
    statements = split_statements(text)
    while True:
        try:
            offset, statement = next(statements)
        except StopIteration:
            return
        except Error as error:  # the rest cannot be cut into statements
            raise ScriptFailed(report(error, text, 0, text, name, first_line=first_line)) from error
        try:
            surroundings.run_statement(statement)
        except Error as error:
            raise ScriptFailed(report(error, statement, offset, text, name, first_line=first_line)) from error
        surroundings.tell_news()


def run_statement(connection: Connection, statement: str, write: Writer, out: TextIO) -> str | None:
    """Run one statement and write the rows it gives. Its tag.

    Outside of a transaction a statement sees the present, also where the database is read-only.
    """
    if not connection.in_transaction:
        connection.refresh()
    with connection.execute(statement) as cursor:
        columns = cursor.columns
        if columns:
            try:
                write(columns, cursor, out)
            except UnicodeEncodeError as error:
                raise OperationalError(
                    f"the output is {error.encoding} and has no {error.object[error.start : error.end]!a}",
                    hint="PYTHONIOENCODING=utf-8 makes it UTF-8",
                ) from None
            out.flush()
        return cursor.statusmessage


def report(
    error: Error, statement: str, offset: int, text: str, name: str | None, *, first_line: int = 1
) -> str:
    """The error as it is printed; `statement` stands at `offset` of `text`, which is a part of
    the file that begins at `first_line`."""
    if error.hint is None and statement.lstrip().startswith("."):
        error.hint = "dot commands are for the prompt of the shell"
    drawn = render(error, statement)
    if name is None:
        return drawn
    blank = len(statement) - len(statement.lstrip())
    line, _ = line_and_column(text, offset + (blank if error.position is None else error.position))
    return f"{name}:{first_line + line - 1}: {drawn}"


def require_no_transaction(connection: Connection, what: str) -> None:
    """Raises ActiveTransaction when `what` ended in the middle of one: its work is lost."""
    if connection.in_transaction:
        raise ActiveTransaction(
            f"{what} ended inside a transaction; it was rolled back", hint="end it with COMMIT"
        )


def standard_input() -> Iterator[str]:
    """Its lines as they arrive. Raises OperationalError."""
    if sys.stdin is None:  # closed by who started the program
        raise OperationalError("standard input is closed")
    if isinstance(sys.stdin, TextIOWrapper):
        # In the C locale Python lets bytes pass that are no text.
        sys.stdin.reconfigure(errors="strict")
    try:
        yield next(sys.stdin, "").removeprefix("\N{BYTE ORDER MARK}")
        yield from sys.stdin
    except OSError as error:
        raise OperationalError(f"cannot read standard input: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise OperationalError(f"standard input is not {error.encoding} text: {error.reason}") from None


def read_text(path: str) -> str:
    """The text of a file. Raises OperationalError."""
    try:
        # A line end inside quotes belongs to the value: it must not be made another.
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            return file.read()
    except OSError as error:
        raise OperationalError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise OperationalError(
            f"{path} is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}"
        ) from None
