"""One process owns the folder: the lock file, and the process id that stands in it.

    shop.ferris/LOCK        "1234\\n", locked with flock by process 1234

The operating system drops the lock when its holder dies, however it dies, so nobody ever
has to remove a stale one. The text is only there to be named in the error of whoever comes
second; it is emptied on release. The file itself stays for ever: were it removed, a second
process could lock the removed file while a third creates and locks a new one.

Three ways in which such a lock goes wrong, and what is done:

- One process opens the folder twice. `flock` refuses that on a local disk, but over NFS it
  is emulated with a lock that belongs to the process, and grants it. So the process also
  keeps a table of what it holds.
- The holder forks. The child inherits the open file, and with it the lock: the folder would
  stay locked until the child ends, too. So the child closes its copy at once.
- The holder closes while such a child lives on in C code. So release unlocks before it
  closes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import sys
import threading
import time

from ferrisdb.errors import DatabaseLocked

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOCKED_BYTE = 1 << 30  # Windows refuses to read a locked byte, and the pid has to be read.
_PID_TEXT_TRIES = 20
_PID_TEXT_PAUSE_S = 0.005
_CONFLICT_ERRNOS = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)

_table_lock = threading.Lock()
_held: dict[tuple[int, int], OsFileLock] = {}


class OsFileLock:
    """See `FileLock`."""

    def __init__(self, descriptor: int, identity: tuple[int, int]) -> None:
        self._descriptor = descriptor
        self._identity = identity

    def release(self) -> None:
        with _table_lock:
            if self._descriptor < 0:
                return
            _held.pop(self._identity, None)
            with contextlib.suppress(OSError):  # The text is a courtesy.
                os.ftruncate(self._descriptor, 0)
            try:
                _unlock(self._descriptor)
            finally:
                self.abandon()

    def abandon(self) -> None:
        """Close our copy without unlocking: the parent process still holds it."""
        os.close(self._descriptor)
        self._descriptor = -1


def take_lock(path: str) -> OsFileLock:
    """Lock the file, creating it when absent, and write our process id into it.

    Raises DatabaseLocked when another process, or another part of this one, holds it;
    OSError when the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    try:
        status = os.fstat(descriptor)
        identity = (status.st_dev, status.st_ino)
        with _table_lock:
            if identity in _held:
                raise _locked(path, os.getpid())
            if not _try_lock(descriptor):
                raise _locked(path, _read_pid(descriptor))
            # On a disk without room the text fails and the lock holds: it must not keep anybody
            # from opening a database to read it, or to make room.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.write(descriptor, b"%d\n" % os.getpid())
            held = _held[identity] = OsFileLock(descriptor, identity)
            return held
    except BaseException:
        os.close(descriptor)
        raise


def _locked(path: str, pid: int | None) -> DatabaseLocked:
    folder = posixpath.dirname(path) or path
    if pid == os.getpid():
        hint = "this process has it open already: use that one, or close it first"
    else:
        hint = "only one process at a time can open a database; close it there first, or open it read-only"
    holder = f"process {pid}" if pid is not None else "another process"
    return DatabaseLocked(f"{folder} is held by {holder}", pid=pid, hint=hint)


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _CONFLICT_ERRNOS:
            return False
        raise
    return True


def _unlock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _read_pid(descriptor: int) -> int | None:
    """The holder's id. It writes it just after it has locked, so an empty file is asked again."""
    for _ in range(_PID_TEXT_TRIES):
        os.lseek(descriptor, 0, os.SEEK_SET)
        text = os.read(descriptor, 32).strip()
        if text.isdigit():
            return int(text)
        time.sleep(_PID_TEXT_PAUSE_S)
    return None


def _abandon_all_in_child() -> None:
    global _table_lock  # noqa: PLW0603 - another thread of the parent may have held it at the fork
    _table_lock = threading.Lock()
    for held in _held.values():
        held.abandon()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon_all_in_child)
