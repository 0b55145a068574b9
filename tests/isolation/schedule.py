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

It is the laboratory's machinery (`ferrisdb.isolation`) under another notation: a spec's outcomes
stand in a file of their own, these stand beside the steps, for the reader.
"""

from __future__ import annotations

from collections.abc import Callable

from ferrisdb.api.connection import Connection
from ferrisdb.isolation.ferris_target import FerrisTarget
from ferrisdb.isolation.session_thread import Outcome, SessionThread
from ferrisdb.isolation.target import Answer

INDENT = "   "
PATIENCE_S = 20


class TellingTarget(FerrisTarget):
    """Its sessions answer with a tag where there are no rows."""

    def connect(self) -> TellingSession:  # type: ignore[override]
        return TellingSession(self._database.connect(autocommit=True))


class TellingSession:
    notice_count = 0

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def execute(self, text: str) -> list[Answer]:
        with self.connection.execute(text) as cursor:
            if cursor.columns:
                return [Answer(tuple(each.name for each in cursor.columns), tuple(cursor.fetchall()))]
            return [Answer((), ((cursor.statusmessage,),))]

    def cancel(self) -> None:
        """FerrisDB cannot break off a statement."""

    def close(self) -> None:
        self.connection.close()


def settle(target: TellingTarget, player: SessionThread) -> bool:
    """Wait until the step is over (True) or the session sleeps for a lock (False)."""
    for _ in range(int(PATIENCE_S / 0.001)):
        if player.wait(0.001):
            return True
        if target.is_waiting(player.thread_id):
            return False
    raise AssertionError("the step neither ended nor waits for a lock")


def described(outcome: Outcome) -> list[str]:
    if outcome.error is not None:
        return [f"ERROR {outcome.error.sqlstate}"]
    (answer,) = outcome.answers
    lines = [" | ".join("NULL" if v is None else str(v) for v in row) for row in answer.rows]
    return lines or ["(no rows)"]


def perform(text: str, adapt: Callable[[str], str] = lambda sql: sql) -> str:
    """Play the schedule in `text` on a new database in memory; the text with real outcomes."""
    target = TellingTarget()
    players: dict[str, SessionThread] = {}
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
            players[name] = SessionThread(name, target.connect)
        assert name not in waiting, f"{name} is asked to go on while it waits: {line}"
        players[name].start(adapt(sql))
        if settle(target, players[name]):
            played += [INDENT + each for each in described(players[name].outcome)]
        else:
            played.append(INDENT + "waits")
            waiting.append(name)
        for other in [each for each in waiting if each != name]:
            if settle(target, players[other]):
                waiting.remove(other)
                played += [f"{INDENT}{other}: {each}" for each in described(players[other].outcome)]
    assert not waiting, f"at the end of the schedule these still wait: {waiting}"
    for player in players.values():
        player.leave()
    assert all(player.is_gone(PATIENCE_S) for player in players.values())
    target.close()
    return "\n".join(played) + "\n"
