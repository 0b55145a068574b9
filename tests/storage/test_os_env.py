"""The two machines keep one contract, and the errors of the operating system become ours."""

import errno
import os
import threading
from pathlib import Path

import pytest

from ferrisdb.errors import DiskFull, InterfaceError, StorageError
from ferrisdb.storage.env import Env, join
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.os_env import OsEnv


@pytest.fixture(params=["disk", "memory"])
def env_and_folder(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Env, str]:
    if request.param == "disk":
        return OsEnv(), tmp_path.as_posix()
    env = MemoryEnv()
    env.make_directory("db")
    return env, "db"


def write(env: Env, path: str, data: bytes) -> None:
    file = env.create(path)
    file.append(data)
    file.sync()
    file.close()


def test_what_is_appended_is_read_back_from_any_place(env_and_folder: tuple[Env, str]) -> None:
    env, folder = env_and_folder
    path = join(folder, "f")
    file = env.create(path)
    file.append(b"hello ")
    file.append(b"world")
    file.sync()
    reader = env.open_read(path)
    assert reader.read_at(6, 5) == b"world"
    assert reader.read_at(6, 100) == b"world"  # fewer only at the end
    assert reader.read_at(11, 1) == b""
    assert reader.size() == 11
    file.append(b"!")
    assert reader.size() == 12
    assert env.read_file(path) == b"hello world!"
    reader.close()
    file.close()


def test_creating_empties_and_opening_appends(env_and_folder: tuple[Env, str]) -> None:
    env, folder = env_and_folder
    path = join(folder, "f")
    write(env, path, b"old")
    write(env, path, b"new")
    again = env.open_append(path)
    again.append(b"er")
    again.close()
    assert env.read_file(path) == b"newer"


def test_truncate_cuts_off_the_end_and_appends_continue_there(env_and_folder: tuple[Env, str]) -> None:
    env, folder = env_and_folder
    path = join(folder, "f")
    write(env, path, b"keep, drop")
    env.truncate(path, 4)
    file = env.open_append(path)
    file.append(b"!")
    file.close()
    assert env.read_file(path) == b"keep!"


def test_rename_replaces_its_target(env_and_folder: tuple[Env, str]) -> None:
    env, folder = env_and_folder
    write(env, join(folder, "a"), b"new")
    write(env, join(folder, "b"), b"old")
    env.rename(join(folder, "a"), join(folder, "b"))
    env.sync_directory(folder)
    assert env.list_directory(folder) == ["b"]
    assert env.read_file(join(folder, "b")) == b"new"


def test_a_removed_file_can_be_read_by_who_has_it_open(env_and_folder: tuple[Env, str]) -> None:
    env, folder = env_and_folder
    path = join(folder, "f")
    write(env, path, b"still here")
    reader = env.open_read(path)
    env.remove(path)
    assert not env.exists(path)
    assert reader.read_at(0, 5) == b"still"
    reader.close()


def test_folders(env_and_folder: tuple[Env, str]) -> None:
    env, folder = env_and_folder
    deep = join(join(folder, "a"), "b")
    env.make_directory(deep)
    env.make_directory(deep)
    assert env.is_directory(deep)
    assert env.list_directory(folder) == ["a"]
    write(env, join(deep, "f"), b"")
    assert not env.is_directory(join(deep, "f"))
    assert env.exists(join(deep, "f"))


def test_absent_files(env_and_folder: tuple[Env, str]) -> None:
    env, folder = env_and_folder
    absent = join(folder, "absent")
    for opening in (env.open_read, env.open_append, env.read_file):
        with pytest.raises(FileNotFoundError):
            opening(absent)
    for change in (env.remove, env.list_directory, env.sync_directory):
        with pytest.raises(StorageError, match="absent"):
            change(absent)
    with pytest.raises(StorageError, match="absent"):
        env.rename(absent, join(folder, "x"))
    with pytest.raises(StorageError, match="absent"):
        env.truncate(absent, 0)
    with pytest.raises(StorageError, match="nowhere"):
        env.create(join(join(folder, "nowhere"), "f"))


