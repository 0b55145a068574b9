"""`ferrisdb salvage`: the lesson of a damaged database, from the first error to the new one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ferrisdb
from ferrisdb.cli.main import main


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two accounts in a table, a third in the log."""
    monkeypatch.chdir(tmp_path)
    with ferrisdb.open("shop") as db:
        db.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT)")
        db.execute("INSERT INTO account VALUES (1, 'Ada'), (2, 'Bob')")
        db._lease.engine.store.flush()
        db.execute("INSERT INTO account VALUES (3, 'Cy')")
    return tmp_path / "shop"


def spoil(path: Path, what: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(what)] ^= 1
    path.write_bytes(data)


def only(shop: Path, pattern: str) -> Path:
    (path,) = shop.glob(pattern)
    return path


def test_a_sound_database_is_copied_and_nothing_is_lost(shop, capsys):
    assert main(["salvage", "shop", "new"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("nothing is lost")
    with ferrisdb.open("new") as db:
        assert db.query("SELECT owner FROM account ORDER BY id").all() == [("Ada",), ("Bob",), ("Cy",)]


def test_a_lost_record_is_named_by_its_place_and_its_commit(shop, capsys):
    # Given the log, damaged where Cy was written: opening is refused.
    log = only(shop, "*.wal")
    spoil(log, b"Cy")
    assert main(["shop", "-c", "SELECT * FROM account"]) == 1
    assert "ferrisdb salvage" in capsys.readouterr().err
    # When it is salvaged, then the report says what is lost, and the rest is there.
    before = {path.name: path.read_bytes() for path in shop.iterdir()}
    assert main(["salvage", "shop", "new"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"shop/{log.name}: bytes 16-")
    assert lines[1] == "  lost: an unknown number of versions, of any keys, commit 3"
    assert lines[-1].endswith("something is lost")
    assert {path.name: path.read_bytes() for path in shop.iterdir()} == before
    with ferrisdb.open("new") as db:
        assert db.query("SELECT owner FROM account ORDER BY id").all() == [("Ada",), ("Bob",)]


def test_a_lost_block_is_named_by_its_keys_in_the_words_of_sql(shop, capsys):
    # Given many blocks, and one of them damaged.
    with ferrisdb.open("shop", block_bytes=100) as db:
        db.execute("INSERT INTO account VALUES " + ", ".join(f"({n}, 'owner {n}')" for n in range(10, 60)))
        db._lease.engine.store.flush()
    newest = max(shop.glob("*.sst"))
    spoil(newest, b"owner 30")
    assert main(["salvage", "shop", "new", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    (damage,) = report["damages"]
    assert damage["file"] == f"shop/{newest.name}"
    shown = damage["smallest_key"]["shown"], damage["largest_key"]["shown"]
    assert all(key.startswith("account(") for key in shown)
    first, last = (int(key.removeprefix("account(").removesuffix(")")) for key in shown)
    assert first <= 30 <= last
    # The index tells a key that is not larger than the first: the range may begin one before.
    assert last - first + 1 - damage["versions"] in (0, 1)
    first = last + 1 - damage["versions"]
    with ferrisdb.open("new") as db:
        found = {id for (id,) in db.query("SELECT id FROM account").all()}
    assert found == {1, 2, 3, *range(10, 60)} - set(range(first, last + 1))


def test_mistakes_are_one_clear_error(shop, capsys):
    assert main(["salvage", "nowhere", "new"]) == 1
    assert "there is no database at nowhere" in capsys.readouterr().err
    assert main(["salvage", "shop", "shop/inside"]) == 1
    assert "DST lies in SRC" in capsys.readouterr().err
    with ferrisdb.open("shop"):
        assert main(["salvage", "shop", "new"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert not Path("new").exists()
