"""Ctrl-C in a committer whose commit somebody else is just writing: it waits for the answer.

Its transaction lets go of its locks when the commit call ends. Were that before the commit is
visible, another transaction could take the lock, not find the commit, and overwrite it: a lost
update.
"""

import threading
import time
from typing import Any

import pytest

from ferrisdb.errors import DatabaseLocked
from ferrisdb.storage.compaction import Compactor
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.flush import Flusher
from ferrisdb.storage.group_commit import GroupCommit
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.wal import LogWriter


def test_who_is_interrupted_before_it_sleeps_is_told_only_when_its_commit_is_visible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine.open(MemoryEnv(), "db")
    commits = engine._commits
    sync, park = LogWriter.sync, GroupCommit._park
    is_held, go_on = threading.Event(), threading.Event()
    is_queued, is_taken = threading.Event(), threading.Event()

    def held_sync(log: LogWriter) -> None:
        if len(commits._group) == 2:
            is_taken.set()
            assert go_on.wait(20)
        sync(log)

    def interrupted_park(group_commit: GroupCommit, request: Any, parking: Any) -> Any:
        # Ctrl-C at the worst moment: the leader has taken this commit into its group.
        if request.writes == {b"interrupted": b""} and not is_queued.is_set():
            is_queued.set()
            assert is_taken.wait(20)
            raise KeyboardInterrupt
        return park(group_commit, request, parking)

    # given a leader in the middle of a sync, and one in its group whom Ctrl-C has just met
    monkeypatch.setattr(LogWriter, "sync", held_sync)
    monkeypatch.setattr(GroupCommit, "_park", interrupted_park)

    def hold() -> None:
        is_held.set()
        assert is_queued.wait(20)

    holder = threading.Thread(target=commits.run_alone, args=(hold,))
    holder.start()
    assert is_held.wait(20)
    leader = threading.Thread(target=engine.commit, args=({b"leader": b""},))
    leader.start()
    while not commits._queue:
        time.sleep(0)
    seen: list[int] = []

    def commit() -> None:
        try:
            engine.commit({b"interrupted": b""})
        except KeyboardInterrupt:
            seen.append(engine.visible_timestamp)

    interrupted = threading.Thread(target=commit)
    interrupted.start()
    assert is_taken.wait(20)
    interrupted.join(0.2)
    # when the sync ends
    go_on.set()
    for thread in (holder, leader, interrupted):
        thread.join(20)
        assert not thread.is_alive()
    # then it hears of the interrupt, and whoever looks next finds its commit
    assert engine.read(b"interrupted", 2) == b""
    assert seen == [2]
    engine.close()


def test_an_interrupted_close_lets_go_of_the_folder_only_when_the_group_in_progress_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    env = MemoryEnv()
    engine = Engine.open(env, "db")
    sync, park = LogWriter.sync, GroupCommit._park
    is_syncing, go_on = threading.Event(), threading.Event()

    def held_sync(log: LogWriter) -> None:
        is_syncing.set()
        assert go_on.wait(20)
        sync(log)

    interrupts = iter([True])

    def interrupted_park(group_commit: GroupCommit, request: Any, parking: Any) -> Any:
        if next(interrupts, False):
            raise KeyboardInterrupt
        return park(group_commit, request, parking)

    # given a commit in the middle of its sync
    monkeypatch.setattr(LogWriter, "sync", held_sync)
    monkeypatch.setattr(GroupCommit, "_park", interrupted_park)
    leader = threading.Thread(target=engine.commit, args=({b"k": b"v"},))
    leader.start()
    assert is_syncing.wait(20)
    # when Ctrl-C meets the close that has to wait for it
    closed: list[str] = []

    def close() -> None:
        try:
            engine.close()
        except KeyboardInterrupt:
            closed.append("interrupted")

    closing = threading.Thread(target=close)
    closing.start()
    closing.join(0.2)
    # then nobody can open the folder before the commit is over, and then it is there
    with pytest.raises(DatabaseLocked):
        Engine.open(env, "db")
    go_on.set()
    for thread in (leader, closing):
        thread.join(20)
        assert not thread.is_alive()
    assert closed == ["interrupted"]
    reopened = Engine.open(env, "db")
    assert reopened.read(b"k", reopened.visible_timestamp) == b"v"
    reopened.close()


@pytest.mark.parametrize("part", [Flusher, Compactor])
@pytest.mark.parametrize("is_running", [True, False], ids=["after the start", "before it"])
def test_an_interrupted_opening_leaves_no_thread_at_work_in_the_folder(
    part: type[Flusher] | type[Compactor], is_running: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = MemoryEnv()
    start = part.start
    before = set(threading.enumerate())

    def interrupted_start(started: Any, *given: Any) -> None:
        if is_running:
            start(started, *given)
        raise KeyboardInterrupt

    monkeypatch.setattr(part, "start", interrupted_start)
    with pytest.raises(KeyboardInterrupt):
        Engine.open(env, "db")
    assert set(threading.enumerate()) == before
    monkeypatch.undo()
    Engine.open(env, "db").close()
