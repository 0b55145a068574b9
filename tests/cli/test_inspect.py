"""`ferrisdb inspect` and `ferrisdb check`: what the files hold, in words; nothing is changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ferrisdb
from ferrisdb.cli.inspect_names import KeyNames
from ferrisdb.cli.main import main
from ferrisdb.query.catalog import tables_in
from ferrisdb.query.keyspace import names_range
from ferrisdb.storage.inspect_folder import look_at
from ferrisdb.storage.os_env import OsEnv

Captured = pytest.CaptureFixture[str]
FIRST_LOG, FIRST_TABLE = "000003.wal", "000004.sst"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Two accounts and two notes in a table; a change, a delete and two raw keys in the log."""
    folder = str(tmp_path / "db")
    with ferrisdb.open(folder) as db:
        db.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT, balance NUMERIC(10,2))")
        db.execute("CREATE INDEX by_owner ON account (owner)")
        db.execute("CREATE TABLE note (body TEXT UNIQUE)")
        db.execute("INSERT INTO account VALUES (1, 'Ada', 100), (2, 'Bob / O''Neil', 50)")
        db.execute("INSERT INTO note VALUES ('hello'), (NULL)")
        db.flush()
        db.execute("UPDATE account SET balance = 90 WHERE id = 1")
        db.execute("DELETE FROM account WHERE id = 2")
        tx = db.begin()
        tx.put(b"plain", b"text")
        tx.put(b"\x00\x01", b"\xff\xfe")
        tx.commit()
    return folder


def inspected(capsys: Captured, path: str, *arguments: str) -> str:
    status = main(["inspect", path, *arguments])
    shown = capsys.readouterr()
    assert (status, shown.err) == (0, "")
    return shown.out


def contents(path: str) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in Path(path).iterdir()}


def flip(file: Path, offset: int) -> None:
    data = bytearray(file.read_bytes())
    data[offset] ^= 0x40
    file.write_bytes(data)


def test_the_log_shows_commits_with_place_and_checksum(capsys: Captured, path: str) -> None:
    out = inspected(capsys, path, "wal")
    assert re.sub(r"crc32 [0-9a-f]{8}", "crc32 _", out) == (
        "000003.wal: a segment of the write-ahead log, 231 bytes\n"
        "byte 0  header, 16 bytes: FDB_WAL, version 2, checksums are crc32, its own is right\n"
        "byte 16  commit 6, 67 bytes, crc32 _ right, 16 bytes were synced\n"
        "          put account(1)  (1, 'Ada', 90.00)\n"
        "byte 83  commit 7, 73 bytes, crc32 _ right, 83 bytes were synced\n"
        "          delete account(2)\n"
        "          delete by_owner('Bob / O''Neil' / 2)\n"
        "byte 156  commit 8, 48 bytes, crc32 _ right, 156 bytes were synced\n"
        "          put 'plain'  'text'\n"
        "          put 0x0001  0xfffe\n"
        "byte 204  mark of commit 8, 27 bytes, crc32 _ right, 204 bytes were synced\n"
    )


def test_manifest_and_levels_name_the_table(capsys: Captured, path: str) -> None:
    manifest = inspected(capsys, path, "manifest")
    assert "add to level 0: 000004.sst" in manifest
    assert "last timestamp is 5" in manifest
    levels = inspected(capsys, path, "levels")
    assert "level 0  1 table, " in levels
    assert "log      000003.wal" in levels


def test_deleted_ranges_are_shown_in_log_manifest_and_levels_and_with_each_key(
    capsys: Captured, path: str
) -> None:
    with ferrisdb.open(path) as db, db.begin() as tx:
        tx.delete_range(b"p", b"q")
        tx.put(b"pl", b"later")
    assert "commit 9" in (log := inspected(capsys, path, "wal"))
    assert "          delete all keys from 'p' to before 'q'\n          put 'pl'  'later'" in log
    key = inspected(capsys, path, "key", "plain")
    assert "deleted at 9: all keys from 'p' to before 'q'; no version below 9 counts" in key
    assert "deleted at" not in inspected(capsys, path, "key", "q")
    with ferrisdb.open(path) as db:
        db.flush()
    manifest = inspected(capsys, path, "manifest")
    assert "deleted at 9: all keys from 'p' to before 'q'" in manifest
    settled = "settled, deleted at 9" in manifest
    assert ("1 deleted range that a table may still" in inspected(capsys, path, "levels")) is not settled


