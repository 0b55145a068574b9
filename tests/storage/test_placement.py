"""Where a table may go that comes from outside, while a compaction is at work beside it."""

from __future__ import annotations

import threading
from dataclasses import replace

from tree_checker import TINY_TIERED, check_tree, contents

from ferrisdb.storage.engine import Engine
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.sources import Sources
from ferrisdb.storage.sstable_reader import SSTableReader

FOLDER = "db"
WAIT_S = 20.0  # Long beyond doubt.


class HeldEnv(MemoryEnv):
    """Its compaction waits before its first output."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.go_on = threading.Event(), threading.Event()

    def create(self, path: str):  # type: ignore[no-untyped-def]
        if threading.current_thread().name == "ferrisdb-compact" and not self.began.is_set():
            self.began.set()
            assert self.go_on.wait(WAIT_S)
        return super().create(path)


class WatchedLock:
    """Says when the compaction asks for it."""

    def __init__(self) -> None:
        self.is_asked_for = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if threading.current_thread().name == "ferrisdb-compact":
            self.is_asked_for.set()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_a_compaction_that_ends_while_a_level_is_chosen_does_not_open_its_range() -> None:
    """The chooser has looked at the tree without the outputs; when they are in it and the range is
    open, the level that it chooses may be theirs."""
    env = HeldEnv()
    engine = Engine.open(env, FOLDER, replace(TINY_TIERED, compaction_start_tables=3, table_bytes=10_000))
    # The first two meet, or all would only be moved; the output spans all three.
    for keys in (b"ab", b"ab", b"yz"):
        engine.commit({b"%c" % key: b"flushed" for key in keys})
        engine.flush()
    assert env.began.wait(WAIT_S)
    placement = engine._compactor.placement
    watched = WatchedLock()
    placement.lock = watched  # type: ignore[assignment]
    choose, open_again = placement.level_for, placement.open_again

    def compaction_ends_first(table: SSTableReader, sources: Sources) -> int:
        env.go_on.set()
        assert watched.is_asked_for.wait(WAIT_S)
        return choose(table, sources)

    def ends_without_asking() -> None:
        open_again()
        watched.is_asked_for.set()

    placement.level_for = compaction_ends_first  # type: ignore[method-assign]
    placement.open_again = ends_without_asking  # type: ignore[method-assign]
    engine.ingest([(b"m", b"ingested")])
    engine.wait_until_compacted()

    check_tree(engine)
    expected = {**dict.fromkeys([b"a", b"b", b"y", b"z"], b"flushed"), b"m": b"ingested"}
    assert contents(engine) == expected
    engine.close()
    again = Engine.open(env, FOLDER)
    assert contents(again) == expected
    again.close()
