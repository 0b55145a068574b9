"""Ctrl-C while a new segment is begun: the flush that runs beside it drops no segment that counts."""

import contextlib
import linecache
import sys
import threading
from types import FrameType
from typing import Any

import pytest

from ferrisdb.errors import StorageError
from ferrisdb.storage import flush, sources
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import StorageOptions

SWITCHING = StorageOptions(memtable_bytes=1)
"""Each commit finds a full memtable, and begins a new segment."""


class HeldFlushes(MemoryEnv):
    """The flush thread waits for `go_on` before it makes a table durable."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def sync_directory(self, path: str) -> None:
        if threading.current_thread().name == "ferrisdb-flush":
            assert self.go_on.wait(20)
        super().sync_directory(path)


class InterruptInSealing:
    """Raises KeyboardInterrupt before line `at` of what seals a memtable.

    Lines with `with` do not count: Python traces them once more when the block is left, before
    the lock is released, and there no signal is ever delivered.
    """

    FUNCTIONS = (flush.Flusher.seal_active.__code__, sources.LiveSources.seal_active.__code__)

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if frame.f_code in self.FUNCTIONS and event == "line" and not line.lstrip().startswith("with "):
            self.count += 1
            if self.count == self.at:
                raise KeyboardInterrupt
        return self.trace


def test_wherever_a_change_of_segments_is_interrupted_acknowledged_commits_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = 0
    while True:
        at += 1
        # given one memtable that is being flushed, and one that is full
        env = HeldFlushes()
        engine = Engine.open(env, "db", SWITCHING)
        acknowledged = {b"1": b"flushing", b"2": b"full"}
        for key, value in acknowledged.items():
            engine.commit({key: value})
        # when Ctrl-C comes while the next commit puts the full one aside
        interrupt = InterruptInSealing(at)

        sys.settrace(interrupt.trace)
        try:
            # Interrupted before it is visible, or refused: one of these it is.
            with contextlib.suppress(KeyboardInterrupt, StorageError):
                engine.commit({b"3": b"interrupted"})
        finally:
            sys.settrace(None)
        # and the flush ends, and the database is closed
        env.go_on.set()
        with contextlib.suppress(StorageError):
            engine._flusher.wait_until_flushed()
        with contextlib.suppress(StorageError):
            engine.close()
        # then both are there
        again = Engine.open(env, "db", SWITCHING)
        timestamp = again.visible_timestamp
        found = {key: again.read(key, timestamp) for key in acknowledged}
        assert found == acknowledged, f"interrupted before line {at}"
        again.close()
        if interrupt.count < at:
            break
    assert at > 4
