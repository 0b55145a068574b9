"""One process owns the folder; the others learn which; and a forked child is another process."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ferrisdb.errors import DatabaseLocked, InterfaceError, StorageError, render
from ferrisdb.storage import os_lock
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.os_env import OsEnv

HOLDER = """
import sys
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.os_env import OsEnv
engine = Engine.open(OsEnv(), sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def start_holder(folder: str) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    return holder


def test_the_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    folder = (tmp_path / "shop.ferris").as_posix()
    with start_holder(folder) as holder:
        with pytest.raises(DatabaseLocked) as caught:
            Engine.open(OsEnv(), folder)
        assert caught.value.pid == holder.pid
        assert caught.value.message == f"{folder} is held by process {holder.pid}"
        assert render(caught.value).count("\n") == 1  # the line, and the hint
        holder.kill()
        holder.wait()
    # The operating system has dropped the lock of the dead; nobody needs to clean up.
    Engine.open(OsEnv(), folder).close()


def test_the_same_process_is_refused_too_and_by_whatever_path(tmp_path: Path) -> None:
    folder = (tmp_path / "shop.ferris").as_posix()
    engine = Engine.open(OsEnv(), folder)
    (tmp_path / "alias").symlink_to(folder)
    for path in (folder, (tmp_path / "alias").as_posix()):
        with pytest.raises(DatabaseLocked) as caught:
            Engine.open(OsEnv(), path)
        assert caught.value.pid == os.getpid()
        assert caught.value.hint is not None
        assert "this process" in caught.value.hint
    engine.close()
    Engine.open(OsEnv(), folder).close()


def test_on_a_disk_without_any_room_a_database_opens_and_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = (tmp_path / "shop.ferris").as_posix()
    engine = Engine.open(OsEnv(), folder)
    engine.commit({b"a": b"1"})
    engine.close()

    def no_room(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", no_room)
    engine = Engine.open(OsEnv(), folder)
    assert engine.read(b"a", engine.visible_timestamp) == b"1"
    # Only who holds it cannot be said, for there is no room for that.
    monkeypatch.setattr(os_lock, "_held", {})
    with pytest.raises(DatabaseLocked, match="is held by another process"):
        Engine.open(OsEnv(), folder)
    with pytest.raises(StorageError, match="No space left"):
        engine.commit({b"a": b"2"})
    engine.close()


def test_a_released_lock_names_nobody(tmp_path: Path) -> None:
    folder = (tmp_path / "shop.ferris").as_posix()
    engine = Engine.open(OsEnv(), folder)
    assert (tmp_path / "shop.ferris" / "LOCK").read_text() == f"{os.getpid()}\n"
    engine.close()
    assert (tmp_path / "shop.ferris" / "LOCK").read_text() == ""


FORKER = """
import os, sys
from ferrisdb.errors import StorageError
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.os_env import OsEnv
engine = Engine.open(OsEnv(), sys.argv[1])
engine.commit({b"k": b"parent"})
go_on, parent_closed = os.pipe()
child = os.fork()
if child == 0:
    os.close(parent_closed)
    refused = 0
    for use in (
        lambda: engine.read(b"k", 1), lambda: engine.read_many([b"k"], 1), lambda: engine.scan(b"", None, 1),
        lambda: engine.commit({b"k": b"child"}), engine.flush, engine.statistics,
        lambda: engine.visible_timestamp, lambda: engine.newest_timestamp(b"k", 0),
    ):
        try:
            use()
        except StorageError as error:
            refused += "forked" in error.message
    engine.close()
    os.read(go_on, 1)  # live on, with all that was inherited, until the parent has closed
    os._exit(refused)
os.close(go_on)
engine.commit({b"k": b"parent again"})
engine.close()
# The child lives, and yet the folder is free.
again = Engine.open(OsEnv(), sys.argv[1])
print(again.read(b"k", 2), flush=True)
again.close()
os.close(parent_closed)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_after_a_fork_the_child_is_refused_and_the_parent_goes_on(tmp_path: Path) -> None:
    # In a process of its own, because the test runner's threads do not survive a fork.
    folder = (tmp_path / "shop.ferris").as_posix()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKER, folder], capture_output=True, text=True, check=True
    )
    assert done.stdout == "b'parent again'\n8\n"


DYING_FORKER = """
import os, sys
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.os_env import OsEnv
engine = Engine.open(OsEnv(), sys.argv[1])
if os.fork() == 0:
    print("child", flush=True)
    sys.stdin.read()
    os._exit(0)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_child_that_outlives_its_parent_does_not_hold_the_folder(tmp_path: Path) -> None:
    folder = (tmp_path / "shop.ferris").as_posix()
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", DYING_FORKER, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "child\n"
        parent.wait()
        # Its child lives until the pipe is closed.
        Engine.open(OsEnv(), folder).close()


def test_a_closed_engine_says_so(tmp_path: Path) -> None:
    engine = Engine.open(OsEnv(), (tmp_path / "db").as_posix())
    engine.commit({b"k": b"v"})
    engine.close()
    engine.close()
    for use in (
        lambda: engine.read(b"k", 1),
        lambda: engine.commit({b"k": b"w"}),
        lambda: engine.commit({}),
        lambda: engine.scan(b"", None, 1),
        engine.flush,
        engine.statistics,
        lambda: engine.visible_timestamp,
    ):
        with pytest.raises(InterfaceError, match="the database is closed"):
            use()
    assert not issubclass(InterfaceError, StorageError)
