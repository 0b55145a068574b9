"""Whether a compaction's next job goes to a child process, by what became of those before."""

from __future__ import annotations

import threading

import pytest

from ferrisdb.storage import compaction_worker
from ferrisdb.storage.compaction_job import CompactionJob, run_compaction
from ferrisdb.storage.compaction_runner import CompactionRunner, Stopped
from ferrisdb.storage.compaction_worker import WorkerDied
from ferrisdb.storage.memory_env import MemoryEnv

JOB = CompactionJob("db", [], "mark", 1000, 1000, [], [])
"""Of no tables: what matters is who does it."""


def message(kind: str, body: bytes = b"") -> bytes:
    return compaction_worker._framed(compaction_worker.msgpack.packb([kind, body]))


class ScriptedWorker:
    """A child process that says what it was made to say, and ends."""

    def __init__(self, said: bytes, exit_status: int) -> None:
        self._said = said
        self._exit_status = exit_status

    def write(self, data: bytes) -> None:
        pass

    def read(self, length: int) -> bytes:
        said, self._said = self._said[:length], self._said[length:]
        return said

    def kill(self) -> None:
        pass

    def wait(self) -> int:
        return self._exit_status


class ScriptedEnv(MemoryEnv):
    """`children` says what each child will do; it is an error to start one more."""

    def __init__(self, *children: str) -> None:
        super().__init__()
        self.children = list(children)

    def start_worker(self, module: str) -> ScriptedWorker | None:
        ready = message("ready")
        match self.children.pop(0):
            case "cannot be started":
                return None
            case "ends at once":
                return ScriptedWorker(b"", 1)
            case "is killed at its start":
                return ScriptedWorker(b"", -9)
            case "is killed at work":
                return ScriptedWorker(ready, -9)
            case _:
                done = run_compaction(self, JOB, lambda: None).encode()
                return ScriptedWorker(ready + message("result", done), 0)


@pytest.mark.parametrize(
    ("children", "done_by"),
    [
        # Somebody kills processes now and then: each time it is tried again, in a child.
        (["is killed at its start", "works"] * 2, ["nobody", "child"] * 2),
        (["is killed at its start", "is killed at work"] * 2, ["nobody"] * 4),
        # Twice in a row, nothing between: it may be us who kill what is no child of ours.
        (["is killed at its start"] * 2, ["nobody", "thread", "thread"]),
        # What ends by itself without a word is not ours.
        (["ends at once"], ["thread", "thread"]),
        # A system that has no process to spare may have one for the next job.
        (["cannot be started", "works", "cannot be started", "works"], ["thread", "child"] * 2),
    ],
)
def test_who_does_the_next_job(children: list[str], done_by: list[str]) -> None:
    env = ScriptedEnv(*children)
    runner = CompactionRunner(env, 1000, lambda: False)
    seen = []
    for _ in done_by:
        try:
            runner.run(JOB, 1000)
            seen.append("child" if runner.was_in_child else "thread")
        except WorkerDied:
            seen.append("nobody")
    assert seen == done_by
    assert not env.children


def test_a_small_job_starts_no_child() -> None:
    runner = CompactionRunner(ScriptedEnv(), 1000, lambda: False)
    runner.run(JOB, 999)
    assert not runner.was_in_child


@pytest.mark.parametrize("is_behind", [False, True])
def test_a_job_in_the_thread_ends_where_it_is_when_the_database_is_closed(is_behind: bool) -> None:
    runner = CompactionRunner(ScriptedEnv(), 1000, lambda: is_behind)
    pace = runner._pace_of_a_thread()
    runner.stop()

    def work() -> None:
        with pytest.raises(Stopped):
            while True:
                pace()

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(20)
    assert not worker.is_alive()


def test_no_child_is_started_any_more_when_the_database_is_closed() -> None:
    runner = CompactionRunner(ScriptedEnv("works"), 1000, lambda: False)
    runner.stop()
    with pytest.raises(Stopped):
        runner.run(JOB, 1000)


def test_closing_kills_the_child_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    is_at_work, is_killed = threading.Event(), threading.Event()

    def works_until_killed(worker: ScriptedWorker, length: int) -> bytes:
        is_at_work.set()
        assert is_killed.wait(20)
        return b""

    monkeypatch.setattr(ScriptedWorker, "read", works_until_killed)
    monkeypatch.setattr(ScriptedWorker, "kill", lambda worker: is_killed.set())
    runner = CompactionRunner(ScriptedEnv("works"), 1000, lambda: False)

    def stop() -> None:
        is_at_work.wait(20)
        runner.stop()

    closing = threading.Thread(target=stop)
    closing.start()
    with pytest.raises(Stopped):
        runner.run(JOB, 1000)
    closing.join()
