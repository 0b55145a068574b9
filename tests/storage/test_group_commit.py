"""One write and one fsync for many; in order; and nothing after a failure."""

import threading
from collections.abc import Callable, Mapping, Sequence

import pytest

from ferrisdb.errors import Error, InterfaceError, StorageError
from ferrisdb.storage.env import AppendFile
from ferrisdb.storage.group_commit import GroupCommit, LogWriteFailed, _Request
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.wal import LogWriter, SegmentReader, encode_writes

Writes = Mapping[bytes, bytes | None]
Step = Callable[[], None]


def nothing() -> None:
    pass


class ScriptedFile:
    """A log file whose steps the test can hold up or make fail."""

    def __init__(self, file: AppendFile) -> None:
        self.file = file
        self.writes: list[bytes] = []
        self.before_append: Step = nothing
        self.before_sync: Step = nothing

    def append(self, data: bytes) -> None:
        self.before_append()
        self.writes.append(data)
        self.file.append(data)

    def reserve(self, length: int) -> None:
        self.file.reserve(length)

    def truncate(self, size_bytes: int) -> None:
        self.file.truncate(size_bytes)

    def sync(self) -> None:
        self.before_sync()
        self.file.sync()

    def close(self) -> None:
        self.file.close()


class Target:
    """In the engine's place: it notes what becomes visible."""

    def __init__(self) -> None:
        self.env = MemoryEnv()
        self.log = LogWriter.create(self.env, "", 1)
        self.file = ScriptedFile(self.env.open_append("000001.wal"))
        self.log._file = self.file
        self.visible: list[tuple[int, Writes]] = []
        self.before_room: Step = nothing
        self.before_group: Step = nothing

    def wait_for_room(self) -> None:
        self.before_room()

    def prepare_group(self) -> LogWriter:
        self.before_group()
        return self.log

    def publish_group(
        self, first_timestamp: int, group: Sequence[Writes], deleted_ranges: Sequence[Sequence[object]]
    ) -> None:
        assert self.log.is_synced or not any(b"durable" in writes for writes in group)
        self.visible += enumerate(group, first_timestamp)

    def logged(self) -> list[tuple[int, Writes]]:
        data = self.env.read_file("000001.wal")
        reader = SegmentReader(data, 1, "000001.wal", last_timestamp=0, may_be_torn=False)
        return [(record.timestamp, dict(zip(record.keys, record.values, strict=True))) for record in reader]


class Committers:
    """Threads that commit and note what came of it."""

    def __init__(self, commits: GroupCommit) -> None:
        self.commits = commits
        self.outcomes: dict[str, int | Error] = {}
        self.threads: list[threading.Thread] = []

    def start(self, name: str) -> None:
        writes = {name.encode(): b"1", b"durable": None}

        def run() -> None:
            try:
                self.outcomes[name] = self.commits.commit(writes, encode_writes(writes), is_durable=True)
            except Error as error:
                self.outcomes[name] = error

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def wait_until_queued(self, count: int) -> None:
        for _ in range(10_000):
            if len(self.commits._queue) >= count:
                return
            threading.Event().wait(0.001)
        raise AssertionError(f"never {count} in the queue")

    def join(self) -> None:
        for thread in self.threads:
            thread.join()


def fail() -> None:
    raise StorageError("cannot sync 000001.wal: Input/output error")


def hold_first_sync(target: Target) -> tuple[threading.Event, threading.Event]:
    """The first sync says that it began and goes on when it is told to."""
    began, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        if not began.is_set():
            began.set()
            go_on.wait(10)

    target.file.before_sync = hold
    return began, go_on


