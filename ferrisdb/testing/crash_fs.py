"""A file system that crashes on purpose, and then shows what a disk may look like.

A power cut loses what was not synced: not all of it, not none of it, and not in order. So a
database that works is no proof that it survives. `CrashFS` is an `Env` in memory that knows,
at every moment, what is safe:

    file      "000001.wal"     synced [ header rec rec ] [ rec rec ] written, not synced
    folder    "db"             synced { CURRENT, MANIFEST-1 } + created 000002.sst
                                                              + renamed CURRENT.tmp -> CURRENT

`sync` of a file saves its bytes, but not its name: the name lives in the folder, and is safe
only after `sync_directory`. Each call that changes something has a number. At the number
`crash_at` the power goes: the call raises `SimulatedCrash`, and so does every call after it.
What the call did is not synced; a sync that is hit has not happened. Then `after_crash` gives
a new machine with what was left on the disk, in one of the ways of `Loss`:

    def test_my_program_survives():
        number = 0
        while True:
            number += 1
            fs = CrashFS(crash_at=number)
            acknowledged = run_until_crash(fs)
            if not fs.has_crashed:
                break
            for loss, disk in fs.disks_after_crash():
                assert acknowledged <= what_is_there(disk), (fs.calls[-1], loss)

The new machine is a `CrashFS` too, so recovery can be crashed in its turn.

The model is that of the papers on crash consistency (Pillai et al., All File Systems Are Not
Created Equal, OSDI 2014): sectors of 512 bytes are written whole or not at all, unsynced
sectors and unsynced names reach the disk in any order, a rename is atomic. Not modelled:
disks that lie about fsync, damage to what was synced, I/O errors without a crash.
"""

from __future__ import annotations

import copy
import os
import posixpath
import random
import threading
import time
from collections.abc import Callable, Iterator

from ferrisdb.errors import DatabaseLocked, InterfaceError, StorageError
from ferrisdb.storage.env import AppendFile, FileLock, ReadFile, WorkerProcess
from ferrisdb.testing.crash_disk import Disk, File, Folder, Loss, NameChange, is_root, parent_of

__all__ = ["CrashFS", "Loss", "SimulatedCrash"]


class SimulatedCrash(StorageError):
    """The power is gone. Everything that is asked of the machine raises this from now on."""


