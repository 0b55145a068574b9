"""What the machine without a disk can do beyond the contract that test_os_env.py checks."""

import os
import threading

import pytest

from ferrisdb.errors import DatabaseLocked
from ferrisdb.storage.memory_env import MemoryEnv


def test_a_copy_is_another_machine() -> None:
    env = MemoryEnv()
    env.make_directory("db")
    file = env.create("db/f")
    file.append(b"before")
    lock = env.lock("db/LOCK")

    twin = env.copy()
    file.append(b" and after")
    twin.create("db/g")

    assert twin.read_file("db/f") == b"before"
    assert env.list_directory("db") == ["LOCK", "f"]
    twin.lock("db/LOCK").release()  # nobody holds it there
    lock.release()


def test_a_lock_is_held_once() -> None:
    env = MemoryEnv()
    env.make_directory("shop.ferris")
    first = env.lock("shop.ferris/LOCK")
    with pytest.raises(DatabaseLocked, match=r"^shop\.ferris is held by process \d+$") as caught:
        env.lock("shop.ferris/LOCK")
    assert caught.value.pid == os.getpid()
    first.release()
    env.lock("shop.ferris/LOCK").release()


def test_appends_of_many_threads_are_all_there() -> None:
    env = MemoryEnv()
    file = env.create("f")
    threads = [
        threading.Thread(target=lambda: [file.append(b"12345678") for _ in range(500)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert env.read_file("f") == b"12345678" * 2000
