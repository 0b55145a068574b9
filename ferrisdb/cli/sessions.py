"""Several sessions side by side, each with a connection and a thread of its own.

    main thread                    a's thread              b's thread
    a> UPDATE ...   ------------>  execute ... done
       prints "a  UPDATE 1"
    b> UPDATE ...   ------------------------------------>  execute ... asleep
       prints "b  waits for a: account(1)"                    |
    a> COMMIT;      ------------>  done, lets b go            |
       prints "a  COMMIT"                                  goes on ... done
       prints "b  goes on: UPDATE 1"

A statement is begun when all are at rest: each session has ended its last statement, or waits
for a lock. Whether it waits is asked of the lock table, not guessed from the time (as in the
laboratory, `ferrisdb.isolation.runner`). Who lets others go has taken them out of the lock
table before its own statement ends, so one that is not there and has not ended is at work, and
is waited for. So the output of a script is the same each time; but where one commit lets go
several, those run at once, and are told in the order in which they were begun.

What a session gives is kept until it is told, rows included. At a terminal, Ctrl-C brings the
prompt back while a statement works: it goes on, and its end is told when it comes.
"""

from __future__ import annotations

import io
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from ferrisdb.api.connection import Connection
from ferrisdb.cli.output import WRITERS
from ferrisdb.cli.script import run_statement
from ferrisdb.cli.surroundings import FIRST_SESSION, Surroundings
from ferrisdb.errors import (
    Error,
    InternalError,
    ProgrammingError,
    RefusedForOthers,
    render,
)
from ferrisdb.isolation.session_thread import SessionThread
from ferrisdb.isolation.target import Answer
from ferrisdb.query.key_words import KeyWords
from ferrisdb.query.parse import split_statements
from ferrisdb.query.session import SessionStatus
from ferrisdb.txn.lock_waits import LockWait

MAX_SESSIONS: Final = 26
MAX_KNOWN_TRANSACTIONS: Final = 1000
"""Of the past, to say of a conflict which session it was with."""
_LOOK_S: Final = 0.002
_GOODBYE_S: Final = 2.0


class _Desk:
    """What a session's thread works with: the `TargetSession` of its `SessionThread`."""

    notice_count = 0

    def __init__(self, connection: Connection, surroundings: Surroundings) -> None:
        self._connection = connection
        self._surroundings = surroundings
        self.rows = io.StringIO()
        self.tag: str | None = None
        self.failure: Exception | None = None
        self.statement = ""
        """The one that failed."""

    def execute(self, text: str) -> Sequence[Answer]:
        self.rows, self.tag, self.failure, self.statement = io.StringIO(), None, None, text
        try:
            for _, self.statement in split_statements(text):
                write = WRITERS[self._surroundings.format]
                self.tag = run_statement(self._connection, self.statement, write, self.rows)
        except Exception as error:
            self.failure = error
            raise
        return ()

    def cancel(self) -> None:
        """A wait is canceled by the lock table."""

    def close(self) -> None:
        self._connection.close()


class ShellSession:
    def __init__(self, name: str, connection: Connection, surroundings: Surroundings) -> None:
        self.name = name
        self.connection = connection
        self.desk = _Desk(connection, surroundings)
        self.thread = SessionThread(name, lambda: self.desk)
        self.begun = 0
        """Its last statement was the so-manieth of the shell."""
        self.is_told = True
        """Whether the end of its last statement has been told."""
        self.told_wait = ""

    @property
    def is_busy(self) -> bool:
        return not self.thread.is_over

    @property
    def mark(self) -> str:
        """What the prompt says of it: " waits", or "*" in a transaction, "!" in one that failed."""
        if self.is_busy:
            return " waits" if self.told_wait else " runs"
        return {SessionStatus.IDLE: "", SessionStatus.OPEN: "*", SessionStatus.FAILED: "!"}[
            self.connection.status
        ]