def test_who_comes_during_a_sync_shares_the_next() -> None:
    target = Target()
    commits = GroupCommit(target, 0)
    committers = Committers(commits)
    began, go_on = hold_first_sync(target)
    committers.start("first")
    assert began.wait(10)
    for count, name in enumerate(["b", "c", "d"], 1):
        committers.start(name)
        committers.wait_until_queued(count)
    assert target.visible == []
    go_on.set()
    committers.join()

    assert committers.outcomes == {"first": 1, "b": 2, "c": 3, "d": 4}
    assert (commits.group_count, commits.sync_count, len(target.file.writes)) == (2, 2, 2)
    assert target.visible == target.logged()


def test_a_group_is_bounded_in_bytes_but_never_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ferrisdb.storage.group_commit.MAX_GROUP_BYTES", 60)
    target = Target()
    commits = GroupCommit(target, 0)
    committers = Committers(commits)
    began, go_on = hold_first_sync(target)
    committers.start("f" * 200)
    assert began.wait(10)
    for count in range(1, 7):
        committers.start("n" * 10 + str(count))
        committers.wait_until_queued(count)
    go_on.set()
    committers.join()
    assert sorted(committers.outcomes.values(), key=str) == [1, 2, 3, 4, 5, 6, 7]
    assert commits.group_count == 1 + 3


def test_many_threads_lose_nothing_and_come_in_order() -> None:
    target = Target()
    commits = GroupCommit(target, 41)
    timestamps: list[int] = []

    def work(name: int) -> None:
        for number in range(200):
            writes = {b"%d:%d" % (name, number): b""}
            timestamps.append(commits.commit(writes, encode_writes(writes), is_durable=number % 2 == 0))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(timestamps) == list(range(42, 42 + 1600))
    assert [timestamp for timestamp, _ in target.visible] == list(range(42, 42 + 1600))
    assert len({key for _, writes in target.visible for key in writes}) == 1600


@pytest.mark.parametrize("step", ["append", "sync"])
def test_after_a_failure_the_group_is_unknown_and_all_others_are_not_written(step: str) -> None:
    target = Target()
    commits = GroupCommit(target, 0)
    committers = Committers(commits)
    began, go_on = threading.Event(), threading.Event()

    def hold_and_fail() -> None:
        began.set()
        go_on.wait(10)
        fail()

    setattr(target.file, f"before_{step}", hold_and_fail)
    committers.start("in the group")
    assert began.wait(10)
    committers.start("queued behind")
    committers.wait_until_queued(1)
    go_on.set()
    committers.join()
    setattr(target.file, f"before_{step}", nothing)  # the disk is well again: that changes nothing
    committers.start("later")
    committers.join()

    assert isinstance(committers.outcomes["in the group"], LogWriteFailed)
    for name in ("queued behind", "later"):
        outcome = committers.outcomes[name]
        assert type(outcome) is StorageError
        assert "refuses writes" in outcome.message
        assert "Input/output error" in outcome.message
    assert target.visible == []
    assert all(b"queued behind" not in writes for _, writes in target.logged())


def test_when_the_log_cannot_be_prepared_it_is_certain_that_nothing_was_written() -> None:
    target = Target()
    target.before_group = fail
    committers = Committers(GroupCommit(target, 0))
    committers.start("a")
    committers.join()
    assert type(committers.outcomes["a"]) is StorageError
    assert target.file.writes == []


def test_an_action_runs_between_two_groups_and_its_error_is_its_own() -> None:
    target = Target()
    commits = GroupCommit(target, 0)
    committers = Committers(commits)
    began, go_on = hold_first_sync(target)
    committers.start("a")
    assert began.wait(10)
    seen: list[int] = []

    def action() -> None:
        seen.append(len(target.visible))
        raise InterfaceError("mine")

    raised: list[Error] = []

    def run() -> None:
        try:
            commits.run_alone(action)
        except Error as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    committers.wait_until_queued(1)
    committers.start("b")
    committers.wait_until_queued(2)
    assert seen == []
    go_on.set()
    thread.join()
    committers.join()
    assert seen == [1]
    assert [error.message for error in raised] == ["mine"]
    assert committers.outcomes == {"a": 1, "b": 2}


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["before_append", "before_sync"])
def test_an_interrupted_leader_leaves_alone_and_the_others_are_served(step: str) -> None:
    target = Target()
    commits = GroupCommit(target, 0)
    committers = Committers(commits)

    def interrupt_when_others_wait() -> None:
        setattr(target.file, step, nothing)
        committers.start("a")
        committers.wait_until_queued(1)
        raise KeyboardInterrupt

    setattr(target.file, step, interrupt_when_others_wait)
    with pytest.raises(KeyboardInterrupt):
        commits.commit({b"k": b"v"}, encode_writes({b"k": b"v"}), is_durable=True)
    committers.join()
    assert committers.outcomes == {"a": 1}
    assert target.logged() == target.visible == [(1, {b"a": b"1", b"durable": None})]