def test_a_closed_file_says_so(env_and_folder: tuple[Env, str]) -> None:
    env, folder = env_and_folder
    path = join(folder, "f")
    file = env.create(path)
    reader = env.open_read(path)
    file.close()
    file.close()
    reader.close()
    reader.close()
    for use in (lambda: file.append(b"x"), file.sync, lambda: reader.read_at(0, 1), reader.size):
        with pytest.raises(InterfaceError, match="closed"):
            use()


def test_a_file_closed_while_many_read_it_never_gives_other_bytes(tmp_path: Path) -> None:
    # The number of a closed descriptor is given to the next file that is opened.
    env = OsEnv()
    mine, other = (tmp_path / "mine").as_posix(), (tmp_path / "other").as_posix()
    write(env, mine, b"m" * 4096)
    write(env, other, b"o" * 4096)
    wrong: list[bytes] = []
    for _ in range(50):
        reader = env.open_read(mine)

        def read_until_closed(reader: object = reader) -> None:
            while True:
                try:
                    data = reader.read_at(0, 4096)  # type: ignore[attr-defined]
                except InterfaceError:
                    return
                if data != b"m" * 4096:
                    wrong.append(data)

        threads = [threading.Thread(target=read_until_closed) for _ in range(3)]
        for thread in threads:
            thread.start()
        reader.close()
        others = [env.open_read(other) for _ in range(3)]
        for thread in threads:
            thread.join()
        for file in others:
            file.close()
    assert wrong == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_has_its_own_error(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = OsEnv().create((tmp_path / "f").as_posix())

    def fail(descriptor: int, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(DiskFull, match=r"cannot write to .*/f: "):
            file.append(b"x")
    file.close()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_who_has_too_many_files_open_is_told_what_to_do(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises(StorageError, match=r"cannot open .*/f: ") as caught:
            OsEnv().open_read((tmp_path / "f").as_posix())
    assert "ulimit -n" in str(caught.value.hint)


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_write = os.write
    file = OsEnv().create((tmp_path / "f").as_posix())
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: whole_write(descriptor, bytes(data)[:3]))
        file.append(b"0123456789")
    file.close()
    assert (tmp_path / "f").read_bytes() == b"0123456789"


def test_short_reads_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_read = os.pread
    write(OsEnv(), (tmp_path / "f").as_posix(), b"0123456789")
    reader = OsEnv().open_read((tmp_path / "f").as_posix())
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", lambda descriptor, n, offset: whole_read(descriptor, min(n, 3), offset))
        assert reader.read_at(1, 8) == b"12345678"
        assert reader.read_at(8, 8) == b"89"
    reader.close()


def test_a_failed_sync_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = OsEnv().create((tmp_path / "f").as_posix())

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", fail, raising=False)
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match=r"cannot sync .*/f: "):
            file.sync()
    file.close()


def test_a_link_is_a_second_name_and_the_file_stays_until_both_are_gone(
    env_and_folder: tuple[Env, str],
) -> None:
    env, folder = env_and_folder
    first, second = join(folder, "first"), join(folder, "second")
    write(env, first, b"shared")
    assert env.link(first, second)
    env.remove(first)
    assert env.read_file(second) == b"shared"
    with pytest.raises(FileNotFoundError):
        env.link(first, join(folder, "third"))
    write(env, first, b"another")
    with pytest.raises(StorageError):
        env.link(first, second)
    assert env.read_file(second) == b"shared"


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_where_a_file_system_cannot_link_it_says_so(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: str, target: str) -> None:
        raise OSError(number, os.strerror(number))

    write(OsEnv(), (tmp_path / "f").as_posix(), b"x")
    monkeypatch.setattr(os, "link", refuse)
    assert not OsEnv().link((tmp_path / "f").as_posix(), (tmp_path / "g").as_posix())


def test_a_failing_disk_is_no_reason_to_copy_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write(OsEnv(), (tmp_path / "f").as_posix(), b"x")
    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(DiskFull):
        OsEnv().link((tmp_path / "f").as_posix(), (tmp_path / "g").as_posix())
