"""Backups: each is whole, each costs only what is new, and damage is found and named."""

from __future__ import annotations

import random
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from backup_lab import FEW_BLOCKS, FOLDER, SMALL, STORE, TARGET, Lab, rows_in, tables_in
from test_checkpoint import FullDisk

from ferrisdb.errors import (
    CorruptionError,
    DatabaseLocked,
    DiskFull,
    FolderNotEmpty,
    InvalidParameterValue,
    NotADatabase,
    StorageError,
    UndefinedObject,
)
from ferrisdb.storage import flush
from ferrisdb.storage.backup import delete_backups, keep_last_backups, make_backup
from ferrisdb.storage.backup_store import BackupStore
from ferrisdb.storage.backup_verify import verify_backups
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.flush import describe_table
from ferrisdb.storage.manifest import TableEntry
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.os_env import OsEnv
from ferrisdb.storage.restore import restore_backup
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.sstable_writer import write_sstable

FORMAT_1 = Path(__file__).parents[1] / "formats" / "format_1"


def restored(store: BackupStore, number: int) -> tuple[dict[bytes, bytes], int]:
    """Rows and last commit of a backup, restored on a machine of its own."""
    env = MemoryEnv()
    restore_backup(store, env, TARGET, number=number)
    return rows_in(env, TARGET)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_each_backup_is_the_database_as_it_was(seed: int) -> None:
    """Commits, flushes, compactions, openings; backups between them, and some deleted."""
    chance = random.Random(seed)
    lab = Lab()
    due: dict[int, tuple[dict[bytes, bytes], int]] = {}
    for _ in range(60):
        match chance.choice(["write"] * 6 + ["flush", "compact", "reopen", "backup", "backup", "delete"]):
            case "write":
                lab.write(chance, chance.randint(1, 8))
            case "flush":
                lab.engine.flush()
            case "compact":
                lab.collect()
                lab.engine.wait_until_compacted()
            case "reopen":
                lab.reopen()
            case "delete" if due:
                number = chance.choice(list(due))
                delete_backups(lab.store, [number])
                del due[number]
            case "backup":
                before = tables_in(lab.env, STORE) if lab.env.exists(STORE) else set()
                made = lab.back_up()
                due[made.number] = dict(lab.rows), lab.commits
                new = tables_in(lab.env, STORE) - before
                sizes = [len(lab.env.read_file(f"{STORE}/{name}")) for name in new]
                assert (made.copied_count, made.copied_bytes) == (len(sizes), sum(sizes)), f"seed {seed}"
                assert made.last_timestamp == lab.commits
    lab.engine.close()
    if not lab.env.exists(STORE):
        return
    assert lab.store.numbers() == sorted(due), f"seed {seed}"
    assert verify_backups(lab.store).findings == ()
    for number, then in due.items():
        assert restored(lab.store, number) == then, f"seed {seed}, backup {number}"
    # What no backup needs is not there.
    named = {table.name for number in due for table in lab.store.read(number).tables}
    assert tables_in(lab.env, STORE) == named, f"seed {seed}"


def test_a_second_backup_copies_only_the_new_table() -> None:
    lab = Lab(options=FEW_BLOCKS)
    lab.write(random.Random(1), 3)
    first = lab.back_up()
    lab.write(random.Random(2), 1)
    second = lab.back_up()
    third = lab.back_up()
    lab.engine.close()
    assert (first.copied_count, first.table_count) == (1, 1)
    assert (second.copied_count, second.table_count) == (1, 2)
    assert (third.copied_count, third.copied_bytes, third.table_count) == (0, 0, 2)


def test_two_databases_with_the_same_table_numbers_share_a_store() -> None:
    """As a restored database does that counts on where the first one did."""
    env = MemoryEnv()
    store = BackupStore(env, "store")
    made = []
    for name in (b"one", b"two"):
        engine = Engine.open(env, name.decode())
        engine.commit({b"k": name})
        made.append(make_backup(engine.pin_tables(), store, made_at_s=1.0))
        engine.close()
    (one,), (two,) = (store.read(backup.number).tables for backup in made)
    assert (one.number, one.file_bytes) == (two.number, two.file_bytes)
    assert restored(store, 1)[0][b"k"] == b"one"
    assert restored(store, 2)[0][b"k"] == b"two"


