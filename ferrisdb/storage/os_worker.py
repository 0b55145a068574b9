"""A child process of our own Python, tied to this process by two pipes.

    this process ---- standard input  ---> child      ends when this process dies, however
                 <--- standard output ----            ends when the child dies, however

It is `sys.executable -m module` and not `multiprocessing`, which imports the program's main
module again, and many a program has no guard there.

No child is started from a frozen program, whose `sys.executable` is the program itself: it
would be started a second time. Nor where Python does not know its own executable, as in some
embedding programs.

The end of a pipe is when nobody holds its other end, and that may be somebody else as well: a
thread of the program that forks in the moment in which we start a child gives the new process
a copy of the child's end, and keeps it open for as long as it lives. So where processes can
fork, reading does not wait for the end alone: while nothing comes, it asks now and then
whether the child still lives.
"""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING, Final

from ferrisdb.errors import StorageError, broken

if TYPE_CHECKING:
    import subprocess

CAN_FORK: Final = hasattr(os, "fork")
"""Where it cannot, as on Windows, pipes cannot be waited for with a timeout either."""

ASK_EACH_S: Final = 0.2


class OsWorker:
    """See `WorkerProcess`. One thread talks to it; any may kill it."""

    def __init__(self, process: subprocess.Popen[bytes], to_child: IO[bytes], from_child: IO[bytes]) -> None:
        self._process = process
        self._to_child = to_child
        self._from_child = from_child

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._to_child.write(rest) :]
        except OSError as error:
            raise StorageError(f"the child process takes no input: {error.strerror}") from error

    def read(self, length: int) -> bytes:
        found = b""
        while len(found) < length and self._has_more():
            more = self._from_child.read(length - len(found))
            if not more:
                break
            found += more
        return found

    def _has_more(self) -> bool:
        """Wait until there is something to read, be it the end; False when the child has died, and
        all that it said is read."""
        if not CAN_FORK:
            return True
        # As `subprocess` below, which has it loaded already.
        import selectors  # noqa: PLC0415

        with selectors.DefaultSelector() as selector:
            selector.register(self._from_child, selectors.EVENT_READ)
            while not selector.select(ASK_EACH_S):
                if self._process.poll() is not None:
                    # It may have said its last word between the two questions.
                    return bool(selector.select(0))
        return True

    def kill(self) -> None:
        self._process.kill()

    def wait(self) -> int:
        self._to_child.close()
        self._from_child.close()
        return self._process.wait()


def start_worker(module: str) -> OsWorker | None:
    """See `Env.start_worker`."""
    if not sys.executable or getattr(sys, "frozen", False):
        return None
    # Only here: most processes never compact, and all would pay for it when they start.
    import subprocess  # noqa: PLC0415

    # The child looks where we look: the program may have found us by a path of its own. -P
    # keeps the working directory out, where a file named struct.py may lie.
    try:
        search_path = os.pathsep.join(path or os.getcwd() for path in sys.path)  # noqa: PTH109
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": search_path},
            # A Ctrl-C in the terminal is for the program, which may well go on after it.
            start_new_session=True,
        )
    except OSError:
        # Out of processes, or of memory, or not allowed to, or the working directory is gone:
        # the work is done without one.
        return None
    if process.stdin is None or process.stdout is None:
        broken("a child process was started without its pipes")
    return OsWorker(process, process.stdin, process.stdout)
