"""The child process of a compaction: `python -m ferrisdb.storage.compaction_worker`.

    parent                                      child
      | ---- standard input: the job ------------> |
      | <--- standard output: "ready" ------------ |
      | <--- standard output: "working" ---------- |  reads tables, writes tables
      |                 ... each second ...        |
      | <--- standard output: result or error ---- |
      | ---- standard input: ends ---------------> |  exits, whatever it is at

Each message is a length (u32, little-endian) and that many bytes of msgpack: the job, then
[kind, body] each. Standard input stays open meanwhile, and says by its end that the parent
is gone: then nobody would ever name the outputs, and the child stops at once. A program that
has forked may leave its end of the pipe open in the fork, so the child also looks now and
then whose child it is.

A child of which nothing is heard for a minute hangs: it waits for a disk that does not answer,
or somebody has stopped it. It is killed, and the work is done again.

A Python process of its own, so that the merging does not take the interpreter lock from
those who commit. It opens no database: it holds no lock, and reads and writes only the
files that the job names.
"""

from __future__ import annotations

import os
import struct
import sys
import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import IO, Final

import msgpack

from ferrisdb.errors import CorruptionError, DiskFull, Error, MissingLibrary, StorageError
from ferrisdb.storage.compaction_filter import FilterFailed
from ferrisdb.storage.compaction_job import CompactionJob, CompactionResult, run_compaction
from ferrisdb.storage.env import WorkerProcess
from ferrisdb.storage.os_env import OsEnv

MODULE: Final = "ferrisdb.storage.compaction_worker"
_LENGTH: Final = struct.Struct("<I")
_MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024

MOST_SILENCE_S: Final = 60.0
"""Longer than a slow disk takes to sync one table."""

WORKING_EACH_S: Final = 1.0


class _Kind(Enum):
    READY = "ready"
    WORKING = "working"
    RESULT = "result"
    CORRUPTION = "corruption"
    DISK_FULL = "disk full"
    MISSING_LIBRARY = "missing library"
    FILTER = "filter"
    FAILURE = "failure"


_NOT_OUR_CHILD: Final = (StorageError, EOFError, ValueError, TypeError, struct.error)
"""How it shows that the pipe ends, or that another program than ours speaks. The errors of
msgpack are ValueErrors."""


class WorkerNotStarted(StorageError):
    """The child ended before it was ready: there may be no Python to run."""


class WorkerDied(StorageError):
    """The child ended in the middle of its work."""


class WorkerMute(WorkerNotStarted):
    """It was killed, as it never said that it was ready: it may be a program that does not know us."""


class WorkerHung(StorageError):
    """The child said nothing for too long in the middle of its work, and was killed."""


class _Watch:
    """Kills a child of which nothing is heard for `most_silence_s`.

    A thread, as a pipe cannot be read with a timeout on every system.
    """

    def __init__(self, worker: WorkerProcess, most_silence_s: float) -> None:
        self.has_killed = False
        self._worker = worker
        self._most_silence_s = most_silence_s
        self._heard = threading.Event()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="ferrisdb-watch", daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._heard.set()
        self._thread.join()

    def heard(self) -> None:
        self._heard.set()

    def _run(self) -> None:
        while self._heard.wait(self._most_silence_s):
            self._heard.clear()
            # After `clear`: who sets it from now on is heard in the next turn.
            if self._is_over:
                return
        self.has_killed = True
        self._worker.kill()


def hand_over(
    worker: WorkerProcess, job: CompactionJob, most_silence_s: float = MOST_SILENCE_S
) -> CompactionResult:
    """Have the child do the job; return when it has. For the parent.

    Raises what `run_compaction` does, WorkerNotStarted, WorkerMute, WorkerDied, WorkerHung.
    """
    with _Watch(worker, most_silence_s) as watch:
        try:
            return _hand_over(worker, job, watch.heard)
        except WorkerNotStarted as error:
            if not watch.has_killed:
                raise
            raise WorkerMute(f"the child process said nothing for {most_silence_s:g} s") from error
        except WorkerDied as error:
            if not watch.has_killed:
                raise
            silence = f"nothing was heard of it for {most_silence_s:g} s"
            raise WorkerHung(f"the child process of a compaction was killed: {silence}") from error


