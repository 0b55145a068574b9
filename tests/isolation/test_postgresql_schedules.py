"""Random schedules of two sessions, here and on a PostgreSQL: the same rows, errors and waits.

It needs a PostgreSQL and its URL in FERRISDB_POSTGRESQL_URL, as the matrix does. The statements are
those that mean the same in both: what is left out is argued in docs/isolation/differences.md.

A schedule is compared up to the first refusal (40001, 40P01): from there on the two have seen
different things. FerrisDB may refuse where PostgreSQL does not, but for a deadlock: one that
PostgreSQL does not have is one that our locks have made.
"""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import ferrisdb
from ferrisdb.isolation.target import ErrorReport

URL = os.environ.get("FERRISDB_POSTGRESQL_URL", "")
SCHEMA = "ferris_schedules"
SCHEDULES = int(os.environ.get("FERRISDB_SCHEDULES", "60"))
DEADLOCK_S = 0.01
ACTIONS = ("", "ON DELETE CASCADE", "ON DELETE SET NULL", "ON UPDATE CASCADE ON DELETE RESTRICT")
LEVELS = ("READ COMMITTED", "REPEATABLE READ")

Event = tuple[int, str, Any]
"""Session, statement, and what came of it: "waits", rows, a count, or an SQLSTATE."""
Programs = list[list[str]]