class Sessions:
    """Used by the main thread."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._main_thread_id = threading.get_ident()
        first = ShellSession(FIRST_SESSION, surroundings.connection, surroundings)
        self._sessions = {FIRST_SESSION: first}
        self._count = 0
        self._transactions: OrderedDict[int, str] = OrderedDict()
        self.current = first

    @property
    def all(self) -> tuple[ShellSession, ...]:
        return tuple(self._sessions.values())

    def open(self, name: str) -> ShellSession:
        """The session of that name, made if there is none. Raises ProgrammingError."""
        session = self._sessions.get(name)
        if session is None:
            if len(self._sessions) == MAX_SESSIONS:
                raise ProgrammingError(
                    f"{MAX_SESSIONS} sessions are open, which is the limit", hint=".session NAME close"
                )
            connection = self._surroundings.database.connect(autocommit=True)
            session = self._sessions[name] = ShellSession(name, connection, self._surroundings)
        return session

    def switch(self, name: str) -> None:
        self.current = self.open(name)
        self._surroundings.connection = self.current.connection

    def close_one(self, name: str) -> None:
        """Roll back what it has open. Raises ProgrammingError."""
        if name == FIRST_SESSION or name not in self._sessions:
            what = "is the first one, and stays" if name in self._sessions else "is not open"
            raise ProgrammingError(f"session {name} {what}", hint=".sessions lists them")
        session = self._sessions[name]
        self._end(session)
        del self._sessions[name]
        if session is self.current:
            self.switch(FIRST_SESSION)
        self.rest()
        self.tell_news()

    def run(self, text: str, session: ShellSession | None = None) -> str | None:
        """Run SQL in the session, else in the current one, and write its rows. Its tag; None while
        it waits. `tell_news` then tells that, and what others have done because of it.

        Raises the Error of a statement, and ProgrammingError where the session still waits.
        """
        session = session or self.current
        if session.is_busy and not self._surroundings.is_interactive:
            self._await_timeout(session)
        if session.is_busy:
            raise ProgrammingError(
                f"session {session.name} still {session.told_wait or 'runs'}: it takes no other"
                " statement before that has ended",
                hint=f"end what it waits for, or close it: .session {session.name} close",
            )
        self._count += 1
        session.begun, session.is_told, session.told_wait = self._count, False, ""
        session.thread.start(text)
        self.rest()
        return self._outcome(session) if session.thread.is_over else None

    def run_step(self, name: str, text: str) -> None:
        """As `run`, but an error is told, and is no reason to end: the next step may be another's."""
        try:
            tag = self.run(text, self.open(name))
            if tag is not None:
                tell(f"{name}  {tag}")
        except Error as error:
            self._surroundings.has_failed_step = True
            tell(f"{name}  {render(error, self.open(name).desk.statement or None)}")
        self.tell_news()

    def _outcome(self, session: ShellSession) -> str | None:
        """Write the rows of the statement that is over; its tag. Raises its error."""
        session.is_told, session.told_wait = True, ""
        desk = session.desk
        sys.stdout.write(desk.rows.getvalue())
        sys.stdout.flush()
        if desk.failure is None:
            return desk.tag
        if not isinstance(desk.failure, Error):
            raise InternalError(f"{type(desk.failure).__name__}: {desk.failure}") from desk.failure
        self._surroundings.keep_refusal(session.name, desk.failure)
        self._put_names_in(desk.failure)
        raise desk.failure

    def _put_names_in(self, error: Error) -> None:
        """What is told of a conflict speaks of sessions, not of the numbers of transactions."""
        conflict = error.conflict if isinstance(error, RefusedForOthers) else None
        if conflict is not None:
            words = KeyWords(self._surroundings.database.tables())
            error.detail = conflict.explain(words, self._surroundings.name_of)

    def _await_timeout(self, session: ShellSession) -> None:
        """In a script its next statement comes at once, and a wait for a limited time ends first."""
        database = self._surroundings.database
        while session.is_busy:
            wait = self.wait_of(session, database.lock_waits())
            if wait is not None and wait.timeout_s is None:
                return
            session.thread.wait(_LOOK_S)
        self.rest()
        self.tell_news()

    # --- who waits ----------------------------------------------------------------------

    def rest(self) -> None:
        """Return when every session has ended its statement, or waits for a lock."""
        try:
            while working := self._working():
                working[0].thread.wait(_LOOK_S)
        except KeyboardInterrupt:
            if not self._surroundings.is_interactive:
                raise
            tell(f"{working[0].name}  goes on; its end will be told")
        self._learn_transactions()

    def _working(self) -> list[ShellSession]:
        # Who is busy first, who waits second: one that has ended before the second look has let
        # go by then whom it let go.
        busy = [each for each in self.all if each.is_busy]
        if not busy:
            return []
        waiting = {wait.thread_id for wait in self._surroundings.database.lock_waits()}
        return [each for each in busy if each.thread.thread_id not in waiting]

    def wait_of(self, session: ShellSession, waits: Sequence[LockWait]) -> LockWait | None:
        return next((each for each in waits if each.thread_id == session.thread.thread_id), None)

    def wait_in_words(self, wait: LockWait, words: KeyWords) -> str:
        """For whom, and what: "b: account(1)"."""
        names = dict.fromkeys(self._surroundings.name_of(each) for each in wait.waits_for)
        return f"{', '.join(names)}: {words(wait.what)}"

    @property
    def has_news(self) -> bool:
        """Whether a statement that was left behind has ended."""
        return any(each.thread.is_over and not each.is_told for each in self.all)

    def tell_news(self) -> None:
        """Tell which sessions wait now, and how statements have ended that had been waiting."""
        news = sorted((each for each in self.all if not each.is_told), key=lambda each: each.begun)
        if not news:
            return
        database = self._surroundings.database
        waits = database.lock_waits()
        words: KeyWords | None = None
        for session in news:
            if session.thread.is_over:
                self._tell_end(session)
                continue
            wait = self.wait_of(session, waits)
            if wait is None:
                continue
            words = words or KeyWords(database.tables())
            told = f"waits for {self.wait_in_words(wait, words)}"
            if told != session.told_wait:
                session.told_wait = told
                tell(f"{session.name}  {told}")

    def _tell_end(self, session: ShellSession) -> None:
        session.is_told, session.told_wait = True, ""
        desk = session.desk
        if desk.failure is None:
            tell(f"{session.name}  goes on: {desk.tag}")
        try:
            self._outcome(session)
        except Error as error:
            self._surroundings.has_failed_step = True
            tell(f"{session.name}  goes on: {render(error, desk.statement)}")

    # --- whose transaction --------------------------------------------------------------

    def session_of(self, transaction_id: int) -> str | None:
        self._learn_transactions()
        return self._transactions.get(transaction_id)

    def _learn_transactions(self) -> None:
        # A transaction that began before there were sessions is that of the first one.
        names = {each.thread.thread_id: each.name for each in self.all}
        names[self._main_thread_id] = FIRST_SESSION
        for transaction in self._surroundings.database.open_transactions():
            name = names.get(transaction.thread_id)
            if name is not None:
                self._transactions[transaction.id] = name
        while len(self._transactions) > MAX_KNOWN_TRANSACTIONS:
            self._transactions.popitem(last=False)

    # --- the end ------------------------------------------------------------------------

    def close(self) -> None:
        """Roll back what is open everywhere. Nobody who waits goes on because of that."""
        database = self._surroundings.database
        while waits := database.lock_waits():
            # From the end of the queue: a statement whose transaction ends with it lets others go.
            in_front = {each for wait in waits for each in wait.waits_for}
            last = next(wait for wait in waits if wait.transaction_id not in in_front)
            database.cancel_wait(last.transaction_id)
        for session in self.all:
            self._end(session)

    def _end(self, session: ShellSession) -> None:
        was_waiting, was_open = session.told_wait, session.connection.in_transaction
        wait = self.wait_of(session, self._surroundings.database.lock_waits())
        if wait is not None:
            # Before others let it go: what nobody waits for any more should not happen.
            self._surroundings.database.cancel_wait(wait.transaction_id)
        session.thread.leave()
        if not session.thread.is_gone(_GOODBYE_S):
            self._surroundings.has_failed_step = True
            tell(f"{session.name}  was left in the middle of its statement")
        elif was_waiting:
            self._surroundings.has_failed_step = True
            tell(f"{session.name}  {was_waiting}: canceled and rolled back")
        elif was_open:
            tell(f"{session.name}  the open transaction was rolled back")
        session.is_told = True


def tell(text: str) -> None:
    """Beside the rows: on standard error, behind what went to standard output before."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)
