"""The interactive shell: a prompt, statements, and dot commands about the shell itself.

    ferris> SELECT 1;          no transaction is open: each statement is its own
    ferris*> ...               inside a transaction
    ferris!> ...               in one that has failed: only ROLLBACK goes on
       ...>                    the statement goes on until its semicolon
    a> ...                     in session a, of several side by side (`sessions`)
    a waits> ...               its last statement waits for a lock; other sessions go on

Rows go to standard output; counts, times and errors to standard error. Ctrl-C drops the
line that is being typed, or stops the statement that is running: a transaction it ran in is
then rolled back, because nobody knows how far it had come. Ctrl-D leaves.

What a session that waits comes to is told above the line that is being typed, when it happens.

The line editor is prompt_toolkit, the colours are pygments'. The history is kept in
$XDG_STATE_HOME/ferrisdb/history (~/.local/state when that is not set).
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app, run_in_terminal
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer
from pygments.lexers.sql import PostgresLexer

import ferrisdb
from ferrisdb.api.database import Database
from ferrisdb.cli.completion import SqlCompleter
from ferrisdb.cli.dot_commands import COMMANDS, Leave, run_dot_command
from ferrisdb.cli.script import ScriptFailed, parsed_step, report
from ferrisdb.cli.surroundings import FIRST_SESSION, Surroundings
from ferrisdb.errors import Error, render
from ferrisdb.query.parse import is_complete, split_statements
from ferrisdb.query.schema import Table
from ferrisdb.query.session import SessionStatus

if TYPE_CHECKING:
    from ferrisdb.cli.sessions import Sessions

_MARKS = {SessionStatus.IDLE: "", SessionStatus.OPEN: "*", SessionStatus.FAILED: "!"}
_LOOK_S = 0.1
"""How often it is looked what sessions that wait have come to, while the user types."""
_HABITS = {
    "exit": ".quit",
    "quit": ".quit",
    "help": ".help",
    "\\q": ".quit",
    "\\dt": ".tables",
    "\\?": ".help",
}
_CONTINUATION = "   ...> "


class Shell:
    """One user at one terminal."""

    def __init__(self, database: Database, output_format: str) -> None:
        self._database = database
        connection = database.connect(autocommit=True)
        self._surroundings = Surroundings(connection, output_format, database=database, is_interactive=True)

    def run(self) -> int:
        """Read and run until the user leaves: the exit status."""
        _tell(f"FerrisDB {ferrisdb.__version__} - {self._database.path}")
        _tell("Statements end with a semicolon. .help lists what else there is.")
        prompts = self._prompts()
        try:
            while True:
                try:
                    self._take(prompts.prompt(self._prompt, pre_run=self._watch_sessions))
                except KeyboardInterrupt:
                    continue
                except (EOFError, Leave):
                    break
            if self._surroundings.sessions is None and self._surroundings.connection.in_transaction:
                _tell("the open transaction was rolled back")
        finally:
            self._surroundings.close()
        return 0

    def _prompt(self) -> str:
        sessions = self._surroundings.sessions
        if sessions is None:
            return f"{FIRST_SESSION}{_MARKS[self._surroundings.connection.status]}> "
        return f"{sessions.current.name}{sessions.current.mark}> "

    def _watch_sessions(self) -> None:
        if self._surroundings.sessions is not None:
            get_app().create_background_task(self._tell_news(self._surroundings.sessions))

    async def _tell_news(self, sessions: Sessions) -> None:
        """While the user types: a wait may end by its lock_timeout, a long statement by itself."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if sessions.has_news:
                await run_in_terminal(sessions.tell_news)

    def _prompts(self) -> PromptSession[str]:
        bindings = KeyBindings()

        @bindings.add("enter", filter=Condition(lambda: not is_finished(prompts.default_buffer.text)))
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @bindings.add("enter", filter=Condition(lambda: is_finished(prompts.default_buffer.text)))
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.validate_and_handle()

        prompts: PromptSession[str] = PromptSession(
            history=_history(),
            lexer=PygmentsLexer(PostgresLexer),
            completer=SqlCompleter(self._tables, COMMANDS),
            complete_while_typing=False,
            multiline=True,
            prompt_continuation=_continuation,
            key_bindings=bindings,
        )
        return prompts

    def _take(self, text: str) -> None:
        if not text.strip():
            return
        # The line editor leaves an event loop as garbage. Collected while a statement runs, its
        # finaliser would be where a Ctrl-C arrives, and Python drops what a finaliser raises.
        gc.collect()
        try:
            command = _dot_command(text)
            step = parsed_step(text)
            if step is not None:
                from ferrisdb.cli.session_commands import run_step  # noqa: PLC0415

                run_step(self._surroundings, *step)
            elif command is not None:
                run_dot_command(command, self._surroundings)
            else:
                self._run_statements(text)
        except ScriptFailed as failure:
            _tell(str(failure))
        except Error as error:
            _tell(render(error))
        except KeyboardInterrupt:
            self._stop_statement()
        self._surroundings.tell_news()

    def _run_statements(self, text: str) -> None:
        statements = split_statements(text)
        statement, offset = text, 0
        try:
            for offset, statement in statements:
                self._run_statement(statement)
                statement, offset = text, 0  # the splitter itself may meet an error
        except Error as error:
            raise ScriptFailed(report(error, statement, offset, text, None)) from error

    def _run_statement(self, statement: str) -> None:
        started_s = time.perf_counter()
        tag = self._surroundings.run_statement(statement)
        if tag is None:
            return  # It waits, and that is told in a moment.
        elapsed_ms = (time.perf_counter() - started_s) * 1000
        _tell(f"{tag}  ({elapsed_ms:.1f} ms)" if self._surroundings.has_timer else f"{tag}")

    def _stop_statement(self) -> None:
        if self._surroundings.sessions is None and self._surroundings.connection.in_transaction:
            self._surroundings.connection.rollback()
            _tell("cancelled; the transaction was rolled back")
        else:
            _tell("cancelled")

    def _tables(self) -> tuple[Table, ...]:
        try:
            return self._surroundings.connection.tables()
        except Error:
            # Tab must not print into the line that is being typed; the statement itself will
            # meet the same error and tell.
            return ()


def _continuation(width: int, line_number: int, wrap_count: int) -> str:
    """Before a line of the user's own, and not before one that the terminal was too narrow for."""
    return "" if wrap_count else _CONTINUATION


def is_finished(text: str) -> bool:
    """Whether Enter runs the text: nothing, a dot command, or statements up to a semicolon."""
    step = parsed_step(text)
    if step is not None:
        return is_finished(step[1])
    return not text.strip() or _dot_command(text) is not None or is_complete(text)


def _dot_command(text: str) -> str | None:
    """The dot command that stands there, also when a habit from other shells left out the dot."""
    stripped = text.strip()
    if stripped.startswith("."):
        return stripped
    return _HABITS.get(stripped.lower().rstrip(";"))


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _history() -> History:
    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "ferrisdb"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "history").touch(mode=0o600)
    except OSError as error:
        _tell(f"no history is kept: {folder}: {error.strerror}")
        return InMemoryHistory()
    return FileHistory(str(folder / "history"))