class Session(threading.Thread):
    """A connection in a thread of its own. `connection` is a psycopg's or ours."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._connect = connect
        self._statements: queue.Queue[str | None] = queue.Queue()
        self.is_idle = threading.Event()
        self.result: Any = None
        self.start()
        assert self.is_idle.wait(10)

    def run(self) -> None:
        self.connection = self._connect()
        self.is_idle.set()
        while (statement := self._statements.get()) is not None:
            try:
                self.result = self._execute(statement)
            except Exception as error:
                self.result = ErrorReport.of(error).sqlstate
            self.is_idle.set()
        self.connection.close()

    def _execute(self, statement: str) -> Any:
        cursor = self.connection.cursor()
        cursor.execute(statement)
        if cursor.description:
            return [tuple(row) for row in cursor.fetchall()]
        return cursor.rowcount if statement.startswith(("INSERT", "UPDATE", "DELETE")) else None

    def begin(self, statement: str) -> None:
        self.is_idle.clear()
        self._statements.put(statement)

    def end(self) -> None:
        self._statements.put(None)
        self.join(10)


class FerrisDB:
    def __init__(self) -> None:
        self._database = ferrisdb.open(":memory:")
        self.control = self._database.connect(autocommit=True)

    def session(self) -> Session:
        return Session(lambda: self._database.connect(autocommit=True))

    def waits(self, session: Session) -> bool:
        return any(wait.thread_id == session.ident for wait in self._database.lock_waits())

    def let_deadlock_timers_ring(self) -> None:
        """There are none."""

    def close(self) -> None:
        self._database.close()


class PostgreSQL:
    def __init__(self) -> None:
        self.control = self._connect()
        self.control.execute("SET client_min_messages = error")
        self.control.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        self.control.execute(f"CREATE SCHEMA {SCHEMA}")

    def _connect(self) -> Any:
        psycopg = pytest.importorskip("psycopg")
        options = f"-c search_path={SCHEMA} -c deadlock_timeout={int(DEADLOCK_S * 1000)}ms"
        return psycopg.connect(URL.replace("+psycopg", ""), autocommit=True, options=options)

    def session(self) -> Session:
        return Session(self._connect)

    def waits(self, session: Session) -> bool:
        query = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
        return bool(self.control.execute(query, (session.connection.info.backend_pid,)).fetchone()[0])

    def let_deadlock_timers_ring(self) -> None:
        time.sleep(2 * DEADLOCK_S)  # So that it is the second to wait whose timer finds the deadlock.

    def close(self) -> None:
        self.control.execute(f"DROP SCHEMA {SCHEMA} CASCADE")
        self.control.close()


Database = FerrisDB | PostgreSQL


def play(database: Database, setup: list[str], programs: Programs, order: list[int]) -> list[Event]:
    for statement in setup:
        database.control.execute(statement)
    sessions = [database.session() for _ in programs]
    left, running, events = [list(program) for program in programs], {}, []
    turns = list(order)

    def settle(turn: int | None) -> None:
        """Until each session is through with its statement, or waits for one that is."""
        end_s = time.monotonic() + 30
        ended: list[Event] = []
        while True:
            for each in [each for each in running if sessions[each].is_idle.is_set()]:
                ended.append((each, running.pop(each), sessions[each].result))
            if len(running) < len(sessions) and all(database.waits(sessions[each]) for each in running):
                events.extend(sorted(ended, key=lambda event: event[0] != turn))
                return
            assert time.monotonic() < end_s, f"nobody goes on: {running}"
            time.sleep(0.0005)

    while any(left) or running:
        free = [each for each in range(len(sessions)) if each not in running and left[each]]
        if not free:
            others = [each for each in range(len(sessions)) if each not in running]
            assert not others, f"waits for nobody: {running}"
            settle(None)
            continue
        turn = next((each for each in turns if each in free), free[0])
        if turn in turns:
            turns.remove(turn)
        running[turn] = left[turn].pop(0)
        sessions[turn].begin(running[turn])
        settle(turn)
        if turn in running:
            events.append((turn, running[turn], "waits"))
            database.let_deadlock_timers_ring()
    for session in sessions:
        session.end()
    for table in ("p", "c"):
        with database.control.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {table} ORDER BY id")
            events.append((-1, table, [tuple(row) for row in cursor.fetchall()]))
    database.close()
    return events


def random_statement(rng: random.Random) -> str:
    table = rng.choice("ppc")
    other = {"p": "SELECT pid FROM c", "c": "SELECT id FROM p WHERE v > 15"}[table]
    column = {"p": "id", "c": "pid"}[table]
    where = rng.choice(
        [f"id = {rng.randint(1, 4)}"] * 3
        + ["v >= 20", "v % 20 = 10", f"id IN (1, {rng.randint(2, 4)})", f"{column} IN ({other})"]
    )
    value = rng.choice(["v + 1", "v * 2", "20", "(SELECT sum(v) FROM c)", "v + (SELECT count(*) FROM p)"])
    strength = rng.choice(["UPDATE", "NO KEY UPDATE", "SHARE"])
    waiting = rng.choice(["", "", " NOWAIT", " SKIP LOCKED"])
    join = "SELECT p.id, p.v, c.id, c.v FROM p {} JOIN c ON c.pid = p.id WHERE p.v >= 20 ORDER BY p.id, c.id"
    new = rng.randint(5, 9)
    return rng.choice([
        f"UPDATE {table} SET v = {value} WHERE {where}",
        f"UPDATE {table} SET v = {value} WHERE {where}",
        f"UPDATE p SET u = {rng.randrange(100, 10**6)} WHERE id = {rng.randint(1, 4)}",
        f"UPDATE c SET pid = NULL WHERE id = {rng.randint(1, 4)}",
        f"UPDATE c SET pid = {rng.randint(1, 3)} WHERE pid IS NULL",
        f"DELETE FROM {table} WHERE id = {rng.randint(1, 4)}",
        f"INSERT INTO c VALUES ({new}, {rng.randint(1, 4)}, 0)",
        f"INSERT INTO p VALUES ({rng.randint(1, 3)}, {rng.randrange(100, 10**6)}, 7)"
        " ON CONFLICT (id) DO UPDATE SET v = p.v + excluded.v",
        f"SELECT * FROM {table} WHERE {where} ORDER BY id FOR {strength}{waiting}",
        f"SELECT * FROM {table} WHERE {where} ORDER BY id LIMIT 1 FOR {strength}{waiting}",
        f"{join.format('')} FOR {strength}{waiting}",
        f"{join.format('LEFT')} FOR {strength} OF p{waiting}",
    ])  # fmt: skip


def random_schedule(rng: random.Random) -> tuple[list[str], Programs, list[int]]:
    setup = [
        "CREATE TABLE p (id int PRIMARY KEY, u int UNIQUE, v int)",
        f"CREATE TABLE c (id int PRIMARY KEY, pid int REFERENCES p (id) {rng.choice(ACTIONS)}, v int)",
        "INSERT INTO p VALUES (1, 1, 10), (2, 2, 20), (3, 3, 30)",
        "INSERT INTO c VALUES (1, 1, 100), (2, 2, 200), (4, NULL, 400)",
    ]
    level = rng.choice(LEVELS)
    programs = [
        [
            f"BEGIN ISOLATION LEVEL {level}",
            *(random_statement(rng) for _ in range(rng.randint(1, 4))),
            rng.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"]),
        ]
        for _ in range(2)
    ]
    order = [session for session, program in enumerate(programs) for _ in program]
    rng.shuffle(order)
    return setup, programs, order


def comparable(here: list[Event], there: list[Event]) -> tuple[list[Event], list[Event]]:
    """Both, up to the first refusal in either that the other need not share."""
    for place, (ours, theirs) in enumerate(zip(here, there, strict=False)):
        if ours != theirs and (ours[2] == "40001" or theirs[2] in ("40001", "40P01")):
            return here[:place], there[:place]
        # Of two children of a row, PostgreSQL may meet the one first that is just being deleted.
        if (ours[2], theirs[2]) in (("23503", "waits"), ("waits", "23503")):
            return here[:place], there[:place]
    return here, there


def told(events: list[Event]) -> list[str]:
    return [f"{session}: {statement}  ->  {result}" for session, statement, result in events]


@pytest.mark.skipif(not URL, reason="needs a PostgreSQL and its URL in FERRISDB_POSTGRESQL_URL")
def test_random_schedules_go_as_on_postgresql() -> None:
    first = int(os.environ.get("FERRISDB_SEED", random.randrange(10**9)))
    for seed in range(first, first + SCHEDULES):
        schedule = random_schedule(random.Random(seed))
        here, there = comparable(play(FerrisDB(), *schedule), play(PostgreSQL(), *schedule))
        assert told(here) == told(there), f"FERRISDB_SEED={seed}: {schedule[0][1]}"