def test_the_parts_of_a_table_cover_the_file_without_a_gap(capsys: Captured, path: str) -> None:
    out = inspected(capsys, path, "sst", FIRST_TABLE)
    parts = [
        (int(at), int(size.replace(",", "")))
        for at, size in re.findall(r"byte (\d+) .*?, ([\d,]+) bytes", out)
    ]
    end = 0
    for offset, length in parts:
        assert offset == end
        end = offset + length
    assert end == (Path(path) / FIRST_TABLE).stat().st_size
    assert "bloom filter of 4 words of 64 bits" in out
    assert out == inspected(capsys, path, "sst", "4")


def test_a_block_shows_rows_of_tables_indexes_and_catalog(capsys: Captured, path: str) -> None:
    out = inspected(capsys, path, "block", "4", "0")
    for row in (
        "account(2) @4  (2, 'Bob / O''Neil', 50.00)",
        "by_owner('Ada' / 1) @4  account(1)",
        "note(row 1) @5  ('hello')",
        "note_body_key('hello') @5  note(row 1)",
        "note_body_key(NULL / row 2) @5  note(row 2)",
        "catalog account @1",
    ):
        assert row in out
    raw = inspected(capsys, path, "block", "4", "0", "--raw")
    assert "0xff740100018000000000000002 @4" in raw
    assert "account(2)" not in raw


def test_a_key_is_followed_through_the_files(capsys: Captured, path: str) -> None:
    assert inspected(capsys, path, "key", "account(1)") == (
        "account(1): 13 bytes, 0xff740100018000000000000001\n"
        "000003.wal  1 version\n"
        "  @6 in the record at byte 16  (1, 'Ada', 90.00)\n"
        "000004.sst  level 0: its bloom filter says maybe, block 0 was read: 1 version\n"
        "  @4  (1, 'Ada', 100.00)\n"
        "2 versions in all\n"
    )
    assert "its bloom filter says no" in inspected(capsys, path, "key", "account(77)")
    assert "outside its range" in inspected(capsys, path, "key", "plain")


def test_every_key_can_be_typed_as_it_is_shown(path: str) -> None:
    seen = look_at(OsEnv(), path)
    names = KeyNames(tables_in(seen.newest_rows(*names_range())), 1000)
    keys = {key for key, _, _ in seen._versions_between(b"", b"\xff\xff")}
    assert len(keys) > 12
    for key in keys:
        assert names.parse_key(names.key(key)) == key, names.key(key)


def test_output_is_bounded(capsys: Captured, path: str) -> None:
    out = inspected(capsys, path, "block", "4", "0", "--limit", "2", "--width", "10")
    rows = out.splitlines()[2:]
    assert len(rows) == 3
    assert rows[-1].startswith("... and ")
    assert all(len(row) < 80 for row in rows)
    out = inspected(capsys, path, "wal", "--limit", "1")
    assert out.endswith("put account(1)  (1, 'Ada', 90.00)\n... and 3 more records (--limit 0 shows all)\n")
    with ferrisdb.open(path) as db:
        db.flush()
        db.execute("INSERT INTO account VALUES (3, 'Cid', 1)")
    assert "          ... and 1 more writes" in inspected(capsys, path, "wal", "--limit", "1")
    everything = inspected(capsys, path, "block", "4", "0", "--limit", "0")
    assert "... and" not in everything


def test_looking_changes_no_byte(capsys: Captured, path: str) -> None:
    before = contents(path)
    for arguments in (["wal"], ["manifest"], ["levels"], ["sst", "4"], ["block", "4", "0"], ["key", "plain"]):
        inspected(capsys, path, *arguments)
    assert main(["check", path]) == 0
    assert contents(path) == before


def test_a_database_that_is_open_can_be_looked_at(capsys: Captured, path: str) -> None:
    with ferrisdb.open(path) as db:
        db.execute("INSERT INTO account VALUES (3, 'Cid', 1)")
        before = contents(path)
        assert main(["inspect", path, "key", "account(3)"]) == 0
        shown = capsys.readouterr()
        assert "(3, 'Cid', 1.00)" in shown.out
        assert re.match(r"note: process \d+ has the database open", shown.err)
        assert main(["check", path]) == 0
        assert contents(path) == before
        assert db.query("SELECT count(*) FROM account").scalar() == 2


