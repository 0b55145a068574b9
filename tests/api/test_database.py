"""Database, Transaction and Rows: the Python surface."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import ferrisdb
from ferrisdb import errors


@dataclass
class Account:
    id: int
    owner: str
    balance: int = 0


class Pair(NamedTuple):
    owner: str
    id: int


@pytest.fixture
def db() -> Iterator[ferrisdb.Database]:
    with ferrisdb.open() as database:
        database.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT, balance INTEGER)")
        database.execute_many("INSERT INTO account VALUES (?, ?, ?)", [(1, "Ada", 100), (2, "Bob", 50)])
        yield database


def total(db: ferrisdb.Database) -> int:
    found: int = db.query("SELECT sum(balance) FROM account").scalar()
    return found


def test_rows_in_every_way(db: ferrisdb.Database) -> None:
    by_id = "SELECT id, owner FROM account ORDER BY id"
    assert db.query(by_id).all() == [(1, "Ada"), (2, "Bob")]
    assert list(db.query(by_id)) == [(1, "Ada"), (2, "Bob")]
    assert db.query(by_id).columns == ("id", "owner")
    assert db.query(by_id).first() == (1, "Ada")
    assert db.query("SELECT owner FROM account WHERE id = ?", (2,)).one() == ("Bob",)
    assert db.query("SELECT owner FROM account WHERE id = 9").one_or_none() is None
    assert db.query("SELECT owner FROM account WHERE id = 9").first() is None
    assert db.query("SELECT count(*) FROM account").scalar() == 2
    assert db.query("SELECT owner FROM account WHERE id = 9").scalar() is None
    for statement in (by_id, "SELECT id FROM account WHERE id = 9"):
        with pytest.raises(ferrisdb.ProgrammingError) as wrong:
            db.query(statement).one()
        assert wrong.value.sqlstate == "21000"


def test_rows_into_what_the_program_likes(db: ferrisdb.Database) -> None:
    assert db.query("SELECT id, owner, balance FROM account WHERE id = 1", into=Account).one() == Account(
        1, "Ada", 100
    )
    assert db.query("SELECT owner, id FROM account WHERE id = 1", into=Account).one() == Account(1, "Ada", 0)
    assert db.query("SELECT id, owner FROM account ORDER BY id", into=Pair).all() == [
        Pair("Ada", 1),
        Pair("Bob", 2),
    ]
    assert db.query("SELECT id, owner FROM account WHERE id = 2", into=dict).one() == {
        "id": 2,
        "owner": "Bob",
    }
    assert (
        db.query("SELECT id, balance FROM account WHERE id = 1", into=lambda balance, id: balance - id).one()
        == 99
    )
    with pytest.raises(ferrisdb.InterfaceError, match="Account cannot be made from the columns id, nothing"):
        db.query("SELECT id, 1 AS nothing FROM account", into=Account)
    with pytest.raises(ferrisdb.InterfaceError, match='"id" comes twice'):
        db.query("SELECT id, id FROM account", into=dict)


def test_a_transaction_commits_at_the_end_of_its_block_or_not_at_all(db: ferrisdb.Database) -> None:
    with db.transaction() as tx:
        assert tx.execute("UPDATE account SET balance = balance - 10") == 2
        assert total(db) == 150
    assert total(db) == 130
    with pytest.raises(ZeroDivisionError), db.transaction() as tx:
        tx.execute("DELETE FROM account")
        1 / 0  # noqa: B018
    assert total(db) == 130
    with db.transaction() as tx:
        tx.execute("DELETE FROM account")
        tx.rollback()
    assert total(db) == 130
    with pytest.raises(ferrisdb.InterfaceError, match="transaction is over"):
        tx.execute("SELECT 1")
    tx.rollback()


def test_a_nested_transaction_is_undone_alone(db: ferrisdb.Database) -> None:
    with db.transaction() as tx:
        tx.execute("UPDATE account SET balance = 1 WHERE id = 1")
        with pytest.raises(ferrisdb.ProgrammingError), tx.transaction():
            tx.execute("UPDATE account SET balance = 2 WHERE id = 2")
            tx.put(b"k", b"inner")
            tx.execute("UPDATE nothing SET a = 1")
        with tx.transaction() as inner:
            assert inner is tx
            inner.put(b"kept", b"v")
        assert tx.get(b"k") is None
    assert db.query("SELECT balance FROM account ORDER BY id").all() == [(1,), (50,)]
    with db.begin() as tx:
        assert list(tx.scan()) == [(b"kept", b"v")]


def test_savepoints_by_hand(db: ferrisdb.Database) -> None:
    tx = db.begin()
    first = tx.savepoint()
    tx.put(b"a", b"1")
    tx.savepoint()
    tx.put(b"b", b"2")
    tx.rollback_to(first)
    tx.put(b"c", b"3")
    tx.release(first)
    with pytest.raises(ferrisdb.InternalError):
        tx.rollback_to(first)
    assert tx.is_failed
    tx.rollback()
    assert not tx.is_open


def test_a_failed_transaction_is_never_committed_silently(db: ferrisdb.Database) -> None:
    with pytest.raises(ferrisdb.InternalError, match="committed; it was rolled back"), db.transaction() as tx:
        tx.execute("DELETE FROM account")
        with pytest.raises(ferrisdb.ProgrammingError):
            tx.execute("SELECT nothing")
        with pytest.raises(ferrisdb.InternalError):
            tx.put(b"k", b"v")
    assert total(db) == 150


def test_ordered_bytes_and_rows_in_one_commit(db: ferrisdb.Database) -> None:
    with db.transaction() as tx:
        for key in (b"b", b"a", b"", b"\xfe\xff", b"c"):
            tx.put(key, key * 2)
        tx.delete(b"c")
        tx.execute("UPDATE account SET balance = 0")
    with db.transaction(read_only=True) as tx:
        assert [key for key, _ in tx.scan()] == [b"", b"a", b"b", b"\xfe\xff"]
        assert list(tx.scan(b"a", b"b")) == [(b"a", b"aa")]
        assert [key for key, _ in tx.scan(prefix=b"a")] == [b"a"]
        assert [key for key, _ in tx.scan(prefix=b"\xfe", reverse=True)] == [b"\xfe\xff"]
        assert [key for key, _ in tx.scan(prefix=b"")] == [b"", b"a", b"b", b"\xfe\xff"]
        assert [tx.seek(key) for key in (b"a", b"a\0", b"c")] == [
            (b"a", b"aa"),
            (b"b", tx.get(b"b")),
            (b"\xfe\xff", tx.get(b"\xfe\xff")),
        ]
        assert tx.seek(b"\xfe\xff\0") is None
        assert tx.seek(b"a\0", reverse=True) == tx.seek(b"a", reverse=True) == (b"a", b"aa")
        assert tx.get_many([b"b", b"none", b"a"]) == [tx.get(b"b"), None, b"aa"]
        assert [key for key, _ in tx.scan(b"a", b"\xff", reverse=True, limit=2)] == [b"\xfe\xff", b"b"]
        assert tx.get(b"c") is None
    with db.transaction() as tx:
        tx.delete_range(b"a", b"b")
    with db.transaction() as tx:
        with tx.transaction() as nested:
            nested.delete_range()
            assert list(tx.scan()) == []
            point = nested.savepoint()
            nested.rollback_to(point)
        tx.put(b"after", b"stays")
    with db.transaction(read_only=True) as tx:
        assert [key for key, _ in tx.scan()] == [b"after"]
        with pytest.raises(ferrisdb.InternalError) as refused:
            tx.put(b"d", b"")
        assert refused.value.sqlstate == "25006"
    assert total(db) == 0


def test_the_keys_of_sql_are_out_of_reach(db: ferrisdb.Database) -> None:
    with db.transaction() as tx:
        for call in (
            lambda: tx.get(b"\xff"),
            lambda: tx.put(b"\xffx", b""),
            lambda: tx.delete(b"\xff\xff"),
            lambda: tx.delete_range(b"\xff", None),
            lambda: tx.delete_range(b"a", b"\xff\x01"),
            lambda: tx.scan(b"\xff"),
            lambda: tx.scan(prefix=b"\xff"),
            lambda: tx.get_many([b"a", b"\xff"]),
            lambda: tx.seek(b"\xff"),
            lambda: tx.seek(b"\xff", reverse=True),
            lambda: tx.scan(b"a", b"\xff\x01"),
        ):
            with pytest.raises(ferrisdb.DataError, match="0xFF belong to SQL"):
                call()
        for wrong in ("k", bytearray(b"k"), None):
            with pytest.raises(ferrisdb.InterfaceError, match="a key is bytes"):
                tx.get(wrong)  # type: ignore[arg-type]
        with pytest.raises(ferrisdb.InterfaceError, match="a value is bytes"):
            tx.put(b"k", "v")  # type: ignore[arg-type]


def test_sorted_data_is_ingested_as_one_commit(db: ferrisdb.Database) -> None:
    assert db.ingest((b"k%05d" % number, b"v") for number in range(2_000)) == 2_000
    with db.transaction() as tx:
        assert tx.get(b"k01999") == b"v"
        assert sum(1 for _ in tx.scan()) == 2_000
    assert db.query("SELECT sum(balance) FROM account").scalar() == total(db)
    with pytest.raises(errors.InvalidParameterValue, match="pair 1: keys from 0xFF on belong to SQL"):
        db.ingest([(b"l", b""), (b"\xff", b"")])
    with pytest.raises(errors.InvalidParameterValue, match="pair 1: the key b'k' comes behind b'l'"):
        db.ingest([(b"l", b""), (b"k", b"")])
    with db.transaction() as tx:
        assert tx.get(b"l") is None


def test_begin_as_a_statement_of_its_own_is_refused(db: ferrisdb.Database) -> None:
    for call in (db.execute, db.query):
        with pytest.raises(ferrisdb.ProgrammingError, match="begins nothing") as refused:
            call("BEGIN")
        assert refused.value.hint == "use `with db.transaction() as tx:`"


def test_run_retries_a_conflict_and_nothing_else(db: ferrisdb.Database) -> None:
    tries = 0

    def meets_another_once(tx: ferrisdb.Transaction) -> int:
        nonlocal tries
        tries += 1
        seen: int = tx.query("SELECT balance FROM account WHERE id = 1").scalar()
        if tries == 1:
            db.execute("UPDATE account SET balance = balance + 1 WHERE id = 1")
        tx.execute("UPDATE account SET balance = ? WHERE id = 1", (seen + 10,))
        return tries

    assert db.run(meets_another_once) == 2
    assert db.query("SELECT balance FROM account WHERE id = 1").scalar() == 111

    def always_meets_another(tx: ferrisdb.Transaction) -> None:
        nonlocal tries
        tries += 1
        tx.query("SELECT 1").all()
        db.execute("UPDATE account SET balance = balance + 1 WHERE id = 1")
        tx.execute("UPDATE account SET balance = 0 WHERE id = 1")

    tries = 0
    with pytest.raises(ferrisdb.SerializationFailure):
        db.run(always_meets_another, attempts=3)
    assert tries == 3

    def is_wrong(tx: ferrisdb.Transaction) -> None:
        nonlocal tries
        tries += 1
        tx.execute("SELECT nothing")

    tries = 0
    with pytest.raises(ferrisdb.ProgrammingError):
        db.run(is_wrong)
    assert tries == 1
    with pytest.raises(ferrisdb.DataError):
        db.run(is_wrong, attempts=0)


def test_a_conflict_over_bytes_ends_the_transaction(db: ferrisdb.Database) -> None:
    with pytest.raises(ferrisdb.SerializationFailure), db.transaction() as late, late.transaction():
        assert late.get(b"k") is None  # the snapshot is that of the first use
        with db.transaction() as early:
            early.put(b"k", b"early")
        late.put(b"k", b"late")
    assert not late.is_open
    with db.begin() as tx:
        assert tx.get(b"k") == b"early"


def test_money_moved_by_many_threads_is_neither_made_nor_lost(db: ferrisdb.Database) -> None:
    def move(tx: ferrisdb.Transaction) -> None:
        tx.execute("UPDATE account SET balance = balance - 1 WHERE id = 1")
        tx.execute("UPDATE account SET balance = balance + 1 WHERE id = 2")

    def work() -> None:
        try:
            for _ in range(10):
                db.run(move, attempts=200)
        except ferrisdb.Error as error:
            errors.append(error)

    errors: list[ferrisdb.Error] = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert db.query("SELECT balance FROM account ORDER BY id").all() == [(60,), (90,)]


def test_threads_each_with_a_connection_of_its_own(tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    keeper = ferrisdb.open(path, durability="off")
    keeper.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")

    def work(first: int) -> None:
        with ferrisdb.connect(path) as con:
            con.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(first, first + 50)])

    threads = [threading.Thread(target=work, args=(n * 50,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keeper.query("SELECT count(*), min(a), max(a) FROM t").one() == (200, 0, 199)
    keeper.close()


def test_opens_of_one_path_share_one_engine(tmp_path: Path) -> None:
    path = tmp_path / "db"
    (tmp_path / "link").symlink_to(path)
    a = ferrisdb.open(str(path), durability="off", cache_bytes=1 << 20)
    b = ferrisdb.open(str(tmp_path / "link"))
    a.execute("CREATE TABLE t (a INTEGER)")
    a.close()
    a.close()
    with pytest.raises(ferrisdb.InterfaceError, match="closed"):
        a.execute("SELECT 1")
    assert b.query("SELECT count(*) FROM t").scalar() == 0
    with pytest.raises(
        ferrisdb.ProgrammingError, match="already open in this process with durability = off, not full"
    ):
        ferrisdb.open(str(path), durability="full")
    b.close()
    with ferrisdb.open(str(path), durability=ferrisdb.Durability.FULL) as c:
        assert c.query("SELECT count(*) FROM t").scalar() == 0


def test_closing_rolls_back_though_others_keep_the_engine(tmp_path: Path) -> None:
    leaving, staying = ferrisdb.open(tmp_path / "db"), ferrisdb.open(tmp_path / "db")
    tx = leaving.begin()
    tx.put(b"k", b"never")
    with pytest.raises(ferrisdb.InterfaceError, match="is over"), leaving.transaction() as unlucky:
        unlucky.put(b"other", b"never")
        leaving.close()
        unlucky.get(b"other")
    with staying.transaction() as other:
        other.put(b"k", b"v")
    tx.rollback()
    assert not tx.is_open
    with pytest.raises(ferrisdb.InterfaceError):
        tx.commit()
    with staying.begin() as reader:
        assert list(reader.scan()) == [(b"k", b"v")]
    staying.close()


def test_a_failed_open_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "db"
    path.write_text("not a database")
    for _ in range(2):
        with pytest.raises(ferrisdb.OperationalError):
            ferrisdb.open(str(path))
    path.unlink()
    with ferrisdb.open(path) as db:
        assert db.tables() == ()


def test_memory_is_a_new_one_each_time_but_for_its_own_connections(db: ferrisdb.Database) -> None:
    with ferrisdb.open() as other:
        assert other.tables() == ()
    con = db.connect()
    assert [table.name for table in con.tables()] == ["account"]
    con.close()
    assert [table.name for table in db.tables()] == ["account"]


def test_a_dropped_transaction_gives_its_locks_back(db: ferrisdb.Database) -> None:
    tx = db.begin()
    tx.execute("UPDATE account SET balance = 0 WHERE id = 1")
    del tx
    gc.collect()
    db.execute("UPDATE account SET balance = 7 WHERE id = 1")
    assert db.query("SELECT balance FROM account WHERE id = 1").scalar() == 7


def test_rows_keep_their_transaction_while_there_are_any(db: ferrisdb.Database) -> None:
    db.execute_many("INSERT INTO account (id) VALUES (?)", [(n,) for n in range(10, 5000)])
    rows = db.begin().query("SELECT id FROM account")
    gc.collect()
    db.execute("DELETE FROM account")  # where transactions that nobody holds are ended
    assert len(rows.all()) == 4992


def test_closing_takes_rows_away_and_says_so(tmp_path: Path) -> None:
    db = ferrisdb.open(tmp_path / "db", durability="off")
    db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    db.execute_many("INSERT INTO t VALUES (?)", [(n,) for n in range(5000)])
    db.flush()
    rows = db.query("SELECT a FROM t")
    db.close()
    with pytest.raises(ferrisdb.InterfaceError, match="session of this result is closed"):
        rows.all()


def test_closed_rows_are_no_more(db: ferrisdb.Database) -> None:
    rows = db.query("SELECT id FROM account")
    assert rows.first() is not None
    assert rows.all() == []
    with db.query("SELECT id FROM account") as rows:
        pass
    assert rows.first() is None


def test_what_was_dropped_without_close_does_not_hold_the_folder(tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    other = f"import ferrisdb; ferrisdb.open({path!r}).close()"
    with ferrisdb.open(path) as db:
        con = db.connect()
        con.execute("CREATE TABLE t (a INTEGER)")
        del con
        gc.collect()
    subprocess.run([sys.executable, "-c", other], check=True, timeout=30)


def test_closing_rolls_back_the_others_though_one_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with ferrisdb.open(path) as keeper:
        keeper.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b INTEGER)")
        keeper.execute("INSERT INTO t VALUES (1, 0), (2, 0)")
        db = ferrisdb.open(path)
        writers = [db.begin() for _ in range(2)]
        refused = []

        def close_meanwhile() -> Iterator[tuple[int, int]]:
            thread = threading.Thread(target=close)
            thread.start()
            thread.join()
            yield (5, 5)

        def close() -> None:
            with pytest.raises(ferrisdb.InterfaceError, match="used by another thread"):
                db.close()
            refused.append(True)

        writers[0].execute("UPDATE t SET b = 1 WHERE a = 1")
        with pytest.raises(ferrisdb.Error):
            writers[1].execute("SAVEPOINT s")
            writers[1].execute_many("INSERT INTO t VALUES (?, ?)", close_meanwhile())
            writers[1].commit()
        assert refused
        assert keeper.execute("UPDATE t SET b = 2 WHERE a = 1") == 1


def test_misuse_is_an_interface_error_and_nothing_else(db: ferrisdb.Database) -> None:
    with db.transaction() as tx, pytest.raises(ferrisdb.InterfaceError, match="already in a with block"), tx:
        pass
    for wrong in (b"SELECT 1", None, 7):
        for call in (db.query, db.execute, lambda sql: db.execute_many(sql, [()])):
            with pytest.raises(ferrisdb.InterfaceError, match="a statement is a str"):
                call(wrong)  # type: ignore[operator]
    with pytest.raises(ferrisdb.InterfaceError, match="into= is a class or a function, not int"):
        db.query("SELECT 1 AS a", into=7)  # type: ignore[call-overload]
    for limit in (-1, 1.5, "1"):
        with pytest.raises(ferrisdb.DataError, match="limit is 0 or more"):
            db.begin().scan(limit=limit)  # type: ignore[arg-type]
    with pytest.raises(ferrisdb.InterfaceError, match="transaction is over"):
        tx.tables()
    closed = ferrisdb.open()
    closed.close()
    with pytest.raises(ferrisdb.InterfaceError, match="closed"), closed:
        pass


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ferrisdb.DataError, match="no durability 'maybe'") as wrong:
        ferrisdb.open(tmp_path, durability="maybe")
    assert wrong.value.hint == 'it is "full", "normal" or "off"'
    with ferrisdb.open() as db, pytest.raises(ferrisdb.DataError, match="chaos"):
        db.begin("chaos")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_is_refused_and_does_no_harm(tmp_path: Path) -> None:
    with ferrisdb.open(str(tmp_path / "db"), durability="off") as db:
        db.execute("CREATE TABLE t (a INTEGER)")
        child = os.fork()
        if child == 0:
            outcome = 1
            try:
                db.execute("INSERT INTO t VALUES (1)")
            except ferrisdb.OperationalError as error:
                outcome = 0 if "fork" in error.message else 2
            db.close()
            os._exit(outcome)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert db.query("SELECT count(*) FROM t").scalar() == 0
        db.execute("INSERT INTO t VALUES (2)")


@given(
    keys=st.lists(st.binary(max_size=4).filter(lambda key: key[:1] != b"\xff")), prefix=st.binary(max_size=3)
)
def test_a_prefix_gives_exactly_the_keys_that_begin_with_it(keys: list[bytes], prefix: bytes) -> None:
    assume(prefix[:1] != b"\xff")
    with ferrisdb.open() as db, db.transaction() as tx:
        for key in keys:
            tx.put(key, b"")
        assert [key for key, _ in tx.scan(prefix=prefix)] == sorted(
            {key for key in keys if key.startswith(prefix)}
        )
