"""The crashing file system keeps what was synced, and loses the rest in every way there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrisdb.errors import DatabaseLocked, StorageError
from ferrisdb.testing.crash_disk import SECTOR_BYTES
from ferrisdb.testing.crash_fs import CrashFS, Loss, SimulatedCrash


def machine_with(path: str, synced: bytes, unsynced: bytes) -> CrashFS:
    fs = CrashFS()
    file = fs.create(path)
    file.append(synced)
    file.sync()
    fs.sync_directory("")
    file.append(unsynced)
    return fs


def left_of(fs: CrashFS, loss: Loss, path: str = "log", seed: int = 0) -> bytes | None:
    return fs.after_crash(loss, seed=seed).contents().get(path)


@given(st.binary(max_size=1500), st.binary(max_size=1500), st.sampled_from(Loss), st.integers(0, 9))
def test_synced_bytes_survive_every_crash(synced, unsynced, loss, seed):
    left = left_of(machine_with("log", synced, unsynced), loss, seed=seed)
    assert left is not None
    assert left.startswith(synced)
    assert len(left) <= len(synced) + len(unsynced)


def test_each_way_to_lose_what_was_not_synced():
    unsynced = bytes(range(1, 251)) * 10
    fs = machine_with("log", b"safe", unsynced)

    assert left_of(fs, Loss.NOTHING) == b"safe" + unsynced
    assert left_of(fs, Loss.EVERYTHING) == left_of(fs, Loss.DATA) == b"safe"
    assert left_of(fs, Loss.ZEROED) == b"safe" + bytes(len(unsynced))
    garbage = left_of(fs, Loss.GARBAGE)
    assert len(garbage) == 4 + len(unsynced)
    assert garbage not in (b"safe" + unsynced, b"safe" + bytes(len(unsynced)))

    torn = {left_of(fs, Loss.TORN, seed=seed) for seed in range(50)}
    assert {len(data) for data in torn} == {4, 512, 1024, 1536, 2048, 2504}
    assert all((b"safe" + unsynced).startswith(data) for data in torn)
    cut = {len(left_of(fs, Loss.CUT, seed=seed)) for seed in range(50)}
    assert len(cut) > 30
    scattered = {left_of(fs, Loss.SCATTERED, seed=seed) for seed in range(50)}
    assert any(data[SECTOR_BYTES:].startswith(bytes(100)) for data in scattered), "a hole before a sector"


def test_a_synced_file_with_an_unsynced_name_may_be_gone():
    fs = CrashFS()
    file = fs.create("log")
    file.append(b"data")
    file.sync()
    assert left_of(fs, Loss.EVERYTHING) is None
    assert left_of(fs, Loss.DATA) == b"data"
    fs.sync_directory("")
    assert left_of(fs, Loss.EVERYTHING) == b"data"


def test_a_rename_is_atomic_and_may_come_before_its_data():
    fs = machine_with("CURRENT", b"old", b"")
    fs.create("CURRENT.tmp").append(b"new")
    fs.rename("CURRENT.tmp", "CURRENT")

    assert left_of(fs, Loss.NOTHING, "CURRENT") == b"new"
    assert left_of(fs, Loss.EVERYTHING, "CURRENT") == b"old"
    assert left_of(fs, Loss.DATA, "CURRENT") == b"", "the name is there, the bytes are not"
    found = {left_of(fs, Loss.SCATTERED, "CURRENT", seed) for seed in range(50)}
    assert None not in found, "whatever happens, there is a CURRENT"


def test_names_may_reach_the_disk_in_another_order():
    fs = machine_with("CURRENT", b"old", b"")
    fs.create("MANIFEST")
    fs.create("CURRENT.tmp").append(b"see MANIFEST")
    fs.rename("CURRENT.tmp", "CURRENT")
    assert fs.after_crash(Loss.EARLIER_NAMES).contents() == {"CURRENT": b"see MANIFEST"}


def test_a_removed_file_may_come_back():
    fs = machine_with("log", b"data", b"")
    fs.remove("log")
    assert left_of(fs, Loss.NOTHING) is None
    assert left_of(fs, Loss.EVERYTHING) == b"data"


def test_a_truncation_is_not_safe_before_a_sync():
    fs = machine_with("log", b"0123456789", b"")
    fs.truncate("log", 4)
    file = fs.open_append("log")
    file.append(b"x")
    assert left_of(fs, Loss.NOTHING) == b"0123x"
    assert left_of(fs, Loss.EVERYTHING) == b"0123456789"
    file.sync()
    assert left_of(fs, Loss.EVERYTHING) == b"0123x"


def test_a_folder_whose_name_is_lost_takes_its_files_along():
    fs = CrashFS()
    fs.make_directory("data/db")
    file = fs.create("data/db/log")
    file.append(b"data")
    file.sync()
    fs.sync_directory("data/db")
    fs.sync_directory("data")
    assert fs.after_crash(Loss.EVERYTHING).contents() == {}
    fs.sync_directory(".")
    assert left_of(fs, Loss.EVERYTHING, "data/db/log") == b"data"


def test_at_the_chosen_call_the_machine_stops_for_good():
    fs = CrashFS(crash_at=3)
    file = fs.create("log")
    file.append(b"first")
    with pytest.raises(SimulatedCrash, match="call 3: sync log"):
        file.sync()

    for call in (file.sync, lambda: file.append(b"x"), lambda: fs.create("b"), lambda: fs.exists("log")):
        with pytest.raises(SimulatedCrash):
            call()
    file.close()
    assert fs.has_crashed
    assert fs.calls == ["create log", "append log 5 bytes", "sync log"]
    assert left_of(fs, Loss.DATA) == b"", "the sync that was hit did not happen"


def test_a_killed_program_leaves_the_unsynced_where_it_was():
    fs = machine_with("log", b"safe", b"cached")
    lock = fs.lock("LOCK")
    with pytest.raises(DatabaseLocked):
        fs.lock("LOCK")
    survivor = fs.after_kill()
    survivor.lock("LOCK").release()
    assert survivor.read_file("log") == b"safecached"
    assert left_of(survivor, Loss.EVERYTHING) == b"safe"
    survivor.open_append("log").sync()
    assert left_of(survivor, Loss.EVERYTHING) == b"safecached"
    assert left_of(fs, Loss.EVERYTHING) == b"safe", "the machines are two"
    lock.release()
    fs.lock("LOCK").release()


def test_different_disks_come_once_each():
    synced = CrashFS()
    synced.sync_directory("")
    assert len(list(synced.disks_after_crash())) == 1
    disks = list(machine_with("log", b"safe", b"x" * 2000).disks_after_crash())
    assert len(disks) >= 5
    contents = [disk.contents() for _, disk in disks]
    assert all(contents.count(each) == 1 for each in contents)


def test_the_same_seed_leaves_the_same_disk():
    fs = machine_with("log", b"safe", b"x" * 5000)
    for loss in Loss:
        assert left_of(fs, loss, seed=7) == left_of(fs, loss, seed=7)


@pytest.mark.parametrize(
    "call",
    [
        lambda fs: fs.create("nowhere/log"),
        lambda fs: fs.create("folder"),
        lambda fs: fs.make_directory("log"),
        lambda fs: fs.list_directory("nowhere"),
        lambda fs: fs.sync_directory("nowhere"),
        lambda fs: fs.rename("nothing", "log"),
        lambda fs: fs.rename("log", "nowhere/log"),
        lambda fs: fs.remove("nothing"),
        lambda fs: fs.truncate("nothing", 0),
    ],
)
def test_what_an_operating_system_refuses_is_refused(call):
    fs = machine_with("log", b"safe", b"")
    fs.make_directory("folder")
    calls = list(fs.calls)
    with pytest.raises(StorageError):
        call(fs)
    assert fs.calls == calls, "a refused call changes nothing and is not counted"


def test_an_absent_file_is_not_found():
    fs = CrashFS()
    for call in (fs.open_read, fs.open_append, fs.read_file):
        with pytest.raises(FileNotFoundError):
            call("nothing")


def test_folders_are_listed_by_name():
    fs = CrashFS()
    fs.make_directory("db/sub")
    for name in ("b", "a"):
        fs.create(f"db/{name}").close()
    assert fs.list_directory("db") == ["a", "b", "sub"]
    assert fs.list_directory("") == ["db"]
    assert fs.is_directory("db/sub")
    assert not fs.is_directory("db/a")
    assert fs.exists("db/a")
    assert not fs.exists("db/c")


def test_a_link_is_one_file_with_two_names_and_each_name_is_synced_for_itself() -> None:
    fs = CrashFS()
    fs.make_directory("a")
    fs.make_directory("b")
    fs.sync_directory(".")
    file = fs.create("a/f")
    file.append(b"x" * 2000)
    fs.sync_directory("a")
    assert fs.link("a/f", "b/g")
    assert "b/g" not in fs.after_crash(Loss.EVERYTHING).contents()
    fs.sync_directory("b")
    for loss in Loss:
        left = fs.after_crash(loss, seed=3).contents()
        assert left["a/f"] == left["b/g"], loss
    fs.remove("a/f")
    assert fs.read_file("b/g") == b"x" * 2000
    with pytest.raises(FileNotFoundError):
        fs.link("a/f", "a/h")
    fs.create("a/f")
    with pytest.raises(StorageError):
        fs.link("a/f", "b/g")