def test_those_in_the_group_of_an_interrupted_leader_are_written_by_the_next() -> None:
    target = Target()
    commits = GroupCommit(target, 0)
    committers = Committers(commits)

    def gather() -> None:
        for name in "abc":
            committers.start(name)
        committers.wait_until_queued(4)
        target.file.before_sync = interrupt_once

    def interrupt_once() -> None:
        assert len(commits._group) == 4
        target.file.before_sync = nothing
        target.before_room = nothing
        raise KeyboardInterrupt

    target.before_room = gather
    with pytest.raises(KeyboardInterrupt):
        commits.commit({b"k": b"v"}, encode_writes({b"k": b"v"}), is_durable=True)
    committers.join()
    assert sorted(committers.outcomes) == ["a", "b", "c"]
    assert sorted(committers.outcomes.values()) == [1, 2, 3]
    assert target.logged() == target.visible
    assert not any(b"k" in writes for _, writes in target.visible)


def test_an_interrupt_while_there_is_no_room_harms_nobody() -> None:
    target = Target()
    commits = GroupCommit(target, 0)
    target.before_room = interrupt
    with pytest.raises(KeyboardInterrupt):
        commits.commit({b"k": b"v"}, encode_writes({b"k": b"v"}), is_durable=True)
    target.before_room = nothing
    assert commits.commit({b"k": b"v"}, encode_writes({b"k": b"v"}), is_durable=True) == 1


def test_an_interrupt_does_not_hide_a_failed_sync() -> None:
    target = Target()
    commits = GroupCommit(target, 0)

    def fail_and_interrupt() -> None:
        try:
            fail()
        except StorageError:
            interrupt()

    target.file.before_sync = fail_and_interrupt
    with pytest.raises(LogWriteFailed):
        commits.commit({b"k": b"v"}, encode_writes({b"k": b"v"}), is_durable=True)
    target.file.before_sync = nothing
    with pytest.raises(StorageError, match="refuses writes"):
        commits.commit({b"k": b"v"}, encode_writes({b"k": b"v"}), is_durable=True)


def test_an_interrupt_that_comes_just_as_a_waiter_is_woken_is_raised_when_it_is_served() -> None:
    class Interrupted:
        """The lock is taken, and only then the exception comes."""

        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.lock.acquire()

        def acquire(self, timeout: float) -> None:
            self.lock.acquire(timeout=timeout)
            raise KeyboardInterrupt

        def locked(self) -> bool:
            return self.lock.locked()

        def release(self) -> None:
            self.lock.release()

    target = Target()
    commits = GroupCommit(target, 0)
    began, go_on = hold_first_sync(target)
    committers = Committers(commits)
    committers.start("a")
    assert began.wait(10)
    request = _Request({b"k": b"v"}, encode_writes({b"k": b"v"}), True)
    request.parking = Interrupted()  # type: ignore[assignment]
    commits._queue.append(request)
    timer = threading.Timer(0.05, go_on.set)
    timer.start()
    assert isinstance(commits._park(request, request.parking), KeyboardInterrupt)
    timer.join()
    committers.join()
    assert commits._leader is request