def _hand_over(worker: WorkerProcess, job: CompactionJob, heard: Callable[[], None]) -> CompactionResult:
    try:
        worker.write(_framed(job.encode()))
        kind, _ = _next_message(worker.read)
        if kind is not _Kind.READY:
            raise ValueError(kind)
    except _NOT_OUR_CHILD as error:
        raise WorkerNotStarted("the child process for a compaction did not start") from error
    try:
        kind, body = _Kind.WORKING, b""
        while kind is _Kind.WORKING:
            heard()
            kind, body = _next_message(worker.read)
        if kind is _Kind.RESULT:
            return CompactionResult.decode(body)
        failure = _error_of(kind, body)
    except _NOT_OUR_CHILD as error:
        raise WorkerDied("the child process died in the middle of a compaction") from error
    raise failure


def _error_of(kind: _Kind, body: bytes) -> Error:
    message, file, offset, hint = msgpack.unpackb(body)
    if kind is _Kind.CORRUPTION:
        return CorruptionError(message.removesuffix(f" ({file}, byte {offset})"), file=file, offset=offset)
    if kind is _Kind.FILTER:
        return FilterFailed(message, hint=hint)
    if kind is _Kind.MISSING_LIBRARY:
        return MissingLibrary(message, hint=hint)
    return (DiskFull if kind is _Kind.DISK_FULL else StorageError)(message, hint=hint)


def _encoded_error(error: BaseException) -> tuple[_Kind, bytes]:
    if isinstance(error, CorruptionError):
        return _Kind.CORRUPTION, msgpack.packb([error.message, error.file, error.offset, None])
    kind = _Kind.DISK_FULL if isinstance(error, DiskFull) else _Kind.FAILURE
    if isinstance(error, FilterFailed):
        kind = _Kind.FILTER
    if isinstance(error, MissingLibrary):
        kind = _Kind.MISSING_LIBRARY
    hint = error.hint if isinstance(error, Error) else None
    message = error.message if isinstance(error, Error) else f"{type(error).__name__}: {error}"
    return kind, msgpack.packb([message, "", 0, hint])


def _framed(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


def _next_message(read: Callable[[int], bytes]) -> tuple[_Kind, bytes]:
    """EOFError where the pipe ends before the message is whole."""
    kind, body = msgpack.unpackb(_read_message(read))
    return _Kind(kind), body


def _read_message(read: Callable[[int], bytes]) -> bytes:
    (length,) = _LENGTH.unpack(_read_whole(read, _LENGTH.size))
    if length > _MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {length} bytes")
    return _read_whole(read, length)


def _read_whole(read: Callable[[int], bytes], length: int) -> bytes:
    data = read(length)
    if len(data) < length:
        raise EOFError
    return data


# --- in the child


def main() -> int:
    """Serve one job from standard input."""
    parent_id = os.getppid()
    to_parent = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    from_parent = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    # A compaction filter of the user's may print, or read: not into what we say and hear.
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, sys.stdin.fileno())
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    try:
        job = CompactionJob.decode(_read_message(lambda length: _read_fully(from_parent, length)))
    except EOFError:
        return 1
    threading.Thread(target=_die_with_parent, args=(from_parent,), daemon=True).start()
    _say(to_parent, _Kind.READY, b"")

    last_word_s = time.monotonic()

    def pace() -> None:
        nonlocal last_word_s
        if os.getppid() != parent_id:
            os._exit(1)
        if time.monotonic() - last_word_s >= WORKING_EACH_S:
            _say(to_parent, _Kind.WORKING, b"")
            last_word_s = time.monotonic()

    try:
        kind, body = _Kind.RESULT, run_compaction(OsEnv(), job, pace).encode()
    except BaseException as error:
        kind, body = _encoded_error(error)
    _say(to_parent, kind, body)
    return 0


def _read_fully(pipe: IO[bytes], length: int) -> bytes:
    found = b""
    while len(found) < length and (more := pipe.read(length - len(found))):
        found += more
    return found


def _die_with_parent(from_parent: IO[bytes]) -> None:
    while from_parent.read(1):
        pass
    os._exit(1)


def _say(to_parent: IO[bytes], kind: _Kind, body: bytes) -> None:
    to_parent.write(_framed(msgpack.packb([kind.value, body])))


if __name__ == "__main__":
    sys.exit(main())