def test_damage_is_shown_where_it_is_and_is_one_clear_error(capsys: Captured, path: str) -> None:
    flip(Path(path) / FIRST_TABLE, 30)
    assert main(["inspect", path, "sst", "4", "--raw"]) == 1
    shown = capsys.readouterr()
    assert "block 0, " in shown.out
    assert "WRONG: the bytes give" in shown.out
    assert "footer" in shown.out
    assert shown.err == f"ERROR XX001: the checksum of the block is wrong ({path}/000004.sst, byte 16)\n"


def test_a_damaged_catalog_leaves_bytes(capsys: Captured, path: str) -> None:
    flip(Path(path) / FIRST_TABLE, 30)
    assert main(["inspect", path, "levels"]) == 0
    shown = capsys.readouterr()
    assert "note: the catalog cannot be read, so keys are shown as bytes" in shown.err
    assert "0xff" in shown.out


def test_blocks_are_shown_though_the_footer_is_gone(capsys: Captured, path: str) -> None:
    file = Path(path) / FIRST_TABLE
    file.write_bytes(file.read_bytes()[:-5])
    assert main(["inspect", path, "sst", "4", "--raw"]) == 1
    shown = capsys.readouterr()
    assert re.search(r"byte 16  block 0, \d+ bytes, codec 0, crc32 [0-9a-f]{8} right", shown.out)
    assert "the file does not end with a footer" in shown.err


def test_damage_in_the_log_is_shown_with_what_lies_behind(capsys: Captured, path: str) -> None:
    flip(Path(path) / FIRST_LOG, 16 + 30)
    assert main(["inspect", path, "wal"]) == 1
    shown = capsys.readouterr()
    assert "byte 16  BAD, 67 bytes: the checksum is wrong" in shown.out
    assert "byte 83  commit 7" in shown.out
    assert "byte 16)" in shown.err


def test_a_torn_end_is_no_error(capsys: Captured, path: str) -> None:
    file = Path(path) / FIRST_LOG
    file.write_bytes(file.read_bytes()[:-3])
    assert "BAD, 24 bytes: cut short" in inspected(capsys, path, "wal")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sst", "99"], "has no .sst file 99"),
        (["sst", "3"], "has no .sst file 3"),
        (["block", "4", "7"], "has 1 block, counted from 0"),
        (["key", "0xabc"], "is not hexadecimal"),
        (["key", "account(1, 2)"], "a key of account has 1 values, not 2"),
        (["key", "account('x')"], "x"),
        (["key", "note('x')"], "note has no primary key"),
        (["key", "account(,)"], "is not a list of values"),
    ],
)
def test_a_wrong_question_is_one_clear_error(
    capsys: Captured, path: str, arguments: list[str], message: str
) -> None:
    assert main(["inspect", path, *arguments]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("ERROR 22")
    assert message in shown.err


def test_a_lost_current_is_one_clear_error(capsys: Captured, path: str) -> None:
    (Path(path) / "CURRENT").unlink()
    assert main(["inspect", path, "levels"]) == 1
    assert "names the manifest is missing" in capsys.readouterr().err


def test_looking_never_makes_a_database(capsys: Captured, tmp_path: Path) -> None:
    for command in (["inspect", str(tmp_path / "none"), "levels"], ["check", str(tmp_path / "none")]):
        assert main(command) == 1
        assert "there is no database at" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_check_is_silent_on_a_good_database(capsys: Captured, path: str) -> None:
    assert main(["check", path]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.fullmatch(
        r"ok: 1 tables with 1 blocks and \d+ versions, 1 log segments with 3 commits\n", shown.err
    )


def test_check_prints_a_line_for_each_finding(capsys: Captured, path: str) -> None:
    flip(Path(path) / FIRST_TABLE, 30)
    flip(Path(path) / FIRST_LOG, 46)
    assert main(["check", path]) == 1
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == f"{path}/000004.sst: byte 16: the checksum of the block is wrong"
    assert lines[1].startswith(
        f"{path}/000003.wal: byte 16: the log record is damaged: the checksum is wrong"
    )
    assert len(lines) == 2
    assert shown.err.startswith("2 found: ")


def test_check_notes_what_a_crash_left(capsys: Captured, path: str) -> None:
    (Path(path) / "000099.sst").write_bytes(b"half a table")
    assert main(["check", path]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "000099.sst: the manifest does not name it; opening removes it" in shown.err
