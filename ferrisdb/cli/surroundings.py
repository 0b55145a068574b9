"""What a shell or a script works on: the connection, its output, and the sessions beside it.

    ferris> UPDATE ...;        one session: this thread runs it, rows go out as they come
    a> UPDATE ...;             a step of session a: from now on each session has a thread
    .session a                 go over to a: what follows runs there

Until a step or `.session` asks for a second session there is none, and nothing of `sessions`
is loaded: a script that only runs SQL pays nothing for it.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from ferrisdb.api.connection import Connection
from ferrisdb.cli.output import WRITERS
from ferrisdb.cli.script import run_statement
from ferrisdb.errors import Error

if TYPE_CHECKING:
    from ferrisdb.api.database import Database
    from ferrisdb.cli.sessions import Sessions

FIRST_SESSION: Final = "ferris"
"""The name of the one that the shell begins with; its prompt says it."""


class Surroundings:
    def __init__(
        self,
        connection: Connection,
        output_format: str,
        *,
        database: Database | None = None,
        is_interactive: bool = False,
    ) -> None:
        self.connection = connection
        self.format = output_format
        self.has_timer = False
        self.is_interactive = is_interactive
        self.sessions: Sessions | None = None
        self.has_failed_step = False
        self.refusals: dict[str, Error] = {}
        """By session: the last error that ended a transaction of it because of another one."""
        self._database = database
        self._own_database: Database | None = None

    @property
    def database(self) -> Database:
        if self._database is None:
            self._database = self._own_database = self.connection.database()
        return self._database

    @property
    def session_name(self) -> str:
        return FIRST_SESSION if self.sessions is None else self.sessions.current.name

    def use_sessions(self) -> Sessions:
        """From now on every session has its own thread."""
        if self.sessions is None:
            from ferrisdb.cli.sessions import Sessions  # noqa: PLC0415

            self.sessions = Sessions(self)
        return self.sessions

    def run_statement(self, statement: str) -> str | None:
        """Run it in the current session and write its rows; its tag, None while it waits."""
        if self.sessions is not None:
            return self.sessions.run(statement)
        try:
            return run_statement(self.connection, statement, WRITERS[self.format], sys.stdout)
        except Error as error:
            self.keep_refusal(FIRST_SESSION, error)
            raise

    def tell_news(self) -> None:
        """What other sessions have come to meanwhile."""
        if self.sessions is not None:
            self.sessions.tell_news()

    def keep_refusal(self, name: str, error: Error) -> None:
        """For `.why`, where it is the fault of another transaction."""
        if error.retryable:
            self.refusals[name] = error

    def name_of(self, transaction_id: int | None) -> str:
        """The session that has, or had, this transaction."""
        if transaction_id is None:
            return "another transaction"
        known = None if self.sessions is None else self.sessions.session_of(transaction_id)
        return known or f"transaction {transaction_id}"

    def close(self) -> None:
        """Roll back what is open and let go of the database, if it was not given."""
        with ExitStack() as stack:
            if self._own_database is not None:
                stack.callback(self._own_database.close)
            if self.sessions is None:
                stack.callback(self.connection.close)
            else:
                stack.callback(self.sessions.close)
