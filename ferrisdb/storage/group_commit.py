"""Group commit: many committers, one write, one fsync.

An fsync takes as long for a hundred records as for one. So the first committer to arrive
leads: it writes and syncs for itself and for all who queued up meanwhile, makes their
commits visible in order, wakes them, and hands the lead to the first who came too late.

    time ->
    A   lead [A] write, sync ..... done
    B     wait ................... lead [B C] write, sync ..... done
    C        wait ............................................. done
    D                                wait ..................... lead [D] ...

Each waiter sleeps on a lock of its own, which whoever serves it releases; one condition
that wakes all would make every waiter run to find out that it was not meant. The leader
also gives out the timestamps, so their order is the order in the log, and publishes them,
so that is the order in which commits become visible: never before they are synced.

When a write or a sync fails, nobody can say what is on the disk. The kernel may have thrown
the dirty pages away, and a second fsync would report success for bytes that are gone
(PostgreSQL learnt it in 2018). So the store refuses every later write:

    in the failing group           LogWriteFailed: it may or may not be there after reopening
    queued behind it, or later     StorageError: certainly not written

An interrupt (Ctrl-C; any signal handler that raises) is no failure of the disk. A leader
that is interrupted before its group is visible cuts the log back to where it was, leaves
alone, and the others are served by the next: its own commit certainly did not happen. One
that waits in the queue is served first and interrupted then.

Group commit: DeWitt et al., SIGMOD 1984. The queue with a leader is LevelDB's.

Limits: an interrupt in the few steps that publish a group, or that begin a new segment,
leaves the store refusing writes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ferrisdb.errors import Error, StorageError, invariant
from ferrisdb.storage import yield_points
from ferrisdb.storage.interrupts import is_interrupt
from ferrisdb.storage.limits import MAX_GROUP_BYTES
from ferrisdb.storage.range_tombstones import DeletedRange
from ferrisdb.storage.wal import LogWriter
from ferrisdb.storage.yield_points import reach

Writes = Mapping[bytes, bytes | None]

_MAX_YIELDS = 5
"""Times that a new leader lets other threads run before it takes its group. Measured at 8
threads: groups of 7.9 commits instead of 4.5, and a fifth more commits on a disk that syncs
in 0.1 ms; the slower the disk, the more. A single thread never yields."""


class LogWriteFailed(StorageError):
    """The disk failed while this commit was being written: whether it is there, only opening
    the database again can tell."""


def commits_at_risk(cause: StorageError) -> StorageError:
    """What closing says when the last sync failed."""
    return StorageError(
        f"a power cut could still take commits that did not wait for the disk: {cause.message}",
        hint="open the database again to see which commits are there; durability full waits for the disk",
    )


class CommitTarget(Protocol):
    """What the leader needs of the engine. Called by one thread at a time."""

    def wait_for_room(self) -> None:
        """Return when a group may be prepared. What this raises leaves all as it was."""

    def prepare_group(self) -> LogWriter:
        """The log to write to. Rotates it first when the memtable is full."""

    def publish_group(
        self,
        first_timestamp: int,
        group: Sequence[Writes],
        deleted_ranges: Sequence[Sequence[DeletedRange]],
    ) -> None:
        """Make commits of consecutive timestamps visible, all at once: of each its writes, and
        the ranges that it deletes before."""

    def sync_soon(self) -> None:
        """Have what is visible synced in the background."""


class _Request:
    """A commit, or an action that must run while nobody commits."""

    __slots__ = (
        "action",
        "deleted_ranges",
        "error",
        "is_done",
        "is_durable",
        "is_last",
        "is_synced_soon",
        "parking",
        "payload",
        "timestamp",
        "writes",
    )

    def __init__(
        self,
        writes: Writes,
        payload: bytes,
        is_durable: bool,
        action: Callable[[], None] | None = None,
        deleted_ranges: Sequence[DeletedRange] = (),
    ) -> None:
        self.writes = writes
        self.deleted_ranges = deleted_ranges
        self.payload = payload
        self.is_durable = is_durable
        self.is_synced_soon = False
        self.action = action
        self.is_last = False
        self.timestamp = 0
        self.error: BaseException | None = None
        self.is_done = False
        self.parking: threading.Lock | None = None

    @property
    def is_settled(self) -> bool:
        return self.action is not None or self.timestamp > 0 or self.error is not None


class GroupCommit:
    """The queue in front of the log."""

    def __init__(self, target: CommitTarget, last_timestamp: int) -> None:
        self.last_timestamp = last_timestamp
        self.commit_count = 0
        self.group_count = 0
        self.sync_count = 0
        self.written_bytes = 0
        self.committed_bytes = 0
        """Of keys and values, as they are packed; the log adds its own to each record."""
        self.tell_refusal: Callable[[str], None] = lambda reason: None
        """Called once, when a failure makes the store refuse writes; must neither wait nor raise."""
        self._target = target
        # Guards all below. Held for a few steps, never over I/O. While nobody leads the queue
        # is empty. The leader stands first in it until he takes his group out of it.
        self._lock = threading.Lock()
        self._queue: deque[_Request] = deque()
        self._leader: _Request | None = None
        self._group: list[_Request] = []
        self._expected_group_size = 1
        self._refusal: Callable[[], Error] | None = None

    def commit(
        self,
        writes: Writes,
        payload: bytes,
        *,
        is_durable: bool,
        is_synced_soon: bool = False,
        deleted_ranges: Sequence[DeletedRange] = (),
    ) -> int:
        """Log and publish one commit; return its timestamp.

        `is_durable` waits for the disk; `is_synced_soon` has it synced in the background.

        Raises LogWriteFailed when its outcome is unknown, StorageError when it is certain
        that nothing was written.
        """
        request = _Request(writes, payload, is_durable, deleted_ranges=deleted_ranges)
        request.is_synced_soon = is_synced_soon
        reach("commit")
        self._serve(request)
        return request.timestamp

    def run_alone(self, action: Callable[[], None]) -> None:
        """Run `action` between two groups, with no commit in progress. Raises what it raises."""
        self._serve(_Request({}, b"", False, action))

    def count_unlogged(self, timestamp: int) -> None:
        """The commit `timestamp`, the next one, is durable without the log. In `run_alone` only."""
        invariant(timestamp == self.last_timestamp + 1, "commits are numbered one after the other")
        self.last_timestamp = timestamp
        self.commit_count += 1

    def run_last(self, action: Callable[[], None]) -> None:
        """As `run_alone`, and also where requests are refused. `action` refuses all others."""
        request = _Request({}, b"", False, action)
        request.is_last = True
        self._serve(request)

    def wait_until_idle(self) -> None:
        """Where requests are refused: return when the group in progress is over. An interrupt
        meanwhile is raised at the end."""
        interrupt: BaseException | None = None
        while True:
            try:
                self.run_last(_nothing)
                break
            except BaseException as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def refuse(self, make_error: Callable[[], Error]) -> bool:
        """Refuse all requests from now on. The first reason stays; whether this is the first."""
        with self._lock:
            is_first = self._refusal is None
            if is_first:
                self._refusal = make_error
            return is_first

    def refuse_after(self, cause: BaseException) -> None:
        """Refuse all requests from now on, because the disk failed in this way."""
        reason = _describe(cause)
        if self.refuse(lambda: _refused(reason)):
            self.tell_refusal(reason)

    @property
    def refusal(self) -> Error | None:
        """Why requests are refused; None while they are not."""
        make_error = self._refusal
        return None if make_error is None else make_error()

    def _serve(self, request: _Request) -> None:
        try:
            interrupt = self._wait_for_turn(request)
            if not request.is_done:
                self._lead(request)
        except BaseException as error:
            self._leave(request, error)
            raise
        if request.error is not None:
            raise request.error
        if interrupt is not None:
            raise interrupt

    def _wait_for_turn(self, request: _Request) -> BaseException | None:
        """Return when the request is done or has the lead; the interrupt that came meanwhile."""
        with self._lock:
            if self._refusal is not None and not request.is_last:
                raise self._refusal()
            if self._leader is None:
                self._leader = request
            else:
                request.parking = threading.Lock()
                request.parking.acquire()
            self._queue.append(request)
        return None if request.parking is None else self._park(request, request.parking)

    def _park(self, request: _Request, parking: threading.Lock) -> BaseException | None:
        """Wait to be woken. An interrupt meanwhile is kept for later and returned.

        A waiter may not just leave: whether its commit is written is being settled. And not
        the lock says whether it was woken: an interrupt may come when it is just acquired.
        """
        interrupt: BaseException | None = None
        while not (request.is_done or self._leader is request):
            try:
                yield_points.acquire(parking)
            except BaseException as error:
                interrupt = error
        return interrupt

    def _lead(self, leader: _Request) -> None:
        if leader.action is None:
            self._target.wait_for_room()
        # Those whom the last leader served are just waking up, and are likely to come again.
        # Without a moment's patience groups alternate between one and all.
        reach("lead")
        for _ in range(_MAX_YIELDS):
            if len(self._queue) >= self._expected_group_size:
                break
            time.sleep(0)
        with self._lock:
            group = self._group = self._next_group()
            for _ in group:
                self._queue.popleft()
            # Patience pays only where it saves an fsync.
            self._expected_group_size = len(group) if any(request.is_durable for request in group) else 1
        try:
            if leader.action is not None:
                leader.action()
            else:
                self._write_group(group)
        except BaseException as error:
            self._fail_unsettled(error)
            if leader.error is None:
                leader.error = error
        self._hand_over(leader)

    def _next_group(self) -> list[_Request]:
        first = self._queue[0]
        if first.action is not None:
            return [first]
        group: list[_Request] = []
        size_bytes = 0
        for request in self._queue:
            size_bytes += len(request.payload)
            if request.action is not None or (group and size_bytes > MAX_GROUP_BYTES):
                break
            group.append(request)
        return group

    def _write_group(self, group: list[_Request]) -> None:
        try:
            log = self._target.prepare_group()
        except BaseException as error:
            self._fail(group, error, certain=True)
            raise
        first_timestamp = self.last_timestamp + 1
        written_bytes = self._log_group(log, first_timestamp, group)
        reach("publish")
        self._target.publish_group(
            first_timestamp,
            [request.writes for request in group],
            [request.deleted_ranges for request in group],
        )
        if any(request.is_synced_soon for request in group):
            self._target.sync_soon()
        self.last_timestamp += len(group)
        self.written_bytes += written_bytes
        self.committed_bytes += sum(len(request.payload) for request in group)
        self.commit_count += len(group)
        self.group_count += 1
        for timestamp, request in enumerate(group, first_timestamp):
            request.timestamp = timestamp

    def _log_group(self, log: LogWriter, first_timestamp: int, group: list[_Request]) -> int:
        size_bytes = log.size_bytes
        try:
            reach("log")
            written_bytes = log.append(first_timestamp, [request.payload for request in group])
            if any(request.is_durable for request in group):
                reach("sync")
                log.sync()
                self.sync_count += 1
        except BaseException as error:
            if is_interrupt(error):
                log.cut_back(size_bytes)
                group[0].error = error
                self._queue_again(group[1:])
            raise
        return written_bytes

    def _queue_again(self, requests: list[_Request]) -> None:
        with self._lock:
            self._queue.extendleft(reversed(requests))
            self._group = self._group[:1]

    def _fail_unsettled(self, cause: BaseException) -> None:
        """Nobody can say how far the group is. The next may not take its timestamps."""
        unsettled = [request for request in self._group if not request.is_settled]
        if unsettled:
            self._fail(unsettled, cause, certain=False)

    def _fail(self, group: list[_Request], cause: BaseException, *, certain: bool) -> None:
        reason = _describe(cause)
        self.refuse_after(cause)
        for request in group:
            if certain:
                request.error = _refused(reason)
            else:
                request.error = LogWriteFailed(
                    f"the commit may or may not be on disk: {reason}",
                    hint="close the database and open it again to see which commits are there",
                )
            request.error.__cause__ = cause

    def _hand_over(self, leader: _Request) -> None:
        """Wake those who were served, and the next leader.

        The lead goes last: until then an interrupted leader can do all of this again.
        """
        with self._lock:
            if self._refusal is not None:
                for request in self._queue:
                    if not request.is_last:
                        request.error = self._refusal()
                        _wake(request)
                self._queue = deque(request for request in self._queue if request.is_last)
            for request in self._group:
                if request is not leader:
                    _wake(request)
            self._group = []
            next_leader = self._queue[0] if self._queue else None
            self._leader = next_leader
            if next_leader is not None:
                _unpark(next_leader)

    def _leave(self, request: _Request, cause: BaseException) -> None:
        """An exception ends the thread's part between two steps: nobody may wait for it."""
        with self._lock:
            is_being_served = self._leader is not request and request in self._group
        if is_being_served and request.parking is not None:
            # An interrupt on the way to sleep. Whoever committed lets go of his locks next, and the
            # next holder would not find a commit that is not visible yet.
            self._park(request, request.parking)
        with self._lock:
            is_leader = self._leader is request
            is_queued = request in self._queue
            if is_queued:
                self._queue.remove(request)
            # It may have been interrupted when it had given the lead away and woken nobody.
            if not is_leader and self._leader is not None:
                _unpark(self._leader)
        if not is_leader:
            return
        self._fail_unsettled(cause)
        self._hand_over(request)


def _wake(request: _Request) -> None:
    request.is_done = True
    _unpark(request)


def _nothing() -> None:
    """That nobody commits is all that is waited for."""


def _unpark(request: _Request) -> None:
    """Fine when it is awake already: an interrupted leader does this again."""
    if request.parking is not None and request.parking.locked():
        request.parking.release()


def _refused(reason: str) -> StorageError:
    return StorageError(
        f"the database refuses writes since one failed: {reason}",
        hint="reads still work; free the disk or repair it, then close the database and open it again",
    )


def _describe(cause: BaseException) -> str:
    return cause.message if isinstance(cause, Error) else f"{type(cause).__name__}: {cause}"
