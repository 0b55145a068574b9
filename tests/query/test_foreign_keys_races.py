"""Many threads break references as hard as they can: in no snapshot is there one that leads nowhere.

Parents come, go and change their keys while children are put to them, at every level at once, with
every action. What may fail, fails; what went through is looked at from outside, by a join, all the
time. And a crash in the middle of a cascade leaves all of it or nothing.
"""

from __future__ import annotations

import contextlib
import random
import sys
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from index_consistency import check_indexes

from ferrisdb.errors import Error, IntegrityError, NotSupportedError, Retryable
from ferrisdb.query.session import Session, SessionStatus, SharedState
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.options import StorageOptions
from ferrisdb.testing.crash_fs import CrashFS
from ferrisdb.txn.api import IsolationLevel
from ferrisdb.txn.local import LocalStore

THREADS = 4
STATEMENTS = 150
KEYS = 5
REFERENCES = [("plain", "p", "id"), ("cascade", "p", "id"), ("softly", "p", "u"), ("grand", "cascade", "id")]


@pytest.fixture(autouse=True)
def _threads_take_turns_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def family(session: Session) -> None:
    for sql in (
        "CREATE TABLE p (id INTEGER PRIMARY KEY, u INTEGER UNIQUE, n INTEGER)",
        "CREATE TABLE plain (ref INTEGER REFERENCES p, n INTEGER)",
        "CREATE TABLE cascade (id INTEGER PRIMARY KEY, ref INTEGER REFERENCES p "
        "ON DELETE CASCADE ON UPDATE CASCADE)",
        "CREATE INDEX cascade_ref ON cascade (ref)",
        "CREATE TABLE grand (ref INTEGER REFERENCES cascade ON DELETE CASCADE, n INTEGER)",
        "CREATE TABLE softly (ref INTEGER REFERENCES p (u) ON DELETE SET NULL ON UPDATE CASCADE, n INTEGER)",
    ):
        session.execute(sql)


def orphans(session: Session) -> list[tuple[object, ...]]:
    """References that lead nowhere, in one snapshot."""
    found: list[tuple[object, ...]] = []
    session.begin(IsolationLevel.SNAPSHOT, read_only=True)
    for child, parent, key in REFERENCES:
        found += session.execute(
            f"SELECT '{child}', {child}.ref FROM {child} LEFT JOIN {parent} ON {child}.ref = {parent}.{key} "
            f"WHERE {child}.ref IS NOT NULL AND {parent}.{key} IS NULL"
        ).fetch_all()
    session.commit()
    return found


def levels(store: LocalStore) -> list[IsolationLevel]:
    found = []
    for level in IsolationLevel:
        with contextlib.suppress(NotSupportedError):
            store.begin(level).rollback()
            found.append(level)
    return found


def change(chance: random.Random) -> tuple[str, tuple[int, ...]]:
    a, b = chance.randrange(KEYS), chance.randrange(KEYS)
    return chance.choice(
        [
            ("INSERT INTO p VALUES (?, ?, 0)", (a, b)),
            ("INSERT INTO p VALUES (?, ?, 0) ON CONFLICT DO NOTHING", (a, b)),
            ("INSERT INTO p VALUES (?, ?, 0) ON CONFLICT (id) DO UPDATE SET u = excluded.u", (a, b)),
            ("DELETE FROM p WHERE id = ?", (a,)),
            ("DELETE FROM p WHERE u = ?", (a,)),
            ("UPDATE p SET id = ? WHERE id = ?", (a, b)),
            ("UPDATE p SET u = ? WHERE id = ?", (a, b)),
            ("UPDATE p SET n = n + 1 WHERE id = ?", (a,)),
            ("INSERT INTO plain VALUES (?, ?)", (a, b)),
            ("DELETE FROM plain WHERE ref = ?", (a,)),
            ("INSERT INTO cascade VALUES (?, ?)", (b, a)),
            ("UPDATE cascade SET ref = ? WHERE id = ?", (a, b)),
            ("INSERT INTO softly VALUES (?, ?)", (a, b)),
            ("DELETE FROM softly WHERE ref = ?", (a,)),
            ("INSERT INTO grand VALUES (?, ?)", (a, b)),
        ]
    )