@pytest.mark.parametrize("manifest_says", [True, False])
def test_a_table_of_the_same_shape_and_other_values_is_not_the_one_that_was_backed_up(
    manifest_says: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every checksum in it is right. A manifest of an older version knows nothing of its blocks."""

    def say_less(table: SSTableReader, number: int, level: int) -> TableEntry:
        return replace(describe_table(table, number, level), blocks_checksum=None)

    if not manifest_says:
        monkeypatch.setattr(flush, "describe_table", say_less)
    lab = small_store()
    (table,) = lab.store.read(1).tables
    entries = [(b"gone", 1, None), (b"k0", 1, b"w" * 20)]
    write_sstable(lab.env, f"{STORE}/{table.name}", entries, block_bytes=150)
    (finding,) = verify_backups(lab.store).findings
    if manifest_says:
        assert finding.problem.startswith("the manifest says blocks_checksum")
        refusal = finding.problem
    else:
        assert (finding.offset, finding.problem) == (16, "the blocks are not those that were backed up")
        refusal = "not the one that was to be copied"
    with pytest.raises(CorruptionError, match=refusal):
        restored(lab.store, 1)


def test_a_database_of_format_version_1_is_backed_up(tmp_path: Path) -> None:
    """Its tables do not know the checksum of their blocks: it is computed."""
    shutil.copytree(FORMAT_1, tmp_path / "old")
    env, folder = OsEnv(), (tmp_path / "old").as_posix()
    store = BackupStore(env, (tmp_path / "store").as_posix())
    engine = Engine.open(env, folder)
    assert None in engine.pin_tables().checksums().values()
    due = {
        k: v
        for keys, values in engine.scan(b"", None, engine.visible_timestamp)
        for k, v in zip(keys, values, strict=True)
    }
    first, second = (make_backup(engine.pin_tables(), store, made_at_s=1.0) for _ in range(2))
    engine.checkpoint((tmp_path / "checkpoint").as_posix())
    engine.close()
    assert (first.copied_count, second.copied_count) == (2, 0)
    assert verify_backups(store).findings == ()
    restore_backup(store, env, (tmp_path / "new").as_posix())
    assert rows_in(env, (tmp_path / "new").as_posix())[0] == due
    assert rows_in(env, (tmp_path / "checkpoint").as_posix())[0] == due


# --- damage -----------------------------------------------------------------------------


def small_store() -> Lab:
    """Two backups: the first has one table, the second two."""
    lab = Lab(options=FEW_BLOCKS)
    for number in range(2):
        lab.engine.commit({b"k%d" % number: b"v" * 20, b"gone": None})
        lab.back_up()
    lab.engine.close()
    return lab


def test_every_flipped_byte_of_a_store_is_found_and_its_file_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All but those of LOCK, which say nothing."""
    lab = small_store()
    flips = 0
    for name in lab.env.list_directory(STORE):
        path = f"{STORE}/{name}"
        data = lab.env.read_file(path)
        for position in range(len(data)):
            damaged = bytearray(data)
            damaged[position] ^= 0x10
            lab.env.create(path).append(bytes(damaged))
            report = verify_backups(lab.store)
            if name == "LOCK":
                assert report.findings == ()
                continue
            assert {finding.file for finding in report.findings} == {path}, (name, position)
            assert all(0 <= finding.offset <= len(data) for finding in report.findings)
            assert report.damaged, (name, position)
            # And a damaged backup is not restored, the others are.
            for number in (1, 2):
                if number in report.damaged:
                    with pytest.raises(CorruptionError):
                        restored(lab.store, number)
            flips += 1
        lab.env.create(path).append(data)
    assert verify_backups(lab.store).findings == ()
    with capsys.disabled():
        print(f"\n  flipped {flips} bytes of a backup store", end="")


@pytest.mark.parametrize("cut", [1, 30, 100])
def test_a_cut_file_is_found(cut: int) -> None:
    lab = small_store()
    for name in lab.env.list_directory(STORE):
        if name == "LOCK":
            continue
        data = lab.env.read_file(f"{STORE}/{name}")
        lab.env.create(f"{STORE}/{name}").append(data[:-cut])
        report = verify_backups(lab.store)
        assert {finding.file for finding in report.findings} == {f"{STORE}/{name}"}
        lab.env.create(f"{STORE}/{name}").append(data + bytes(cut))
        assert {finding.file for finding in verify_backups(lab.store).findings} == {f"{STORE}/{name}"}
        lab.env.create(f"{STORE}/{name}").append(data)


def test_a_missing_table_and_a_swapped_one_are_found() -> None:
    lab = small_store()
    first, second = sorted(tables_in(lab.env, STORE))
    sound = lab.env.read_file(f"{STORE}/{first}"), lab.env.read_file(f"{STORE}/{second}")
    lab.env.create(f"{STORE}/{first}").append(sound[1])
    (*_, finding) = verify_backups(lab.store).findings
    assert finding.file == f"{STORE}/{first}"
    lab.env.remove(f"{STORE}/{first}")
    assert [(f.file, f.problem) for f in verify_backups(lab.store).findings] == [
        (f"{STORE}/{first}", "the table is missing")
    ]
    with pytest.raises(CorruptionError, match="missing"):
        restored(lab.store, 2)


def test_a_damaged_table_of_the_database_ends_the_backup_and_the_store_stays_good() -> None:
    lab = Lab()
    lab.write(random.Random(1), 2)
    lab.back_up()
    lab.write(random.Random(2), 2)
    lab.engine.flush()
    name = max(tables_in(lab.env, FOLDER))
    data = bytearray(lab.env.read_file(f"{FOLDER}/{name}"))
    data[30] ^= 1
    lab.env.create(f"{FOLDER}/{name}").append(bytes(data))
    before = lab.env.list_directory(STORE)
    with pytest.raises(CorruptionError) as caught:
        lab.back_up()
    assert (caught.value.file, caught.value.offset) == (f"{FOLDER}/{name}", 16)
    assert lab.env.list_directory(STORE) == before
    lab.engine.close()


def test_a_damaged_table_of_the_store_is_copied_again_once_it_is_deleted() -> None:
    lab = Lab()
    lab.write(random.Random(1), 2)
    lab.back_up()
    (name,) = tables_in(lab.env, STORE)
    lab.env.create(f"{STORE}/{name}").append(b"rot")
    assert verify_backups(lab.store).damaged == (1,)
    # One of another length is noticed without that.
    assert lab.back_up().copied_count == 1
    assert verify_backups(lab.store).findings == ()
    lab.engine.close()


def test_a_backup_that_is_deleted_while_they_are_listed_is_not_among_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a store whose folder was read just before somebody deleted its only backup,
    env = MemoryEnv()
    env.make_directory("store")
    store = BackupStore(env, "store")
    monkeypatch.setattr(BackupStore, "numbers", lambda self: [1])
    # then that is a store without one, and no error.
    assert store.read_all() == ([], [])


def test_while_a_description_is_damaged_no_table_is_removed() -> None:
    """It may name any of them, and may be repaired from elsewhere."""
    lab = small_store()
    path = f"{STORE}/backup-000002"
    data = lab.env.read_file(path)
    lab.env.create(path).append(data[:-1])
    tables = tables_in(lab.env, STORE)
    delete_backups(lab.store, [1])
    assert tables_in(lab.env, STORE) == tables
    lab.env.create(path).append(data)
    assert verify_backups(lab.store).findings == ()


# --- refusals, deletion, errors ---------------------------------------------------------


def test_deleting_removes_the_tables_that_no_other_backup_needs() -> None:
    lab = small_store()
    delete_backups(lab.store, [2])
    assert lab.store.numbers() == [1]
    assert tables_in(lab.env, STORE) == {table.name for table in lab.store.read(1).tables}
    with pytest.raises(UndefinedObject, match="no backup 2"):
        delete_backups(lab.store, [1, 2])
    assert lab.store.numbers() == [1]


def test_the_newest_are_kept() -> None:
    lab = Lab()
    for seed in range(5):
        lab.write(random.Random(seed))
        lab.back_up(keep_last=3)
    lab.engine.close()
    assert lab.store.numbers() == [3, 4, 5]
    assert keep_last_backups(lab.store, 1) == [3, 4]
    assert restored(lab.store, 5) == (lab.rows, lab.commits)
    with pytest.raises(InvalidParameterValue):
        keep_last_backups(lab.store, 0)


@pytest.mark.parametrize("what", ["nothing", "a file", "a database", "other files"])
def test_what_is_no_store_is_refused_and_left_alone(what: str) -> None:
    env = MemoryEnv()
    env.make_directory("data")
    if what == "a file":
        env.create("data/x")
    elif what == "a database":
        Engine.open(env, "data/x").close()
    elif what == "other files":
        env.make_directory("data/x")
        env.create("data/x/thesis.txt")
    store = BackupStore(env, "data/x")
    lab = Lab(env)
    lab.engine.flush()
    before = env.list_directory("data"), env.list_directory("data/x") if env.is_directory("data/x") else ()
    with pytest.raises(NotADatabase):
        verify_backups(store)
    with pytest.raises(NotADatabase):
        restore_backup(store, env, TARGET)
    with pytest.raises(NotADatabase):
        delete_backups(store, [1])
    if what != "nothing":
        with pytest.raises(NotADatabase):
            make_backup(lab.engine.pin_tables(), store, made_at_s=1.0)
    after = env.list_directory("data"), env.list_directory("data/x") if env.is_directory("data/x") else ()
    assert after == before
    lab.engine.close()


def test_restoring_is_refused_where_something_is() -> None:
    lab = small_store()
    with pytest.raises(FolderNotEmpty):
        restore_backup(lab.store, lab.env, FOLDER)
    with pytest.raises(UndefinedObject, match="no backup 7"):
        restore_backup(lab.store, lab.env, TARGET, number=7)
    assert not lab.env.exists(TARGET)
    delete_backups(lab.store, [1, 2])
    with pytest.raises(UndefinedObject, match="has no backup"):
        restore_backup(lab.store, lab.env, TARGET)


def test_one_at_a_time_writes_to_a_store() -> None:
    lab = small_store()
    lab.reopen()
    with lab.store.locked():
        with pytest.raises(DatabaseLocked) as caught:
            lab.back_up()
        assert caught.value.hint == "a backup is being made or deleted there; try again when that is done"
        with pytest.raises(DatabaseLocked):
            delete_backups(lab.store, [1])
        # Who only reads is not in the way.
        assert verify_backups(lab.store).findings == ()
    lab.back_up()
    lab.engine.close()


def test_a_disk_that_fills_up_leaves_the_store_and_the_database_as_they_were() -> None:
    env = FullDisk()
    lab = Lab(env)
    lab.write(random.Random(1), 10)
    first = dict(lab.rows), lab.commits
    lab.back_up()
    lab.write(random.Random(2), 60)
    lab.engine.flush()
    lab.engine.wait_until_compacted()
    before = {name: env.read_file(f"{STORE}/{name}") for name in env.list_directory(STORE)}
    enough = 0
    for room_bytes in range(0, 20_000, 400):
        env.room_bytes = room_bytes
        try:
            lab.back_up()
        except DiskFull:
            env.room_bytes = 1 << 60
            after = {name: env.read_file(f"{STORE}/{name}") for name in env.list_directory(STORE)}
            assert after == before, room_bytes
        else:
            enough = room_bytes
            break
    assert enough > 400
    env.room_bytes = 1 << 60
    lab.write(random.Random(3), 1)
    lab.engine.close()
    assert restored(lab.store, 1) == first
    assert verify_backups(lab.store).findings == ()
    assert rows_in(env, FOLDER)[0] == lab.rows


def test_backups_while_writers_commit_compaction_replaces_tables_and_readers_go_on(tmp_path: Path) -> None:
    env = OsEnv()
    engine = Engine.open(env, (tmp_path / "db").as_posix(), SMALL)
    engine.commit({b"a": b"0", b"b": b"0"})
    store = BackupStore(env, (tmp_path / "store").as_posix())
    stop = threading.Event()
    wrong: list[object] = []
    acknowledged = 0

    def write() -> None:
        nonlocal acknowledged
        while not stop.is_set():
            value = b"%d" % (acknowledged + 1)
            engine.commit({b"a": value, b"b": value, b"fill%d" % (acknowledged % 40): value * 9})
            acknowledged += 1

    def read() -> None:
        while not stop.is_set():
            at = engine.visible_timestamp
            found = engine.read_many([b"a", b"b"], at)
            if found != [b"%d" % (at - 1)] * 2:
                wrong.append((at, found))

    threads = [threading.Thread(target=work) for work in (write, read)]
    for each in threads:
        each.start()
    due: dict[int, int] = {}
    try:
        for _ in range(6):
            before = acknowledged
            due[make_backup(engine.pin_tables(), store, made_at_s=1.0).number] = before
    finally:
        stop.set()
        for each in threads:
            each.join()
    assert wrong == []
    engine.wait_until_compacted()
    assert engine.statistics().compactions > 0
    engine.close()
    assert verify_backups(store).findings == ()
    for number, least in due.items():
        rows, last = restored(store, number)
        assert rows[b"a"] == rows[b"b"] == b"%d" % (last - 1)
        assert int(rows[b"a"]) >= least


def test_a_database_that_is_closed_meanwhile_gives_one_clear_error() -> None:
    """Closing takes away the tables that only the copy still held."""
    lab = Lab()
    lab.write(random.Random(1), 30)
    lab.engine.flush()
    lab.engine.wait_until_compacted()
    pinned = lab.engine.pin_tables()
    lab.collect()
    lab.write(random.Random(2), 60)
    lab.engine.flush()
    lab.engine.wait_until_compacted()
    gone = {entry.number for entry in pinned.state.tables} - {
        entry.number for entry in lab.engine.pin_tables().state.tables
    }
    assert gone
    lab.engine.close()
    with pytest.raises(StorageError, match="the database was closed while it was copied"):
        make_backup(pinned, lab.store, made_at_s=1.0)
    assert lab.env.list_directory(STORE) == ["LOCK"]
