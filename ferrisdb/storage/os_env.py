"""The real machine: an `Env` over files of the operating system.

All that differs between Linux, macOS and Windows is here, and nowhere else:

    what                  Linux           macOS               Windows
    bytes to the disk     fdatasync       fcntl F_FULLFSYNC   fsync (FlushFileBuffers)
    names to the disk     fsync the dir   fsync the dir       cannot be asked; NTFS journals names
    read at an offset     pread           pread               seek and read, under a lock
    lock between tasks    flock           flock               msvcrt.locking, one byte far behind

`fdatasync` also writes the file's length when that changed, so appended bytes can be found
again; it leaves out the modification time, which nobody here reads. On macOS plain `fsync`
stops at the drive's own cache, which a power cut empties.

Errors of the operating system become StorageError (DiskFull when the disk or a quota is
full) with the path in the message.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ferrisdb.errors import DiskFull, InterfaceError, StorageError
from ferrisdb.storage.env import AppendFile, FileLock, ReadFile, WorkerProcess
from ferrisdb.storage.os_lock import take_lock
from ferrisdb.storage.os_worker import start_worker

if sys.platform == "darwin":
    import fcntl

_BINARY = getattr(os, "O_BINARY", 0)
_NO_LINK_ERRNOS = (
    errno.EXDEV,  # another file system
    errno.EPERM,  # FAT; or a file of another user, where the kernel protects hard links
    errno.EACCES,
    errno.EMLINK,
    errno.ENOSYS,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EINVAL,  # Windows, on FAT
)
# A file system that is mounted read-only, Windows, a network file system that knows no sync.
_NO_SYNC_BY_READERS_ERRNOS = (
    errno.EROFS,
    errno.EBADF,
    errno.EACCES,
    errno.EPERM,
    errno.EINVAL,
    errno.ENOTSUP,
)
_MAX_WRITE_BYTES = 64 * 1024 * 1024  # Linux writes at most 2 GiB a call, Windows less.


@contextlib.contextmanager
def _translated(action: str, path: str, *, missing_is_plain: bool = False) -> Iterator[None]:
    """Turn an OSError into ours; FileNotFoundError passes where the contract says so."""
    try:
        yield
    except FileNotFoundError as error:
        if missing_is_plain:
            raise
        raise _storage_error(action, path, error) from error
    except OSError as error:
        raise _storage_error(action, path, error) from error


def _storage_error(action: str, path: str, error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"cannot {action} {path}: {error.strerror}", hint="free some space on that disk")
    is_out_of_files = error.errno in (errno.EMFILE, errno.ENFILE)
    hint = "raise the limit of open files (`ulimit -n`): each table takes one" if is_out_of_files else None
    return StorageError(f"cannot {action} {path}: {error.strerror or error}", hint=hint)


def _sync_descriptor(descriptor: int) -> None:
    if sys.platform == "darwin":
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError as error:
            # Network file systems do not know it. Any other error is a failed sync.
            if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
                raise
            os.fsync(descriptor)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


class _Descriptor:
    """A file descriptor that is closed when the last one who uses it lets go.

    `close` in one thread while another is inside `pread` would let the number be given to a
    new file, and the read would return that file's bytes. So `close` only drops a
    reference, and the reader's own reference keeps the descriptor open until it is done.
    """

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        with contextlib.suppress(OSError):  # Nothing rides on it: what matters was synced.
            os.close(self.number)


class OsAppendFile:
    """See `AppendFile`. One writer at a time; `sync` may run beside `append`.

    Not opened with O_APPEND: reserved zeros stand behind the descriptor's offset, which is
    the end for `append`.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor: _Descriptor | None = _Descriptor(descriptor)

    def append(self, data: bytes) -> None:
        descriptor = self._open_descriptor()
        try:
            written = os.write(descriptor.number, data) if len(data) <= _MAX_WRITE_BYTES else 0
            if written < len(data):
                self._append_rest(descriptor, memoryview(data)[written:])
        except OSError as error:
            raise _storage_error("write to", self._path, error) from error

    def _append_rest(self, descriptor: _Descriptor, rest: memoryview) -> None:
        while rest:
            written = os.write(descriptor.number, rest[:_MAX_WRITE_BYTES])
            rest = rest[written:]

    def reserve(self, length: int) -> None:
        descriptor = self._open_descriptor()
        try:
            # Zeros that are written and not fallocate: the first write to a block that was only
            # allocated has to be noted by the file system, which costs what this is to save.
            end = os.lseek(descriptor.number, 0, os.SEEK_CUR)
            try:
                self._append_rest(descriptor, memoryview(bytes(length)))
            finally:
                os.lseek(descriptor.number, end, os.SEEK_SET)
        except OSError as error:
            raise _storage_error("reserve space in", self._path, error) from error

    def truncate(self, size_bytes: int) -> None:
        descriptor = self._open_descriptor()
        try:
            os.ftruncate(descriptor.number, size_bytes)
            os.lseek(descriptor.number, size_bytes, os.SEEK_SET)
        except OSError as error:
            raise _storage_error("truncate", self._path, error) from error

    def sync(self) -> None:
        descriptor = self._open_descriptor()
        try:
            _sync_descriptor(descriptor.number)
        except OSError as error:
            raise _storage_error("sync", self._path, error) from error

    def close(self) -> None:
        self._descriptor = None

    def _open_descriptor(self) -> _Descriptor:
        descriptor = self._descriptor
        if descriptor is None:
            raise InterfaceError(f"{self._path} is closed")
        return descriptor


