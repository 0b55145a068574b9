"""A machine without a disk: an `Env` whose files are byte arrays.

It runs ":memory:" databases, and it lets a test take a whole folder as it stands (`copy`),
damage one byte and open the copy. It behaves as a Unix file system does where the engine
could tell: a removed file can still be read by who has it open, a rename replaces its
target, a file cannot be created in a folder that is not there.

One lock guards all of it. Everything is "durable" at once; the file system that forgets
what was not synced is `ferrisdb.testing.CrashFS`.
"""

from __future__ import annotations

import os
import posixpath
import threading
import time
from collections.abc import Callable

from ferrisdb.errors import DatabaseLocked, InterfaceError, StorageError
from ferrisdb.storage.env import AppendFile, FileLock, ReadFile, WorkerProcess


class _MemoryFile:
    """An open file, for appending or reading: both are views of one byte array."""

    def __init__(self, path: str, data: bytearray, lock: threading.Lock) -> None:
        self._path = path
        self._data: bytearray | None = data
        self._lock = lock
        self._reserved_bytes = 0

    def append(self, data: bytes) -> None:
        with self._lock:
            held = self._open_data()
            end = len(held) - self._reserved_bytes
            held[end : end + len(data)] = data
            self._reserved_bytes = max(0, self._reserved_bytes - len(data))

    def reserve(self, length: int) -> None:
        with self._lock:
            self._open_data().extend(bytes(length))
            self._reserved_bytes += length

    def truncate(self, size_bytes: int) -> None:
        with self._lock:
            del self._open_data()[size_bytes:]
            self._reserved_bytes = 0

    def sync(self) -> bool:
        self._open_data()
        return True

    def read_at(self, offset: int, length: int) -> bytes:
        with self._lock:
            return bytes(self._open_data()[offset : offset + length])

    def size(self) -> int:
        with self._lock:
            return len(self._open_data())

    def close(self) -> None:
        self._data = None

    def _open_data(self) -> bytearray:
        data = self._data
        if data is None:
            raise InterfaceError(f"{self._path} is closed")
        return data


class _MemoryLock:
    def __init__(self, env: MemoryEnv, path: str) -> None:
        self._env = env
        self._path = path

    def release(self) -> None:
        self._env._unlock(self._path)


class MemoryEnv:
    """See `Env`. Thread-safe."""

    def __init__(self) -> None:
        self.time_of_day: Callable[[], float] = time.time
        """May be set: what `now_s` says."""
        self._lock = threading.Lock()
        self._files: dict[str, bytearray] = {}
        self._folders: set[str] = {"", "/", "."}
        self._held_locks: set[str] = set()

    def copy(self) -> MemoryEnv:
        """Another machine with the same files as they stand now; no lock is held on it."""
        twin = MemoryEnv()
        twin.time_of_day = self.time_of_day
        with self._lock:
            twin._files = {path: bytearray(data) for path, data in self._files.items()}
            twin._folders = set(self._folders)
        return twin

    def create(self, path: str) -> AppendFile:
        path = posixpath.normpath(path)
        with self._lock:
            self._check_place(path)
            data = self._files.setdefault(path, bytearray())
            data.clear()
        return _MemoryFile(path, data, self._lock)

    def open_append(self, path: str) -> AppendFile:
        return self._open(path)

    def open_read(self, path: str) -> ReadFile:
        return self._open(path)

    def read_file(self, path: str) -> bytes:
        with self._lock:
            return bytes(self._find(path))

    def truncate(self, path: str, size_bytes: int) -> None:
        with self._lock:
            data = self._find_or_fail("truncate", path)
            del data[size_bytes:]
            data.extend(bytes(size_bytes - len(data)))

    def rename(self, source: str, target: str) -> None:
        with self._lock:
            data = self._find_or_fail("rename", source)
            self._check_place(posixpath.normpath(target))
            del self._files[posixpath.normpath(source)]
            self._files[posixpath.normpath(target)] = data

    def link(self, source: str, target: str) -> bool:
        target = posixpath.normpath(target)
        with self._lock:
            data = self._find(source)
            self._check_place(target)
            if target in self._files:
                raise StorageError(f"cannot link {source}: {target} is there already")
            self._files[target] = data
        return True

    def remove(self, path: str) -> None:
        with self._lock:
            self._find_or_fail("remove", path)
            del self._files[posixpath.normpath(path)]

    def exists(self, path: str) -> bool:
        path = posixpath.normpath(path)
        with self._lock:
            return path in self._files or path in self._folders

    def is_directory(self, path: str) -> bool:
        with self._lock:
            return posixpath.normpath(path) in self._folders

    def list_directory(self, path: str) -> list[str]:
        folder = posixpath.normpath(path)
        with self._lock:
            if folder not in self._folders:
                raise StorageError(f"cannot list {path}: no such folder")
            inside = {*self._files, *self._folders} - {"", "/", "."}
            return sorted(posixpath.basename(p) for p in inside if _parent(p) == folder)

    def make_directory(self, path: str) -> None:
        path = posixpath.normpath(path)
        with self._lock:
            while path not in self._folders:
                if path in self._files:
                    raise StorageError(f"cannot create {path}: a file stands there")
                self._folders.add(path)
                path = _parent(path)

    def sync_directory(self, path: str) -> None:
        if not self.is_directory(path):
            raise StorageError(f"cannot sync {path}: no such folder")

    def lock(self, path: str) -> FileLock:
        path = posixpath.normpath(path)
        with self._lock:
            self._check_place(path)
            if path in self._held_locks:
                raise DatabaseLocked(
                    f"{posixpath.dirname(path) or path} is held by process {os.getpid()}",
                    pid=os.getpid(),
                    hint="this process has it open already: use that one, or close it first",
                )
            self._held_locks.add(path)
            self._files[path] = bytearray(b"%d\n" % os.getpid())
        return _MemoryLock(self, path)

    def start_worker(self, module: str) -> WorkerProcess | None:
        """None: another process would not see these files."""
        return None

    def monotonic_s(self) -> float:
        return time.monotonic()

    def now_s(self) -> float:
        return self.time_of_day()

    def _unlock(self, path: str) -> None:
        with self._lock:
            self._held_locks.discard(path)

    def _open(self, path: str) -> _MemoryFile:
        with self._lock:
            return _MemoryFile(path, self._find(path), self._lock)

    def _find(self, path: str) -> bytearray:
        data = self._files.get(posixpath.normpath(path))
        if data is None:
            raise FileNotFoundError(path)
        return data

    def _find_or_fail(self, action: str, path: str) -> bytearray:
        try:
            return self._find(path)
        except FileNotFoundError as error:
            raise StorageError(f"cannot {action} {path}: no such file") from error

    def _check_place(self, path: str) -> None:
        if path in self._folders:
            raise StorageError(f"cannot create {path}: a folder stands there")
        if _parent(path) not in self._folders:
            raise StorageError(f"cannot create {path}: its folder is not there")


def _parent(path: str) -> str:
    return posixpath.dirname(path) or "."
