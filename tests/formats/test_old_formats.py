"""A database of every released format version opens, reads right and can be written, for ever."""

from __future__ import annotations

import shutil
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

import ferrisdb
from ferrisdb.storage.inspect_folder import look_at
from ferrisdb.storage.os_env import OsEnv

FIXTURES = sorted(Path(__file__).parent.glob("format_*"))

FIRST_DAY, LAST_MOMENT = date(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)
NEW_YEAR, MOMENT = date(1994, 1, 1), datetime(1994, 1, 1, 10, 20, 30, 123456)
EXACT = Decimal("-99999999999999999999.5")
EVERYTHING = [
    (1, -(2**63), 1.5e300, Decimal("12345679.90"), Decimal("1e-21"), "ann", "", True, NEW_YEAR, MOMENT),
    (2, 2**63 - 1, -0.1, Decimal("-0.01"), EXACT, "žluťoučký", 'a\n"b"', False, FIRST_DAY, LAST_MOMENT),
    (3, None, None, None, None, None, "in the table file", True, None, None),
    (4, None, None, None, None, "only in the log", "none", True, None, None),
]


@pytest.fixture(params=FIXTURES, ids=lambda path: path.name)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    copy = tmp_path / "old.ferris"
    shutil.copytree(request.param, copy)
    return copy


def test_there_is_a_fixture() -> None:
    assert [path.name for path in FIXTURES] == ["format_1", "format_2"]


def test_every_kind_of_file_is_in_it(database: Path) -> None:
    kinds = {path.suffix or path.name.split("-")[0] for path in database.iterdir()}
    assert kinds == {".wal", ".sst", "MANIFEST", "CURRENT"}


def test_it_reads_as_it_was_written(database: Path) -> None:
    with ferrisdb.open(str(database)) as db:
        assert db.query("SELECT * FROM everything ORDER BY id").all() == EVERYTHING
        assert db.query("SELECT n FROM no_key").all() == [(1,), (1,)]
        assert db.query("SELECT id FROM everything WHERE day = '1994-01-01'").all() == [(1,)]
        assert db.query("SELECT id FROM everything WHERE name = 'žluťoučký'").all() == [(2,)]
        with db.transaction() as tx:
            assert tx.get(b"raw key") == b"raw value"


def test_what_version_2_added_reads_right(tmp_path: Path) -> None:
    copy = tmp_path / "second.ferris"
    shutil.copytree(FIXTURES[1], copy)
    with ferrisdb.open(str(copy)) as db, db.transaction() as tx:
        kept = [b"ingested/2", b"ingested/3", b"ingested/5"]
        assert list(tx.scan(prefix=b"ingested/")) == [(key, b"in bulk") for key in kept]
        tables = [entry for entry in look_at(OsEnv(), str(FIXTURES[1])).state.tables if entry.ingested_at]
        assert len(tables) == 1


def test_it_can_be_written_and_its_constraints_still_hold(database: Path) -> None:
    with ferrisdb.open(str(database)) as db:
        db.execute("INSERT INTO everything (id, is_on, name) VALUES (5, FALSE, 'new')")
        with pytest.raises(ferrisdb.IntegrityError):
            db.execute("INSERT INTO everything (id, is_on, name) VALUES (6, FALSE, 'ann')")
        db.execute("INSERT INTO no_key VALUES (3)")
    with ferrisdb.open(str(database)) as db:
        assert db.query("SELECT count(*) FROM everything").scalar() == 5
        assert sorted(db.query("SELECT n FROM no_key").all()) == [(1,), (1,), (3,)]


def test_it_can_be_ingested_into_and_opens_again(database: Path) -> None:
    for turn in range(2):
        with ferrisdb.open(str(database)) as db:
            assert db.ingest([(b"a%d" % turn, b"in bulk"), (b"raw key", b"%d" % turn)]) == 2
    with ferrisdb.open(str(database)) as db, db.transaction() as tx:
        assert [tx.get(key) for key in (b"a0", b"a1", b"raw key")] == [b"in bulk", b"in bulk", b"1"]
        assert db.query("SELECT count(*) FROM everything").scalar() == 4