class OsReadFile:
    """See `ReadFile`. Any number of threads."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor: _Descriptor | None = _Descriptor(descriptor)
        self._seek_lock = threading.Lock()

    def read_at(self, offset: int, length: int) -> bytes:
        descriptor = self._open_descriptor()
        try:
            data = self._read_once(descriptor, offset, length)
            while 0 < len(data) < length:
                more = self._read_once(descriptor, offset + len(data), length - len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise _storage_error("read", self._path, error) from error
        return data

    def _read_once(self, descriptor: _Descriptor, offset: int, length: int) -> bytes:
        if sys.platform == "win32":
            with self._seek_lock:
                os.lseek(descriptor.number, offset, os.SEEK_SET)
                return os.read(descriptor.number, length)
        else:
            return os.pread(descriptor.number, length, offset)

    def size(self) -> int:
        descriptor = self._open_descriptor()
        with _translated("examine", self._path):
            return os.fstat(descriptor.number).st_size

    def sync(self) -> bool:
        descriptor = self._open_descriptor()
        try:
            _sync_descriptor(descriptor.number)
        except OSError as error:
            if error.errno in _NO_SYNC_BY_READERS_ERRNOS:
                return False
            raise _storage_error("sync", self._path, error) from error
        return True

    def close(self) -> None:
        self._descriptor = None

    def _open_descriptor(self) -> _Descriptor:
        descriptor = self._descriptor
        if descriptor is None:
            raise InterfaceError(f"{self._path} is closed")
        return descriptor


class OsEnv:
    """See `Env`. Has no state: every instance is as good as another."""

    def create(self, path: str) -> AppendFile:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _BINARY
        with _translated("create", path):
            return OsAppendFile(path, os.open(path, flags, 0o666))

    def open_append(self, path: str) -> AppendFile:
        with _translated("open", path, missing_is_plain=True):
            descriptor = os.open(path, os.O_WRONLY | _BINARY)
            os.lseek(descriptor, 0, os.SEEK_END)
            return OsAppendFile(path, descriptor)

    def open_read(self, path: str) -> ReadFile:
        with _translated("open", path, missing_is_plain=True):
            return OsReadFile(path, os.open(path, os.O_RDONLY | _BINARY))

    def read_file(self, path: str) -> bytes:
        with _translated("read", path, missing_is_plain=True):
            return Path(path).read_bytes()

    def truncate(self, path: str, size_bytes: int) -> None:
        with _translated("truncate", path):
            os.truncate(path, size_bytes)

    def rename(self, source: str, target: str) -> None:
        with _translated("rename", source):
            Path(source).replace(target)

    def link(self, source: str, target: str) -> bool:
        with _translated("link", source, missing_is_plain=True):
            try:
                os.link(source, target)
            except OSError as error:
                if error.errno in _NO_LINK_ERRNOS:
                    return False
                raise
        return True

    def remove(self, path: str) -> None:
        with _translated("remove", path):
            Path(path).unlink()

    def exists(self, path: str) -> bool:
        with _translated("examine", path):
            return Path(path).exists()

    def is_directory(self, path: str) -> bool:
        with _translated("examine", path):
            return Path(path).is_dir()

    def list_directory(self, path: str) -> list[str]:
        with _translated("list", path):
            return sorted(entry.name for entry in Path(path).iterdir())

    def make_directory(self, path: str) -> None:
        with _translated("create", path):
            Path(path).mkdir(parents=True, exist_ok=True)

    def sync_directory(self, path: str) -> None:
        if sys.platform == "win32":
            return
        with _translated("sync", path):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def lock(self, path: str) -> FileLock:
        with _translated("lock", path):
            return take_lock(path)

    def start_worker(self, module: str) -> WorkerProcess | None:
        return start_worker(module)

    def monotonic_s(self) -> float:
        return time.monotonic()

    def now_s(self) -> float:
        return time.time()
