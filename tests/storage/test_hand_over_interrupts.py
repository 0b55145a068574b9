"""Ctrl-C while a leader wakes those whom it served: nobody sleeps for ever."""

import contextlib
import linecache
import sys
import threading
import time
from types import FrameType
from typing import Any

from ferrisdb.errors import StorageError
from ferrisdb.storage import group_commit
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv


class InterruptInHandOver:
    """Raises KeyboardInterrupt before line `at` of what gives the lead away.

    Lines with `with` do not count: Python traces them once more when the block is left, before
    the lock is released, and there no signal is ever delivered.
    """

    NAMES = ("_hand_over", "_wake", "_unpark")

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0

    def trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if code.co_filename != group_commit.__file__ or code.co_name not in self.NAMES:
            return self.trace
        line = linecache.getline(code.co_filename, frame.f_lineno)
        if event == "line" and not line.lstrip().startswith("with "):
            self.count += 1
            if self.count == self.at:
                raise KeyboardInterrupt
        return self.trace


def wait_until(is_true: Any) -> None:
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0)


def test_wherever_a_leader_is_interrupted_the_others_get_an_answer() -> None:
    at = 0
    while True:
        at += 1
        engine = Engine.open(MemoryEnv(), "db")
        commits = engine._commits
        # given a leader, one who was served with it, and one who came too late for its group
        publish, late = engine.publish_group, []

        def commit(key: bytes, engine: Engine = engine) -> threading.Thread:
            def run() -> None:
                with contextlib.suppress(StorageError):
                    engine.commit({key: b""})

            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            return thread

        def publish_late(
            *given: Any, publish: Any = publish, late: Any = late, commits: Any = commits
        ) -> None:
            publish(*given)
            if not late:
                late.append(commit(b"late"))
                wait_until(lambda: len(commits._queue) == 1)

        go_on, has_begun = threading.Event(), threading.Event()

        def hold(go_on: threading.Event = go_on, has_begun: threading.Event = has_begun) -> None:
            has_begun.set()
            assert go_on.wait(20)

        first = threading.Thread(target=commits.run_alone, args=(hold,), daemon=True)
        first.start()
        assert has_begun.wait(20)
        interrupt = InterruptInHandOver(at)
        served: list[threading.Thread] = []

        def arrive(served: Any = served, commits: Any = commits, go_on: Any = go_on) -> None:
            # Behind the main thread in the queue.
            wait_until(lambda: len(commits._queue) == 1)
            served.append(commit(b"served"))
            wait_until(lambda: len(commits._queue) == 2)
            go_on.set()

        arriving = threading.Thread(target=arrive, daemon=True)
        arriving.start()
        engine.publish_group = publish_late  # type: ignore[method-assign]
        # when Ctrl-C comes while it wakes the one and gives the lead to the other
        sys.settrace(interrupt.trace)
        try:
            with contextlib.suppress(KeyboardInterrupt, StorageError):
                engine.commit({b"leader": b""})
        finally:
            sys.settrace(None)
        # then both get an answer, and so does who comes next
        for thread in (first, arriving, *served, *late, commit(b"next")):
            thread.join(20)
            assert not thread.is_alive(), f"interrupted before line {at}: somebody waits for ever"
        engine.close()
        if interrupt.count < at:
            break
    assert at > 10