def test_no_reference_ever_leads_nowhere() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    store, shared = LocalStore.in_memory(), SharedState()
    family(Session(store, shared))
    among = levels(store)
    outcomes: Counter[str] = Counter()
    wrong: list[object] = []

    def break_things(number: int) -> None:
        chance = random.Random(seed + number)
        session = Session(store, shared)
        for _ in range(STATEMENTS):
            try:
                session.begin(chance.choice(among))
                for _ in range(chance.choice([1, 1, 2, 3])):
                    session.execute(*change(chance))
                session.commit()
                outcomes["committed"] += 1
            except (IntegrityError, Retryable) as error:
                outcomes[error.sqlstate] += 1
                if session.status is not SessionStatus.IDLE:
                    session.rollback()
            except BaseException as error:
                wrong.append(error)
                raise

    threads = [
        threading.Thread(target=break_things, args=(number,), daemon=True) for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    watcher = Session(store, shared)
    while any(thread.is_alive() for thread in threads):
        assert orphans(watcher) == []
        threads[0].join(0.01)
    print(dict(outcomes))
    assert wrong == []
    assert orphans(watcher) == []
    assert sum(outcomes.values()) == THREADS * STATEMENTS
    check_indexes(store.begin(read_only=True))


def test_a_crash_leaves_a_cascade_whole_or_undone() -> None:
    before = CrashFS()
    database = LocalStore(Engine.open(before, "data", StorageOptions(memtable_bytes=2048)))
    session = Session(database, SharedState())
    family(session)
    session.execute("INSERT INTO p VALUES (1, 1, 0), (2, 2, 0)")
    session.execute_many("INSERT INTO cascade VALUES (?, ?)", [(n, 1 + n % 2) for n in range(60)])
    session.execute_many("INSERT INTO grand VALUES (?, ?)", [(n % 60, n) for n in range(120)])
    session.execute_many("INSERT INTO softly VALUES (?, ?)", [(1 + n % 2, n) for n in range(60)])
    counts = [(2, 60, 120, 60), (1, 30, 60, 30)]
    assert look(session) == counts[0]
    disks, calls, found = 0, 0, set()
    is_done = False
    while not is_done:
        calls += 1
        fs = before.after_kill()
        store = LocalStore(Engine.open(fs, "data", StorageOptions(memtable_bytes=2048)))
        fs.crash_at = len(fs.calls) + calls
        try:
            Session(store, SharedState()).execute("DELETE FROM p WHERE id = 1")
            is_done = True
        except Error:
            assert fs.has_crashed
        for loss, disk in fs.disks_after_crash():
            revived = LocalStore(Engine.open(disk, "data", StorageOptions()))
            after = Session(revived, SharedState())
            where = f"call {calls}, {loss.name}"
            assert look(after) in (counts[1:] if is_done else counts), where
            found.add(look(after))
            assert orphans(after) == [], where
            check_indexes(revived.begin(read_only=True))
            revived.close()
            disks += 1
        close(store, fs)
    database.close()
    print(f"{calls} calls, {disks} disks")
    assert found == set(counts)


def look(session: Session) -> tuple[int, ...]:
    """How many rows there are of the parents, of both who go with them, and who still refer."""
    return tuple(
        session.execute(f"SELECT count({column}) FROM {table}").fetch_all()[0][0]
        for table, column in (("p", "id"), ("cascade", "id"), ("grand", "ref"), ("softly", "ref"))
    )


def close(store: LocalStore, fs: CrashFS) -> None:
    try:
        store.close()
    except Error:
        assert fs.has_crashed