class CrashFS:
    """An `Env`. Thread-safe.

    `crash_at` is the number of the call that crashes, from 1; None for never. It may be set
    at any time: `fs.crash_at = len(fs.calls) + 1` crashes the next call.
    """

    def __init__(self, *, crash_at: int | None = None) -> None:
        self.crash_at = crash_at
        self.has_crashed = False
        self.calls: list[str] = []
        """The calls that changed something, in words: "append db/000001.wal 56 bytes"."""
        self.time_of_day: Callable[[], float] = time.time
        """May be set: what `now_s` says. A machine after a crash has it, too."""
        self._mutex = threading.RLock()
        self._disk = Disk()
        self._held_locks: set[str] = set()

    def after_crash(self, loss: Loss, *, seed: int = 0, crash_at: int | None = None) -> CrashFS:
        """The machine when it is up again. Also works before a crash: a power cut right now.

        What chance decides is decided by `seed`. This machine stays as it is.
        """
        revived = CrashFS(crash_at=crash_at)
        revived.time_of_day = self.time_of_day
        with self._mutex:
            revived._disk = self._disk.after_crash(loss, random.Random(f"{seed} {loss.name}"))
        return revived

    def after_kill(self, *, crash_at: int | None = None) -> CrashFS:
        """The machine when only the program has died: its locks are free, and what was not
        synced is still there, and still not synced. This machine stays as it is."""
        revived = CrashFS(crash_at=crash_at)
        revived.time_of_day = self.time_of_day
        with self._mutex:
            revived._disk = copy.deepcopy(self._disk)
        return revived

    def disks_after_crash(self, seed: int = 0) -> Iterator[tuple[Loss, CrashFS]]:
        """`after_crash` for every way to lose, each different disk once."""
        known: list[dict[str, bytes | None]] = []
        for loss in Loss:
            revived = self.after_crash(loss, seed=seed)
            contents = revived.contents()
            if contents not in known:
                known.append(contents)
                yield loss, revived

    def contents(self) -> dict[str, bytes | None]:
        """Path and bytes of all files as programs see them; None for folders."""
        with self._mutex:
            return {
                path: bytes(what.data) if isinstance(what, File) else None
                for path, what in self._disk.seen.items()
            }

    # --- files

    def create(self, path: str) -> AppendFile:
        path = _normal(path)
        with self._mutex:
            self._check_place(path)
            self._begin(f"create {path}")
            file = self._disk.seen.get(path)
            if isinstance(file, File):
                file.truncate(0)
            else:
                file = File()
                self._disk.change(NameChange(parent_of(path), None, path, file))
            self._crash_if_due()
            return _Handle(self, path, file)

    def open_append(self, path: str) -> AppendFile:
        return self._open(path)

    def open_read(self, path: str) -> ReadFile:
        return self._open(path)

    def read_file(self, path: str) -> bytes:
        with self._mutex:
            return bytes(self._find(path).data)

    def truncate(self, path: str, size_bytes: int) -> None:
        with self._mutex:
            file = self._find_or_fail("truncate", path)
            self._begin(f"truncate {path} to {size_bytes} bytes")
            file.truncate(size_bytes)
            self._crash_if_due()

    # --- names

    def rename(self, source: str, target: str) -> None:
        source, target = _normal(source), _normal(target)
        with self._mutex:
            file = self._find_or_fail("rename", source)
            self._check_place(target)
            self._begin(f"rename {source} to {target}")
            self._disk.change(NameChange(parent_of(target), source, target, file))
            self._crash_if_due()

    def link(self, source: str, target: str) -> bool:
        target = _normal(target)
        with self._mutex:
            file = self._find(source)
            self._check_place(target)
            if target in self._disk.seen:
                raise StorageError(f"cannot link {source}: {target} is there already")
            self._begin(f"link {_normal(source)} to {target}")
            self._disk.change(NameChange(parent_of(target), None, target, file))
            self._crash_if_due()
        return True

    def remove(self, path: str) -> None:
        path = _normal(path)
        with self._mutex:
            file = self._find_or_fail("remove", path)
            self._begin(f"remove {path}")
            self._disk.change(NameChange(parent_of(path), path, None, file))
            self._crash_if_due()

    def exists(self, path: str) -> bool:
        with self._mutex:
            self._check_power()
            return _normal(path) in self._disk.seen or self._is_folder(_normal(path))

    def is_directory(self, path: str) -> bool:
        with self._mutex:
            self._check_power()
            return self._is_folder(_normal(path))

    def list_directory(self, path: str) -> list[str]:
        folder = _normal(path)
        with self._mutex:
            self._check_power()
            if not self._is_folder(folder):
                raise StorageError(f"cannot list {path}: no such folder")
            return sorted(posixpath.basename(p) for p in self._disk.seen if parent_of(p) == folder)

    def make_directory(self, path: str) -> None:
        path = _normal(path)
        with self._mutex:
            self._check_power()
            if self._is_folder(path):
                return
            if path in self._disk.seen:
                raise StorageError(f"cannot create {path}: a file stands there")
            self.make_directory(parent_of(path))
            self._begin(f"make_directory {path}")
            self._disk.change(NameChange(parent_of(path), None, path, Folder()))
            self._crash_if_due()

    def sync_directory(self, path: str) -> None:
        folder = _normal(path)
        with self._mutex:
            self._check_power()
            if not self._is_folder(folder):
                raise StorageError(f"cannot sync {path}: no such folder")
            self._begin(f"sync_directory {folder}")
            self._crash_if_due()
            self._disk.sync_folder(folder)

    # --- the rest of the machine

    def lock(self, path: str) -> FileLock:
        """Not counted as a call: what a lock file holds is never read back."""
        path = _normal(path)
        with self._mutex:
            self._check_power()
            self._check_place(path)
            if path in self._held_locks:
                raise DatabaseLocked(f"{path} is held by process {os.getpid()}", pid=os.getpid())
            self._held_locks.add(path)
            if path not in self._disk.seen:
                self._disk.change(NameChange(parent_of(path), None, path, File()))
            return _Lock(self, path)

    def start_worker(self, module: str) -> WorkerProcess | None:
        """None: another process would not see these files."""
        return None

    def monotonic_s(self) -> float:
        return time.monotonic()

    def now_s(self) -> float:
        return self.time_of_day()

    def _unlock(self, path: str) -> None:
        with self._mutex:
            self._held_locks.discard(path)

    def _begin(self, call: str) -> None:
        self._check_power()
        self.calls.append(call)

    def _crash_if_due(self) -> None:
        if len(self.calls) == self.crash_at:
            self.has_crashed = True
            self._check_power()

    def _check_power(self) -> None:
        if self.has_crashed:
            raise SimulatedCrash(f"the machine crashed at call {len(self.calls)}: {self.calls[-1]}")

    def _open(self, path: str) -> _Handle:
        with self._mutex:
            return _Handle(self, path, self._find(path))

    def _find(self, path: str) -> File:
        self._check_power()
        found = self._disk.seen.get(_normal(path))
        if not isinstance(found, File):
            raise FileNotFoundError(path)
        return found

    def _find_or_fail(self, action: str, path: str) -> File:
        try:
            return self._find(path)
        except FileNotFoundError as error:
            raise StorageError(f"cannot {action} {path}: no such file") from error

    def _check_place(self, path: str) -> None:
        if self._is_folder(path):
            raise StorageError(f"cannot create {path}: a folder stands there")
        if not self._is_folder(parent_of(path)):
            raise StorageError(f"cannot create {path}: its folder is not there")

    def _is_folder(self, path: str) -> bool:
        return is_root(path) or isinstance(self._disk.seen.get(path), Folder)


