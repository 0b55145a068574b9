"""Runs a schedule: SQL steps of several sessions in a fixed order, and says what each did.

    # Lost update: the second writer must not win silently.
    a: BEGIN
    b: BEGIN
    a: UPDATE account SET balance = 110 WHERE id = 1
       UPDATE 1
    b: UPDATE account SET balance = 120 WHERE id = 1
       waits
    a: COMMIT
       COMMIT
       b: ERROR 40001

A line `name: SQL` is a step. What it did stands indented under it: rows, a tag, an error's
SQLSTATE, or `waits`. A waiting step that ends because of a later step is reported there,
under its session's name. `perform` gives the text back with the outcomes that really
happened, so a test compares two texts and a wrong outcome shows as a diff.

Nothing here sleeps and hopes: a step is over when its thread is, and it waits when the lock
table says so.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from ferrisdb import errors
from ferrisdb.query.session import Session, SharedState
from ferrisdb.txn.local import LocalStore
from ferrisdb.txn.local_transaction import LocalTransaction

INDENT = "   "
PATIENCE_S = 20


class Player:
    """One session on a thread of its own."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.outcome: list[str] | None = None
        self.steps: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._play, daemon=True)
        self.thread.start()

    def start(self, sql: str) -> None:
        self.outcome = None
        self.steps.put(sql)

    def settle(self) -> bool:
        """Wait until the step is over (True) or the session sleeps for a lock (False)."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if self.outcome is not None:
                return True
            if self._sleeps():
                return False
            time.sleep(0.0005)
        raise AssertionError("the step neither ended nor waits for a lock")

    def finish(self) -> None:
        self.steps.put(None)
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()

    def _sleeps(self) -> bool:
        transaction = self.session.transaction
        return isinstance(transaction, LocalTransaction) and transaction.lock_owner.waiting is not None

    def _play(self) -> None:
        while (sql := self.steps.get()) is not None:
            self.outcome = describe(self.session, sql)
        self.session.close()


def describe(session: Session, sql: str) -> list[str]:
    try:
        result = session.execute(sql)
        rows = [" | ".join("NULL" if v is None else str(v) for v in row) for row in result.fetch_all()]
    except errors.Error as error:
        return [f"ERROR {error.sqlstate}"]
    if result.columns:
        return rows or ["(no rows)"]
    return [result.tag]


def perform(text: str, adapt: Callable[[str], str] = lambda sql: sql) -> str:
    """Play the schedule in `text` on a new database in memory; the text with real outcomes."""
    store = LocalStore.in_memory()
    shared = SharedState()
    players: dict[str, Player] = {}
    waiting: list[str] = []
    played: list[str] = []
    for line in text.splitlines():
        if line.startswith(INDENT):
            continue
        played.append(line)
        if line.startswith("#") or ":" not in line:
            continue
        name, sql = (part.strip() for part in line.split(":", 1))
        if name not in players:
            players[name] = Player(Session(store, shared))
        assert name not in waiting, f"{name} is asked to go on while it waits: {line}"
        players[name].start(adapt(sql))
        if players[name].settle():
            played += [INDENT + each for each in players[name].outcome or []]
        else:
            played.append(INDENT + "waits")
            waiting.append(name)
        for other in [each for each in waiting if each != name]:
            if players[other].settle():
                waiting.remove(other)
                played += [f"{INDENT}{other}: {each}" for each in players[other].outcome or []]
    assert not waiting, f"at the end of the schedule these still wait: {waiting}"
    for player in players.values():
        player.finish()
    store.close()
    return "\n".join(played) + "\n"
