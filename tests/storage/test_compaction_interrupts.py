"""Ctrl-C while a database with a compaction is closed: nobody writes to a folder that is let go."""

import threading
from collections.abc import Callable

import pytest
from tree_checker import TINY, contents

from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import StorageOptions


class HeldEnv(MemoryEnv):
    """Holds up `thread_name` where it syncs the folder, until `go_on`."""

    def __init__(self, thread_name: str) -> None:
        super().__init__()
        self.thread_name = thread_name
        self.began, self.go_on = threading.Event(), threading.Event()

    def sync_directory(self, path: str) -> None:
        if threading.current_thread().name == self.thread_name:
            self.began.set()
            assert self.go_on.wait(20)
        super().sync_directory(path)


def interrupt_first(join: Callable[..., None], then: Callable[[], None]) -> Callable[..., None]:
    """A `join` into which a Ctrl-C comes, and before the next one `then` is called."""
    is_first = True

    def interrupted(timeout: float | None = None) -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            raise KeyboardInterrupt
        then()
        join(timeout)

    return interrupted


@pytest.mark.parametrize("interrupted", ["ferrisdb-flush", "ferrisdb-compact"])
def test_an_interrupted_close_keeps_the_folder_until_the_compaction_is_over(interrupted: str) -> None:
    # given a compaction in the step that gives its tables their names
    env = HeldEnv("ferrisdb-compact")
    engine = Engine.open(env, "db", TINY)
    while not env.began.is_set():
        engine.commit({b"key": b"value"})
        engine.flush()
        env.began.wait(0.01)
    expected = contents(engine)
    flusher, compactor = engine._flusher._thread, engine._compactor._thread
    if interrupted == "ferrisdb-flush":
        flusher.join = interrupt_first(flusher.join, lambda: None)  # type: ignore[method-assign]
        threading.Timer(0.05, env.go_on.set).start()
    else:
        compactor.join = interrupt_first(compactor.join, env.go_on.set)  # type: ignore[method-assign]
    # when Ctrl-C comes while its thread, or the other one, is waited for
    with pytest.raises(KeyboardInterrupt):
        engine.close()
    # then it comes out at the end, when both are done
    assert not flusher.is_alive()
    assert not compactor.is_alive()
    again = Engine.open(env, "db", StorageOptions())
    assert contents(again) == expected
    again.close()
