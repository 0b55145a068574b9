"""Backups and checkpoints from Python, of databases that are in use."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import ferrisdb


@pytest.mark.parametrize("path", ["on disk", ":memory:"])
def test_an_open_database_is_backed_up_and_restored(path: str, tmp_path: Path) -> None:
    store, target = tmp_path / "store", tmp_path / "restored"
    with ferrisdb.open(path if path == ":memory:" else tmp_path / "db") as db:
        db.execute("CREATE TABLE t (a INTEGER)")
        with db.transaction() as tx:
            tx.execute("INSERT INTO t VALUES (1)")
            first = db.backup(store)  # what is not committed is not in it
        told: list[tuple[int, int]] = []
        second = db.backup(store, progress=lambda done, total: told.append((done, total)))
        db.execute("INSERT INTO t VALUES (2)")
    assert ferrisdb.backups(store) == [first, second]
    assert (first.number, second.number, second.copied_count) == (1, 2, 1)
    assert sum(done for done, _ in told) == second.copied_bytes == told[0][1]
    assert abs(second.made_at - datetime.now(UTC)) < timedelta(days=1)
    assert ferrisdb.verify_backup(store).findings == ()
    assert ferrisdb.restore(store, target) == second
    with ferrisdb.open(target) as copy:
        assert copy.query("SELECT a FROM t").all() == [(1,)]
    ferrisdb.restore(store, tmp_path / "older", backup=1)
    with ferrisdb.open(tmp_path / "older") as copy:
        assert copy.query("SELECT a FROM t").all() == []
    ferrisdb.delete_backup(store, 1)
    assert ferrisdb.backups(store) == [second]
    assert ferrisdb.verify_backup(store, 2).damaged == ()


@pytest.mark.parametrize("path", ["on disk", ":memory:"])
def test_a_checkpoint_is_a_database_of_its_own(path: str, tmp_path: Path) -> None:
    with ferrisdb.open(path if path == ":memory:" else tmp_path / "db") as db:
        db.execute("CREATE TABLE t (a INTEGER)")
        db.execute("INSERT INTO t VALUES (1)")
        db.checkpoint(tmp_path / "copy")
        db.execute("INSERT INTO t VALUES (2)")
        with pytest.raises(ferrisdb.errors.FolderNotEmpty):
            db.checkpoint(tmp_path / "copy")
        with ferrisdb.open(tmp_path / "copy") as copy:
            copy.execute("INSERT INTO t VALUES (3)")
            assert copy.query("SELECT a FROM t ORDER BY a").all() == [(1,), (3,)]
        assert db.query("SELECT a FROM t ORDER BY a").all() == [(1,), (2,)]


def test_a_closed_database_says_so(tmp_path: Path) -> None:
    db = ferrisdb.open(tmp_path / "db")
    db.close()
    for work in (db.checkpoint, db.backup):
        with pytest.raises(ferrisdb.InterfaceError, match="closed"):
            work(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_nonsense_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with ferrisdb.open(tmp_path / "db") as db:
        with pytest.raises(ferrisdb.errors.InvalidParameterValue):
            db.backup(tmp_path / "store", keep_last=0)
        with pytest.raises(ferrisdb.InterfaceError):
            db.backup(b"store")  # type: ignore[arg-type]
    assert not (tmp_path / "store").exists()


def test_a_copy_does_not_lie_in_what_is_copied(tmp_path: Path) -> None:
    with ferrisdb.open(tmp_path / "db") as db:
        (tmp_path / "link").symlink_to("db")
        for inner in (
            tmp_path / "db" / "copy",
            tmp_path / "link" / "copy",
            tmp_path / "x" / ".." / "db" / "y",
        ):
            with pytest.raises(ferrisdb.errors.InvalidParameterValue, match="lies in the database"):
                db.backup(inner)
            with pytest.raises(ferrisdb.errors.InvalidParameterValue, match="lies in the database"):
                db.checkpoint(inner)
            assert not inner.exists()
        db.backup(tmp_path / "db-store")
    with pytest.raises(ferrisdb.errors.InvalidParameterValue, match="lies in the backup store"):
        ferrisdb.restore(tmp_path / "db-store", tmp_path / "db-store" / "new")
    assert len(ferrisdb.backups(tmp_path / "db-store")) == 1
