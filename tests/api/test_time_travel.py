"""Time travel from Python: what was there can be read again, for as long as it is kept."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

import ferrisdb
from ferrisdb import errors


def balances(rows: ferrisdb.Rows[tuple[int, int]]) -> dict[int, int]:
    return dict(rows.all())


def test_every_version_reads_as_it_was(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    dice = random.Random(seed)
    states: dict[int, dict[int, int]] = {}
    now: dict[int, int] = {}
    with ferrisdb.open(tmp_path / "db", retention_s=3600, memtable_bytes=4000, durability="off") as db:
        db.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER)")
        for _ in range(150):
            number = dice.randrange(20)
            if number in now and dice.random() < 0.3:
                db.execute("DELETE FROM account WHERE id = ?", (number,))
                del now[number]
            else:
                now[number] = dice.randrange(1000)
                put(db, number, now[number])
            states[db.version] = dict(now)
        db.flush()
        db.wait_until_compacted()
        for version in dice.sample(sorted(states), 60):
            with db.snapshot(as_of=version) as then:
                assert balances(then.query("SELECT id, balance FROM account")) == states[version]
            found = db.query("SELECT id, balance FROM account AS OF VERSION ?", (version,))
            assert balances(found) == states[version]


def put(db: ferrisdb.Database, number: int, balance: int) -> None:
    if not db.execute("UPDATE account SET balance = ? WHERE id = ?", (balance, number)):
        db.execute("INSERT INTO account VALUES (?, ?)", (number, balance))


def test_a_time_may_be_given_in_any_zone() -> None:
    with ferrisdb.open(retention_s=3600) as db:
        with db.transaction() as tx:
            tx.put(b"k", b"old")
        then = datetime.now(UTC)
        time.sleep(0.02)
        with db.transaction() as tx:
            tx.put(b"k", b"new")
        elsewhere = then.astimezone(timezone(timedelta(hours=5, minutes=30)))
        for moment in (then, then.replace(tzinfo=None), elsewhere):
            with db.snapshot(moment) as past:
                assert past.get(b"k") == b"old"
        with db.snapshot() as present:
            assert present.get(b"k") == b"new"
            with pytest.raises(errors.ReadOnlyTransaction):
                present.put(b"k", b"newer")


def test_what_cannot_be_read_says_why() -> None:
    with ferrisdb.open() as db:
        for value in (b"1", b"2", b"3"):
            with db.transaction() as tx:
                tx.put(b"k", value)
        # Without a retention there is only the present.
        with pytest.raises(errors.SnapshotTooOld, match="version 1 is no longer kept") as caught:
            db.snapshot(as_of=1)
        assert caught.value.sqlstate == "72000"
        assert "the oldest that can be read is 3" in str(caught.value)
        assert caught.value.hint is not None
        assert "retention_s" in caught.value.hint
        with pytest.raises(errors.InvalidParameterValue, match="still to come"):
            db.snapshot(as_of=4)
        with pytest.raises(errors.InvalidParameterValue, match="still to come"):
            db.snapshot(as_of=datetime(2999, 1, 1))
        with pytest.raises(errors.InvalidParameterValue, match="still to come"):
            db.query("SELECT 1 AS OF TIMESTAMP '2999-01-01'")
        with pytest.raises(errors.InvalidParameterValue, match="counted from 0"):
            db.snapshot(as_of=-1)
        for wrong in ("yesterday", 1.5, True):
            with pytest.raises(errors.InvalidParameterValue, match="a version or a datetime"):
                db.snapshot(as_of=wrong)  # type: ignore[arg-type]
        # Running it again would not help.
        runs: list[int] = []

        def look_back(tx: ferrisdb.Transaction) -> None:
            runs.append(1)
            db.snapshot(as_of=1)

        with pytest.raises(errors.SnapshotTooOld):
            db.run(look_back)
        assert len(runs) == 1


def test_an_open_snapshot_keeps_what_it_reads_and_nothing_more(tmp_path: Path) -> None:
    with ferrisdb.open(tmp_path / "db") as db:
        for number in range(40):
            with db.transaction() as tx:
                tx.put(b"k", b"%d" % number)
            if number == 20:
                held = db.snapshot()
            if number % 5 == 4:
                db.flush()
        db.wait_until_compacted()
        assert held.get(b"k") == b"20"
        # Others may come to where somebody reads.
        with db.snapshot(as_of=21) as beside:
            assert beside.get(b"k") == b"20"
        for other in (20, 22):
            with pytest.raises(errors.SnapshotTooOld):
                db.snapshot(as_of=other)
        held.rollback()
        with pytest.raises(errors.SnapshotTooOld):
            db.snapshot(as_of=21)


def test_a_dbapi_connection_reads_the_past_beside_its_open_transaction() -> None:
    with ferrisdb.open(retention_s=3600) as db, db.connect() as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE t (n INTEGER)")
        cursor.execute("INSERT INTO t VALUES (1)")
        connection.commit()
        version = db.version
        cursor.execute("UPDATE t SET n = 2")
        cursor.execute("SELECT n FROM t AS OF VERSION ?", (version,))
        assert cursor.fetchall() == [(1,)]
        cursor.execute("SELECT n FROM t")
        assert cursor.fetchall() == [(2,)]
        connection.commit()


def test_the_next_process_reads_the_past_of_this_one(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with ferrisdb.open(path, retention_s=3600) as db:
        with db.transaction() as tx:
            tx.put(b"k", b"old")
        version = db.version
        with db.transaction() as tx:
            tx.put(b"k", b"new")
    with ferrisdb.open(path, read_only=True) as reader, reader.snapshot(as_of=version) as past:
        assert past.get(b"k") == b"old"
    with ferrisdb.open(path, retention_s=3600) as db, db.snapshot(as_of=version) as past:
        assert past.get(b"k") == b"old"


@pytest.mark.parametrize("retention_s", [-1, float("nan")])
def test_a_retention_is_a_number_of_seconds(retention_s: float) -> None:
    with pytest.raises(errors.InvalidParameterValue, match="retention_s"):
        ferrisdb.open(retention_s=retention_s)
