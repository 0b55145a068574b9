"""A disk that fails on purpose, and goes on: I/O errors, failed syncs, no space left.

`CrashFS` ends the machine; `FaultyEnv` only spoils a call and lets the program live with it.
It stands in front of any other `Env`, and numbers the calls that change something, from 1:

    FaultyEnv(inner, fail_at=7)                               call 7 fails once
    FaultyEnv(inner, fail_at=7, is_lasting=True)              call 7 and all that follow
    FaultyEnv(inner, fail_at=7, fault=Fault.SHORT_WRITE)      half of what call 7 writes is written
    FaultyEnv(inner, free_bytes=4096)                         a disk with room for 4096 bytes

A call that fails has not happened, a short write apart. A sync that fails has saved nothing,
and over a `CrashFS` a power cut then takes what it was for. `heal` ends the faults, as an
operator does who frees the disk. To sweep:

    number = 0
    while True:
        number += 1
        env = FaultyEnv(MemoryEnv(), fail_at=number)
        acknowledged = run_my_program(env)
        if not env.has_failed:
            break
        env.heal()
        assert acknowledged <= what_is_there(env), env.calls[-1]

The idea is SQLite's test harness (its "I/O error" and "out of space" tests). Not modelled:
reads that fail, a failed write that has written all, errors that come only at `close`.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable

from ferrisdb.errors import DiskFull, StorageError
from ferrisdb.storage.env import AppendFile, Env, FileLock, ReadFile, WorkerProcess


class Fault(enum.Enum):
    """What becomes of a call that fails."""

    IO_ERROR = "input/output error"
    DISK_FULL = "no space left on device"
    SHORT_WRITE = "short write"
    """Of an append, or of zeros that are reserved, the first half is written, and then the disk is
    full. Other calls: DISK_FULL."""


class FaultyEnv:
    """An `Env` in front of another. Thread-safe as that one is."""

    def __init__(
        self,
        inner: Env,
        *,
        fail_at: int | None = None,
        fault: Fault = Fault.IO_ERROR,
        is_lasting: bool = False,
        free_bytes: int | None = None,
    ) -> None:
        """`fail_at` is the number of the call that fails, None for none; `free_bytes` is the room
        that is left, None for no end of it. Both may be set at any time."""
        self.fail_at = fail_at
        self.fault = fault
        self.is_lasting = is_lasting
        self.free_bytes = free_bytes
        self.has_failed = False
        self.calls: list[str] = []
        """Those that change something, in words: "append db/000001.wal 56 bytes"."""
        self.before_call: Callable[[str], None] = _nothing
        """Told of every call before it is made, reads included. What it raises, the call raises."""
        self._inner = inner
        self._mutex = threading.RLock()
        self._names: dict[str, set[str]] = {}
        """Of a file with several: all its names, by each of them."""

    def heal(self, *, free_bytes: int | None = None) -> None:
        """No call fails from now on, but for want of space beyond `free_bytes`."""
        with self._mutex:
            self.fail_at = None
            self.free_bytes = free_bytes

    # --- calls that change something

    def create(self, path: str) -> AppendFile:
        self._meet(f"create {path}")
        self._give_back(path)
        return _FaultyFile(self, path, self._inner.create(path))

    def open_append(self, path: str) -> AppendFile:
        self.before_call(f"open {path}")
        return _FaultyFile(self, path, self._inner.open_append(path))

    def truncate(self, path: str, size_bytes: int) -> None:
        self._meet(f"truncate {path} to {size_bytes} bytes")
        self._give_back(path, kept_bytes=size_bytes)
        self._inner.truncate(path, size_bytes)

    def rename(self, source: str, target: str) -> None:
        self._meet(f"rename {source} to {target}")
        self._give_back_name(target)
        self._inner.rename(source, target)
        with self._mutex:
            names = self._names.pop(source, None)
            if names is not None:
                self._names[target] = names
                names.symmetric_difference_update((source, target))

    def link(self, source: str, target: str) -> bool:
        self._meet(f"link {source} as {target}")
        is_linked = self._inner.link(source, target)
        if is_linked:
            with self._mutex:
                names = self._names[target] = self._names.setdefault(source, {source})
                names.add(target)
        return is_linked

    def remove(self, path: str) -> None:
        self._meet(f"remove {path}")
        self._give_back_name(path)
        self._inner.remove(path)

    def make_directory(self, path: str) -> None:
        self._meet(f"make_directory {path}")
        self._inner.make_directory(path)

    def sync_directory(self, path: str) -> None:
        self._meet(f"sync_directory {path}")
        self._inner.sync_directory(path)

    # --- calls that do not

    def open_read(self, path: str) -> ReadFile:
        self.before_call(f"open {path}")
        return _WatchedFile(self, path, self._inner.open_read(path))

    def read_file(self, path: str) -> bytes:
        self.before_call(f"read {path}")
        return self._inner.read_file(path)

    def exists(self, path: str) -> bool:
        self.before_call(f"exists {path}")
        return self._inner.exists(path)

    def is_directory(self, path: str) -> bool:
        self.before_call(f"is_directory {path}")
        return self._inner.is_directory(path)

    def list_directory(self, path: str) -> list[str]:
        self.before_call(f"list_directory {path}")
        return self._inner.list_directory(path)

    def lock(self, path: str) -> FileLock:
        """Not counted as a call: what a lock file holds is never read back."""
        self.before_call(f"lock {path}")
        return self._inner.lock(path)

    def start_worker(self, module: str) -> WorkerProcess | None:
        """None: another process would not meet the faults."""
        return None

    def monotonic_s(self) -> float:
        return self._inner.monotonic_s()

    def now_s(self) -> float:
        return self._inner.now_s()

    # --- the faults

    def _meet(self, call: str) -> None:
        """Count a call that changes something; raise when it is to fail."""
        self.before_call(call)
        if self._is_due(call):
            raise self._failure(call)

    def _is_due(self, call: str) -> bool:
        with self._mutex:
            self.calls.append(call)
            number, at = len(self.calls), self.fail_at
            is_due = at is not None and (number == at or (self.is_lasting and number > at))
            self.has_failed = self.has_failed or is_due
            return is_due

    def _failure(self, call: str) -> StorageError:
        if self.fault is Fault.IO_ERROR:
            return StorageError(f"cannot {call}: {self.fault.value}")
        return _disk_full(call)

    def _append(self, path: str, file: AppendFile, data: bytes, reserved_bytes: int) -> None:
        call = f"append {path} {len(data)} bytes"
        self.before_call(call)
        if self._is_due(call):
            if self.fault is Fault.SHORT_WRITE:
                file.append(data[: len(data) // 2])
            raise self._failure(call)
        with self._mutex:
            room = len(data) if self.free_bytes is None else reserved_bytes + self.free_bytes
            fits = min(len(data), room)
            self._use(max(0, fits - reserved_bytes))
            self.has_failed = self.has_failed or fits < len(data)
        # As a write to a full disk does: what has room is written.
        file.append(data[:fits])
        if fits < len(data):
            raise _disk_full(call)

    def _reserve(self, path: str, file: AppendFile, length: int) -> None:
        call = f"reserve {path} {length} bytes"
        self.before_call(call)
        if self._is_due(call):
            if self.fault is Fault.SHORT_WRITE:
                file.reserve(length // 2)
            raise self._failure(call)
        with self._mutex:
            fits = length if self.free_bytes is None else min(length, self.free_bytes)
            self._use(fits)
            self.has_failed = self.has_failed or fits < length
        file.reserve(fits)
        if fits < length:
            raise _disk_full(call)

    def _use(self, length: int) -> None:
        if self.free_bytes is not None:
            self.free_bytes -= length

    def _give_back_name(self, path: str) -> None:
        """The file keeps its room for as long as it has another name."""
        with self._mutex:
            others = self._names.pop(path, set())
            others.discard(path)
            if not others:
                self._give_back(path)

    def _give_back(self, path: str, kept_bytes: int = 0) -> None:
        with self._mutex:
            if self.free_bytes is None or not self._inner.exists(path):
                return
            file = self._inner.open_read(path)
            self.free_bytes += file.size() - kept_bytes
            file.close()


class _FaultyFile:
    def __init__(self, env: FaultyEnv, path: str, file: AppendFile) -> None:
        self._env = env
        self._path = path
        self._file = file
        self._reserved_bytes = 0

    def append(self, data: bytes) -> None:
        self._env._append(self._path, self._file, data, self._reserved_bytes)
        self._reserved_bytes = max(0, self._reserved_bytes - len(data))

    def reserve(self, length: int) -> None:
        self._env._reserve(self._path, self._file, length)
        self._reserved_bytes += length

    def truncate(self, size_bytes: int) -> None:
        self._env._meet(f"truncate {self._path} to {size_bytes} bytes")
        self._env._give_back(self._path, kept_bytes=size_bytes)
        self._file.truncate(size_bytes)
        self._reserved_bytes = 0

    def sync(self) -> None:
        self._env._meet(f"sync {self._path}")
        self._file.sync()

    def close(self) -> None:
        self._file.close()


class _WatchedFile:
    def __init__(self, env: FaultyEnv, path: str, file: ReadFile) -> None:
        self._env = env
        self._path = path
        self._file = file

    def read_at(self, offset: int, length: int) -> bytes:
        self._env.before_call(f"read {self._path} at {offset}")
        return self._file.read_at(offset, length)

    def size(self) -> int:
        self._env.before_call(f"size {self._path}")
        return self._file.size()

    def sync(self) -> bool:
        """Of a reader: counted as the call that it is."""
        self._env._meet(f"sync {self._path}")
        return self._file.sync()

    def close(self) -> None:
        self._file.close()


def _disk_full(call: str) -> DiskFull:
    return DiskFull(f"cannot {call}: {Fault.DISK_FULL.value}", hint="free some space on that disk")


def _nothing(call: str) -> None:
    """No one watches."""
