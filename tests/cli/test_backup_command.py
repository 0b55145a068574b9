"""`ferrisdb backup` and `ferrisdb restore`: copies of a database, made, looked after, brought back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ferrisdb
from ferrisdb.cli.main import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> tuple[int, str, str]:
        status = main(list(arguments))
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return status, shown.out, shown.err

    return command


@pytest.fixture
def shop(run: Run) -> str:
    """Two backups: Ada's is in the first, Ben's row only in the second."""
    with ferrisdb.open("shop.ferris") as db:
        db.execute("CREATE TABLE account (owner TEXT)")
        db.execute("INSERT INTO account VALUES ('Ada')")
    assert run("backup", "shop.ferris", "shop.backups")[0] == 0
    with ferrisdb.open("shop.ferris") as db:
        db.execute("INSERT INTO account VALUES ('Ben')")
    assert run("backup", "shop.ferris", "shop.backups")[0] == 0
    return "shop.ferris"


def owners(path: str) -> list[tuple[str]]:
    with ferrisdb.open(path) as db:
        return db.query("SELECT owner FROM account ORDER BY owner").all()


def test_the_second_backup_copies_only_what_is_new(run: Run, shop: str) -> None:
    status, out, err = run("backup", shop, "shop.backups")
    assert (status, out) == (0, "")
    assert err.startswith("backup 3: 2 tables, ")
    assert err.endswith("copied 0 new tables, 0 bytes\n")


def test_the_list_is_a_table_on_standard_output(run: Run, shop: str) -> None:
    status, out, err = run("backup", "--list", "shop.backups")
    assert (status, err) == (0, "")
    head, _, first, second = out.splitlines()
    assert [cell.strip() for cell in head.split("|")] == [
        "backup",
        "made at (UTC)",
        "last commit",
        "tables",
        "bytes",
        "new tables",
        "new bytes",
    ]
    assert [cell.strip() for cell in first.split("|")][3] == "1"
    assert [cell.strip() for cell in second.split("|")][3::2] == ["2", "1"]


def test_any_backup_is_restored_as_the_database_was(run: Run, shop: str) -> None:
    with ferrisdb.open(shop) as db:
        db.execute("DELETE FROM account")
    status, out, err = run("restore", "shop.backups", "old.ferris", "--backup", "1")
    assert (status, out) == (0, "")
    assert err.startswith("restored backup 1 of ")
    assert run("restore", "shop.backups", "new.ferris")[0] == 0
    assert owners("old.ferris") == [("Ada",)]
    assert owners("new.ferris") == [("Ada",), ("Ben",)]
    assert owners(shop) == []


def test_verify_is_silent_on_a_good_store_and_names_file_and_byte_of_damage(run: Run, shop: str) -> None:
    status, out, err = run("backup", "--verify", "shop.backups")
    assert (status, out) == (0, "")
    assert err.startswith("ok: 2 backups with 2 tables, ")

    table = max(Path("shop.backups").glob("*.sst"))
    data = bytearray(table.read_bytes())
    data[40] ^= 1
    table.write_bytes(data)
    status, out, err = run("backup", "--verify", "shop.backups")
    assert status == 1
    assert out == f"{table.as_posix()}: byte 16: the checksum of the block is wrong\n"
    assert err.splitlines()[1] == "cannot be restored: 2"
    assert run("backup", "--verify", "shop.backups", "1")[0] == 0
    assert run("backup", "--verify", "shop.backups", "2")[0] == 1
    status, _, err = run("restore", "shop.backups", "new.ferris")
    assert status == 1
    assert err.startswith(f"ERROR XX001: the checksum of the block is wrong ({table.as_posix()}, byte 16)")
    assert list(Path("new.ferris").iterdir()) == [Path("new.ferris/LOCK")]


def test_a_damaged_description_is_an_error_and_the_others_are_still_listed(run: Run, shop: str) -> None:
    Path("shop.backups/backup-000002").write_bytes(b"rot")
    status, out, err = run("backup", "--list", "shop.backups")
    assert status == 1
    assert len(out.splitlines()) == 3
    assert "backup-000002" in err
    assert run("restore", "shop.backups", "old.ferris", "--backup", "1")[0] == 0
    with pytest.raises(ferrisdb.CorruptionError):
        ferrisdb.backups("shop.backups")


def test_backups_are_deleted_by_number_or_all_but_the_newest(run: Run, shop: str) -> None:
    assert run("backup", shop, "shop.backups", "--keep-last", "2")[0] == 0
    assert [each.number for each in ferrisdb.backups("shop.backups")] == [2, 3]
    assert run("backup", "--keep-last", "1", "shop.backups") == (0, "", "deleted 1 backup\n")
    assert run("backup", "--delete", "shop.backups", "3") == (0, "", "")
    assert ferrisdb.backups("shop.backups") == []
    assert list(Path("shop.backups").iterdir()) == [Path("shop.backups/LOCK")]
    status, _, err = run("backup", "--list", "shop.backups")
    assert (status, err) == (0, "shop.backups has no backup that can be read\n")


@pytest.mark.parametrize(
    ("arguments", "sqlstate", "said"),
    [
        (("backup", "nowhere", "shop.backups"), "58P01", "there is no database at nowhere"),
        (("backup", "shop.ferris", "shop.ferris"), "58P01", "is a database, not a backup store"),
        (("backup", "--list", "nowhere"), "58P01", "there is no backup store at nowhere"),
        (("backup", "--verify", "shop.backups", "9"), "42704", "no backup 9"),
        (("backup", "--delete", "shop.backups", "9"), "42704", "no backup 9"),
        (("restore", "shop.backups", "x", "--backup", "9"), "42704", "no backup 9"),
        (("restore", "nowhere", "x"), "58P01", "there is no backup store at nowhere"),
        (("restore", "shop.backups", "shop.ferris"), "58P02", "shop.ferris is not empty"),
        # One inside the other: who removes the outer one, or looks into it, does not think of the inner.
        (("backup", "shop.ferris", "shop.ferris/backups"), "22023", "lies in the database itself"),
        (("restore", "shop.backups", "shop.backups/new"), "22023", "lies in the backup store"),
        (
            ("restore", "shop.backups", "./shop.backups/../shop.backups/a/b"),
            "22023",
            "lies in the backup store",
        ),
        # An empty name is a forgotten variable, and does not mean the folder that we are in.
        (("backup", "", "shop.backups"), "08003", "path is empty"),
        (("backup", "shop.ferris", ""), "08003", "path is empty"),
        (("backup", "--list", ""), "08003", "path is empty"),
        (("restore", "shop.backups", ""), "08003", "path is empty"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_done_is_one_clear_error_and_nothing_is_made(
    run: Run, shop: str, arguments: tuple[str, ...], sqlstate: str, said: str
) -> None:
    before = sorted(Path().rglob("*"))
    status, out, err = run(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith(f"ERROR {sqlstate}: ")
    assert said in err
    assert sorted(Path().rglob("*")) == before


def test_a_folder_without_a_backup_does_not_pass_for_a_good_store(run: Run) -> None:
    # Given the wrong folder, which happens to be empty.
    Path("wrong").mkdir()
    # When somebody verifies it each night, then it is not well.
    assert run("backup", "--verify", "wrong") == (1, "", "ERROR 42704: wrong has no backup\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("backup",),
        ("backup", "a"),
        ("backup", "a", "b", "c"),
        ("backup", "--list", "a", "b"),
        ("backup", "--verify", "a", "x"),
        ("backup", "--verify", "a", "1" * 5000),
        ("backup", "a", "b", "--keep-last", "1" * 5000),
        ("backup", "--verify", "a", "1", "2"),
        ("backup", "--delete", "a"),
        ("backup", "a", "b", "--keep-last", "0"),
        ("restore", "a"),
        ("restore", "a", "b", "--backup", "x"),
    ],
    ids=" ".join,
)
def test_wrong_usage_says_what_is_right(run: Run, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    assert list(Path().iterdir()) == []


def test_the_bar_is_shown_on_standard_error_when_asked_for(run: Run, shop: str) -> None:
    with ferrisdb.open(shop) as db:
        db.execute("INSERT INTO account VALUES ('Cleo')")
    for what, *arguments in (
        ("backup", "backup", shop, "shop.backups"),
        ("verify", "backup", "--verify", "shop.backups"),
        ("restore", "restore", "shop.backups", "new.ferris"),
    ):
        status, out, err = run(*arguments, "--progress")
        assert (status, out) == (0, "")
        assert f"{what}: 100%" in err


def test_a_database_that_another_process_has_open_is_backed_up_there(run: Run, shop: str) -> None:
    code = (
        "import ferrisdb, sys; db = ferrisdb.open('shop.ferris'); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        status, _, err = run("backup", shop, "shop.backups")
        assert status == 1
        assert f"held by process {holder.pid}" in err
        assert "HINT: call db.backup(...) in the process that has it open" in err
        assert holder.stdin is not None
        holder.stdin.close()
    assert run("backup", shop, "shop.backups")[0] == 0