class _Handle:
    """An open file, for appending or reading. It stays usable when the name is gone."""

    def __init__(self, fs: CrashFS, path: str, file: File) -> None:
        self._fs = fs
        self._path = path
        self._file = file
        self._reserved_bytes = 0
        self._is_closed = False

    def append(self, data: bytes) -> None:
        with self._fs._mutex:
            self._check_open()
            self._fs._begin(f"append {self._path} {len(data)} bytes")
            self._file.write(len(self._file.data) - self._reserved_bytes, data)
            self._reserved_bytes = max(0, self._reserved_bytes - len(data))
            self._fs._crash_if_due()

    def reserve(self, length: int) -> None:
        with self._fs._mutex:
            self._check_open()
            self._fs._begin(f"reserve {self._path} {length} bytes")
            self._file.data.extend(bytes(length))
            self._reserved_bytes += length
            self._fs._crash_if_due()

    def truncate(self, size_bytes: int) -> None:
        with self._fs._mutex:
            self._check_open()
            self._fs._begin(f"truncate {self._path} to {size_bytes} bytes")
            self._file.truncate(size_bytes)
            self._reserved_bytes = 0
            self._fs._crash_if_due()

    def sync(self) -> bool:
        with self._fs._mutex:
            self._check_open()
            self._fs._begin(f"sync {self._path}")
            self._fs._crash_if_due()
            self._file.sync()
            return True

    def read_at(self, offset: int, length: int) -> bytes:
        with self._fs._mutex:
            self._check_open()
            return bytes(self._file.data[offset : offset + length])

    def size(self) -> int:
        with self._fs._mutex:
            self._check_open()
            return len(self._file.data)

    def close(self) -> None:
        """Never fails, so that a program can tidy up after the crash."""
        self._is_closed = True

    def _check_open(self) -> None:
        self._fs._check_power()
        if self._is_closed:
            raise InterfaceError(f"{self._path} is closed")


class _Lock:
    def __init__(self, fs: CrashFS, path: str) -> None:
        self._fs = fs
        self._path = path

    def release(self) -> None:
        self._fs._unlock(self._path)


def _normal(path: str) -> str:
    return posixpath.normpath(path)
