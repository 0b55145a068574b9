"""Many threads want the same keys: each key goes to one of them, and nobody is told a lie."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator

import pytest
from index_consistency import check_indexes

from ferrisdb.errors import SerializationFailure, UniqueViolation
from ferrisdb.query.session import Session, SharedState
from ferrisdb.txn.local import LocalStore

THREADS = 4
KEYS = 60


@pytest.fixture(autouse=True)
def _threads_take_turns_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_every_key_is_given_once() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    store, shared = LocalStore.in_memory(), SharedState()
    Session(store, shared).execute(
        "CREATE TABLE seat (id INTEGER PRIMARY KEY, owner INTEGER, place TEXT UNIQUE)"
    )
    won: list[list[str]] = [[] for _ in range(THREADS)]
    lies: list[str] = []

    def book(number: int) -> None:
        chance = random.Random(seed + number)
        session = Session(store, shared)
        places = [f"seat {n}" for n in range(KEYS)]
        chance.shuffle(places)
        for place in places:
            while True:
                try:
                    session.execute(
                        "INSERT INTO seat VALUES (?, ?, ?)", (chance.randrange(10**9), number, place)
                    )
                    won[number].append(place)
                except SerializationFailure:
                    continue
                except UniqueViolation:
                    taken = session.execute("SELECT count(*) FROM seat WHERE place = ?", (place,))
                    if taken.fetch_all() != [(1,)]:
                        lies.append(place)
                break

    threads = [threading.Thread(target=book, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert lies == [], "a duplicate was reported for a key that nobody has"
    assert sorted(place for places in won for place in places) == sorted(f"seat {n}" for n in range(KEYS))
    owners = Session(store, shared).execute("SELECT owner, place FROM seat").fetch_all()
    assert sorted(owners) == sorted((n, place) for n, places in enumerate(won) for place in places)
    check_indexes(store.begin(read_only=True))


def test_moves_of_keys_never_lose_or_double_a_row() -> None:
    # Nor do they deadlock: a statement takes its keys in their order, as every other does.
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    store, shared = LocalStore.in_memory(), SharedState()
    setup = Session(store, shared)
    setup.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, u INTEGER UNIQUE)")
    setup.execute_many("INSERT INTO t VALUES (?, ?)", [(n, n) for n in range(10)])
    outcomes: list[str] = []

    def move(number: int) -> None:
        chance = random.Random(seed + number)
        session = Session(store, shared)
        for _ in range(40):
            column, low, step = chance.choice(["id", "u"]), chance.randrange(10), chance.choice([-1, 1, 3])
            try:
                session.execute(f"UPDATE t SET {column} = {column} + ? WHERE {column} >= ?", (step, low))
                outcomes.append("moved")
            except (SerializationFailure, UniqueViolation) as error:
                outcomes.append(error.sqlstate)

    threads = [threading.Thread(target=move, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    print({outcome: outcomes.count(outcome) for outcome in set(outcomes)})
    assert len(outcomes) == 120
    assert setup.execute("SELECT count(*), count(DISTINCT u) FROM t").fetch_all() == [(10, 10)]
    check_indexes(store.begin(read_only=True))
