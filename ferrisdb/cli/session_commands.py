"""`.session`, `.sessions`, `.why`, `.versions`: several sessions side by side, and what they see.

.session a            go over to session a; it is made if there is none
.session a close      roll back what it has open, and forget it
.sessions             who is there, in which state, and who waits for whom
.why                  why the current session's last transaction was refused
.versions account 1   the versions of a row, and who sees which
"""

from __future__ import annotations

import re

from ferrisdb.cli.output import drawn_lines
from ferrisdb.cli.sessions import ShellSession, tell
from ferrisdb.cli.surroundings import Surroundings
from ferrisdb.cli.versions import show_versions
from ferrisdb.cli.why import explain_refusal
from ferrisdb.errors import ProgrammingError
from ferrisdb.query.key_words import KeyWords
from ferrisdb.txn.lock_waits import LockWait
from ferrisdb.txn.looking import OpenTransaction

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,19}")


def session(surroundings: Surroundings, arguments: list[str]) -> None:
    name = arguments[0]
    check_session_name(name)
    if arguments[1:] == ["close"]:
        surroundings.use_sessions().close_one(name)
    elif len(arguments) > 1:
        raise ProgrammingError("it is .session NAME or .session NAME close")
    else:
        surroundings.use_sessions().switch(name)


def check_session_name(name: str) -> None:
    """Raises ProgrammingError."""
    if not _NAME.fullmatch(name):
        raise ProgrammingError(
            f"{name} is no name for a session", hint="small letters, digits and _, at most 20 of them"
        )


def sessions(surroundings: Surroundings, arguments: list[str]) -> None:
    shown = surroundings.use_sessions()
    database = surroundings.database
    words = KeyWords(database.tables())
    waits = database.lock_waits()
    transactions = {shown.session_of(each.id): each for each in database.open_transactions()}
    rows = []
    for each in shown.all:
        wait = shown.wait_of(each, waits)
        mark = "->" if each is shown.current else ""
        told = "" if wait is None else shown.wait_in_words(wait, words)
        rows.append([mark, each.name, *_state(each, transactions.get(each.name), wait), told])
    headers = ("", "session", "state", "level", "snapshot", "waits for")
    for line in drawn_lines(headers, rows, ("left", "left", "left", "left", "right", "left")):
        print(line)


def _state(
    session: ShellSession, transaction: OpenTransaction | None, wait: LockWait | None
) -> tuple[str, str, str]:
    state = {"": "idle", "*": "in a transaction", "!": "failed: ROLLBACK goes on"}.get(
        session.mark, "at work"
    )
    if wait is not None:
        state = "waits"
    if transaction is None:
        return state, "", ""
    taken = "not yet" if transaction.snapshot is None else str(transaction.snapshot)
    return state, transaction.isolation.value, taken


def why(surroundings: Surroundings, arguments: list[str]) -> None:
    for line in explain_refusal(surroundings):
        print(line)


def versions(surroundings: Surroundings, arguments: list[str]) -> None:
    for line in show_versions(surroundings, arguments[0], arguments[1:]):
        print(line)


def run_step(surroundings: Surroundings, name: str, text: str, *, is_script: bool = False) -> None:
    """A line `a> text`: SQL, or a dot command about session a."""
    check_session_name(name)
    all_sessions = surroundings.use_sessions()
    if is_script:
        tell(f"{name}> {text.strip()}")
    if not text.strip().startswith("."):
        if text.strip():
            all_sessions.run_step(name, text)
        return
    from ferrisdb.cli.dot_commands import run_dot_command  # noqa: PLC0415

    before = all_sessions.current.name
    all_sessions.switch(name)
    try:
        run_dot_command(text.strip(), surroundings, is_script=is_script)
    finally:
        all_sessions.switch(before)
