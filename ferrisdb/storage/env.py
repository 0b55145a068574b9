"""The one door to the operating system.

The engine never calls `open`, `os.fsync` or `os.rename`. It asks an `Env`, which it is
given. So the same engine runs on a disk (`OsEnv`), in memory (`MemoryEnv`) and on a file
system that crashes on purpose (`ferrisdb.testing.CrashFS`), and only `OsEnv` knows how
Linux, macOS and Windows differ. The idea is LevelDB's.

Paths are strings, joined with `/` by `join`. An `Env` raises `StorageError` (`DiskFull` for
a full disk) with the path in its message; `FileNotFoundError` only where it is said.
"""

from __future__ import annotations

from typing import Protocol


class AppendFile(Protocol):
    """A file open for writing at its end."""

    def append(self, data: bytes) -> None:
        """Write all of `data` at the end. It is not on disk before `sync`."""

    def reserve(self, length: int) -> None:
        """Write `length` zeros behind the end; `append` then writes over them.

        For a file to which nothing was reserved, or all of that is used. Until it is used the
        file reads as ending in zeros; `truncate` gives it back. After an error some zeros may
        be there.
        """

    def truncate(self, size_bytes: int) -> None:
        """Cut the file there, with what is reserved; `append` goes on from there."""

    def sync(self) -> object:
        """Return only when every byte appended so far would survive a power cut."""

    def close(self) -> None: ...


class ReadFile(Protocol):
    """A file open for reading anywhere, from any thread."""

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes at `offset`; fewer than `length` only at the end of the file."""

    def size(self) -> int: ...

    def sync(self) -> bool:
        """Return only when what can be read now would survive a power cut; False, with nothing
        done, where that cannot be asked through a file that is open for reading."""

    def close(self) -> None: ...


class FileLock(Protocol):
    """A lock between processes. The operating system drops it when its holder dies."""

    def release(self) -> None: ...


class WorkerProcess(Protocol):
    """A child process, with a pipe to its standard input and one from its standard output.

    When this process dies, the child's standard input ends.
    """

    def write(self, data: bytes) -> None:
        """StorageError when the child no longer reads."""

    def read(self, length: int) -> bytes:
        """Fewer than `length` bytes only at the end of what the child says."""

    def kill(self) -> None:
        """End it at once. From any thread; a `read` in another then meets the end. Fine when
        it is over already."""

    def wait(self) -> int:
        """Close the pipes and wait for its end. Its exit status; negative for a signal."""


class Env(Protocol):
    """Everything the engine asks of the machine below it."""

    def create(self, path: str) -> AppendFile:
        """A new, empty file; one that stands there already is emptied."""

    def open_append(self, path: str) -> AppendFile:
        """An existing file, to write on at its end. FileNotFoundError when absent."""

    def open_read(self, path: str) -> ReadFile:
        """FileNotFoundError when absent."""

    def read_file(self, path: str) -> bytes:
        """The whole file. FileNotFoundError when absent."""

    def truncate(self, path: str, size_bytes: int) -> None: ...

    def rename(self, source: str, target: str) -> None:
        """Atomic; replaces `target`. Durable only after `sync_directory`."""

    def link(self, source: str, target: str) -> bool:
        """Give the file `source` the name `target`, too, which nothing may have yet.

        False, with nothing changed, where the file system cannot: across file systems, or
        when the file has as many names as it may have. Durable only after `sync_directory`.
        FileNotFoundError when `source` is absent.
        """

    def remove(self, path: str) -> None: ...

    def exists(self, path: str) -> bool: ...

    def is_directory(self, path: str) -> bool: ...

    def list_directory(self, path: str) -> list[str]:
        """Names in the folder, sorted."""

    def make_directory(self, path: str) -> None:
        """The folder and its missing parents; fine when it is there."""

    def sync_directory(self, path: str) -> None:
        """Names created, renamed or removed in the folder survive a power cut after this."""

    def lock(self, path: str) -> FileLock:
        """Take the lock file. DatabaseLocked, naming the process, when another holds it."""

    def start_worker(self, module: str) -> WorkerProcess | None:
        """Run `module` of ours as a child process over the same files.

        None where no child can be started, or where it would not see the files.
        """

    def monotonic_s(self) -> float: ...

    def now_s(self) -> float:
        """The time of day, in seconds since 1970. It may be set, also back."""


def join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
