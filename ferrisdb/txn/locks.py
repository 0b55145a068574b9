"""Locks on keys: who may write, who must wait, and when waiting would never end.

    key      held by                 waiting, first come first served
    k1       T1 exclusive            T2 exclusive <- T3 share
    k2       T2 share, T3 share

A transaction holds its locks until it ends, and it ends only after its commit is visible.
So whoever gets a lock sees everything its last holder committed, and one look at the
newest version of the key decides whether a snapshot is too old to write it.

Deadlocks are found when they form, not by a timer: before a transaction goes to sleep, the
edges "waits for" are followed from it. If they lead back to it, it is the victim. If they
lead to another transaction of the same thread, nobody is left who could end that one, and
waiting is refused for that reason. (Holt, "Some Deadlock Properties of Computer Systems",
Computing Surveys 1972.)

A share lock leaves a trace when its holder commits: until every older snapshot is gone, a
transaction with an older snapshot can't write the key. So two transactions that never
meet in time can't break what one of them read and relied on. The trace is kept for at most
`MAX_SHARE_TRACES` keys; past that the oldest are merged into one number that stands for
all keys, which may abort a writer needlessly, never the other way round.

Locks on ranges stand beside those on keys: see `range_locks`.

Limits: no lock timeout, NOWAIT or SKIP LOCKED yet. One mutex guards the table.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator

from ferrisdb import errors
from ferrisdb.txn.api import LockMode
from ferrisdb.txn.range_locks import RangeLocks, RangeWaiter, covers, within

MAX_SHARE_TRACES = 100_000


class LockOwner:
    """A transaction, as the lock table sees it."""

    __slots__ = ("exclusive_keys", "id", "ranges", "shared_keys", "thread_id", "waiting")

    def __init__(self, transaction_id: int) -> None:
        self.id = transaction_id
        self.thread_id = threading.get_ident()
        self.exclusive_keys: set[bytes] = set()
        self.shared_keys: set[bytes] = set()
        self.ranges: list[tuple[bytes, bytes | None]] = []
        self.waiting: _Waiter | RangeWaiter | None = None


class _Waiter:
    """One transaction asleep for one key. `gate` opens when the lock is granted or refused."""

    __slots__ = ("gate", "key", "mode", "owner", "refusal", "turn")

    def __init__(self, owner: LockOwner, key: bytes, mode: LockMode, turn: int) -> None:
        self.owner = owner
        self.turn = turn
        self.key = key
        self.mode = mode
        self.gate = threading.Lock()
        self.gate.acquire()
        self.refusal: errors.Error | None = None


class LockTable:
    """All locks of one store. `oldest_snapshot` says below what no transaction reads any more."""

    def __init__(self, oldest_snapshot: Callable[[], int]) -> None:
        self._oldest_snapshot = oldest_snapshot
        self._mutex = threading.Lock()
        self._exclusive: dict[bytes, LockOwner] = {}
        self._shared: dict[bytes, set[LockOwner]] = {}
        self._queues: dict[bytes, deque[_Waiter]] = {}
        self._ranges = RangeLocks()
        self._turns = itertools.count(1)
        self._share_traces: dict[bytes, int] = {}
        self._share_trace_floor = 0
        self._is_closed = False

    def acquire(self, owner: LockOwner, key: bytes, mode: LockMode) -> None:
        """Hold `key`, after waiting for those who hold it now.

        Raises DeadlockDetected when waiting would close a cycle, LockNotAvailable when the
        holder belongs to the calling thread. Nothing is held then that was not held before.
        """
        with self._mutex:
            if self._is_closed:
                raise errors.InterfaceError("the database is closed")
            if self._may_have(owner, key, mode):
                self._grant(owner, key, mode)
                return
            waiter = self._enqueue(owner, key, mode)
            try:
                self._refuse_endless_wait(owner)
            except errors.Error:
                self._dequeue(waiter)
                # Where only those who wait are in front, going first harms nobody, and not
                # going first would be a deadlock that politeness has made.
                if not self._is_held_by_nobody_else(waiter):
                    raise
                self._grant(owner, key, mode)
                return
        self._sleep(waiter)

    def acquire_range(self, owner: LockOwner, lo: bytes, hi: bytes | None) -> None:
        """Hold lo <= key < hi, after waiting for those who hold a key or a range in it, in
        whatever mode. Raises as `acquire` does."""
        with self._mutex:
            if self._is_closed:
                raise errors.InterfaceError("the database is closed")
            if any(within(lo, hi, *held) for held in owner.ranges):
                return
            if not any(True for _ in self._before_range(owner, lo, hi, None)):
                self._ranges.hold(owner, lo, hi)
                return
            waiter = RangeWaiter(owner, lo, hi, next(self._turns))
            self._ranges.waiting.append(waiter)
            owner.waiting = waiter
            try:
                self._refuse_endless_wait(owner)
            except errors.Error:
                self._dequeue_range(waiter)
                if any(True for _ in self._holders_in(owner, lo, hi)):
                    raise
                self._ranges.hold(owner, lo, hi)  # As in `acquire`.
                return
        self._sleep(waiter)

    def _sleep(self, waiter: _Waiter | RangeWaiter) -> None:
        try:
            waiter.gate.acquire()
        except BaseException:  # Ctrl-C while asleep: leave no waiter behind that nobody wakes
            with self._mutex:
                self._forget_waiter(waiter)
            raise
        if waiter.refusal is not None:
            raise waiter.refusal

    def release_all(self, owner: LockOwner, commit_timestamp: int | None) -> None:
        """End of a transaction. `commit_timestamp` is None when it wrote nothing or rolled back."""
        with self._mutex:
            # Every step may be done twice: an interrupted release is repeated.
            if owner.waiting is not None:
                self._forget_waiter(owner.waiting)
            self._ranges.release(owner)
            for key in owner.exclusive_keys:
                if self._exclusive.get(key) is owner:
                    del self._exclusive[key]
            for key in owner.shared_keys:
                holders = self._shared.get(key)
                if holders is not None:
                    holders.discard(owner)
                    if not holders:
                        del self._shared[key]
                if commit_timestamp is not None:
                    self._share_traces[key] = commit_timestamp
            if self._queues:
                for key in owner.exclusive_keys | owner.shared_keys:
                    self._wake(key)
                for lo, hi in owner.ranges:
                    self._wake_keys_in(lo, hi)
            if self._ranges.waiting:
                self._wake_ranges()
            owner.exclusive_keys = set()
            owner.shared_keys = set()
            owner.ranges = []
            if len(self._share_traces) > MAX_SHARE_TRACES:
                self._merge_old_traces()

    def share_trace(self, key: bytes) -> int:
        """The newest commit that relied on `key` under a share lock, or 0. May be too new, never too old."""
        with self._mutex:
            return max(self._share_traces.get(key, 0), self._share_trace_floor)

    def share_trace_in(self, lo: bytes, hi: bytes | None) -> int:
        """The newest `share_trace` of a key with lo <= key < hi."""
        with self._mutex:
            traces = (at for key, at in self._share_traces.items() if covers(lo, hi, key))
            return max(self._share_trace_floor, max(traces, default=0))

    def close(self) -> None:
        """Refuse everyone who waits."""
        with self._mutex:
            self._is_closed = True
            waiters: list[_Waiter | RangeWaiter] = list(self._ranges.waiting)
            for queue in self._queues.values():
                waiters += queue
            for waiter in waiters:
                waiter.owner.waiting = None
                waiter.refusal = errors.InterfaceError("the database was closed while waiting for a lock")
                waiter.gate.release()
            self._queues.clear()
            self._ranges.waiting.clear()

    def disown(self) -> None:
        """In a forked child: the mutex may have been held by a thread that is not here."""
        self._mutex = threading.Lock()

    # Everything below is called with the mutex held.

    def _may_have(self, owner: LockOwner, key: bytes, mode: LockMode) -> bool:
        holder = self._exclusive.get(key)
        if holder is not None:
            return holder is owner
        sharers = self._shared.get(key)
        if sharers is not None and owner in sharers:
            return mode is LockMode.SHARE or len(sharers) == 1
        ranges = self._ranges
        # Whoever waits for a key of the own range waits for its end.
        if any(covers(lo, hi, key) for lo, hi in owner.ranges):
            return True
        # Those who wait go first, or a row of readers could starve a writer for ever.
        if key in self._queues:
            return False
        if (ranges.held or ranges.waiting) and any(True for _ in ranges.before_key(owner, key, None)):
            return False
        return sharers is None or mode is LockMode.SHARE

    def _grant(self, owner: LockOwner, key: bytes, mode: LockMode) -> None:
        # The owner notes the key first: after an interrupt in between, its release finds it.
        if mode is LockMode.EXCLUSIVE:
            sharers = self._shared.get(key)
            if sharers is not None:
                errors.invariant(sharers == {owner}, "an exclusive lock has no sharers beside it")
            owner.exclusive_keys.add(key)
            self._exclusive[key] = owner
        elif key not in owner.exclusive_keys:
            owner.shared_keys.add(key)
            self._shared.setdefault(key, set()).add(owner)

    def _enqueue(self, owner: LockOwner, key: bytes, mode: LockMode) -> _Waiter:
        # Who shares the key is in the way of every range that waits for it: he has no turn.
        turn = 0 if key in owner.shared_keys else next(self._turns)
        waiter = _Waiter(owner, key, mode, turn)
        queue = self._queues.setdefault(key, deque())
        # Who shares the key already and wants it whole goes first: behind the others it
        # would wait for waiters that wait for it.
        if key in owner.shared_keys:
            queue.appendleft(waiter)
        else:
            queue.append(waiter)
        owner.waiting = waiter
        return waiter

    def _dequeue(self, waiter: _Waiter) -> None:
        waiter.owner.waiting = None
        queue = self._queues.get(waiter.key)
        if queue is None or waiter not in queue:
            return
        queue.remove(waiter)
        if not queue:
            del self._queues[waiter.key]
        else:
            self._wake(waiter.key)

    def _forget_waiter(self, waiter: _Waiter | RangeWaiter) -> None:
        if isinstance(waiter, RangeWaiter):
            self._dequeue_range(waiter)
        else:
            self._dequeue(waiter)

    def _dequeue_range(self, waiter: RangeWaiter) -> None:
        waiter.owner.waiting = None
        if waiter in self._ranges.waiting:
            self._ranges.waiting.remove(waiter)
            self._wake_keys_in(waiter.lo, waiter.hi)
            self._wake_ranges()

    def _wake_keys_in(self, lo: bytes, hi: bytes | None) -> None:
        for key in [key for key in self._queues if covers(lo, hi, key)]:
            self._wake(key)

    def _wake_ranges(self) -> None:
        for waiter in list(self._ranges.waiting):
            if any(True for _ in self._blockers(waiter.owner)):
                continue
            self._ranges.waiting.remove(waiter)
            self._ranges.hold(waiter.owner, waiter.lo, waiter.hi)
            waiter.owner.waiting = None
            waiter.gate.release()

    def _wake(self, key: bytes) -> None:
        queue = self._queues.get(key)
        while queue:
            waiter = queue[0]
            if not self._is_free_for(waiter):
                return
            queue.popleft()
            self._grant(waiter.owner, key, waiter.mode)
            waiter.owner.waiting = None
            waiter.gate.release()
        if queue is not None:
            del self._queues[key]

    def _is_free_for(self, waiter: _Waiter) -> bool:
        if not self._is_held_by_nobody_else(waiter):
            return False
        in_front = self._ranges.before_key(waiter.owner, waiter.key, waiter.turn)
        return not any(True for _ in in_front)

    def _is_held_by_nobody_else(self, waiter: _Waiter) -> bool:
        """Whether its key could be granted but for those who wait, too."""
        if waiter.key in self._exclusive:
            return False
        if any(True for _ in self._ranges.holders_over(waiter.owner, waiter.key)):
            return False
        others = self._shared.get(waiter.key, set()) - {waiter.owner}
        return not others or waiter.mode is LockMode.SHARE

    def _refuse_endless_wait(self, owner: LockOwner) -> None:
        path = self._path_without_end(owner)
        if path is None:
            return
        last = path[-1]
        chain = " -> ".join(str(each.id) for each in (owner, *path))
        if last is owner:
            raise errors.DeadlockDetected(
                f"deadlock: transaction {owner.id} would wait for itself",
                detail=f"each waits for the next: {chain}",
                hint="roll back and run the transaction again; taking rows in one order avoids deadlocks",
            )
        raise errors.LockNotAvailable(
            f"transaction {owner.id} would wait for ever: transaction {last.id} holds the row"
            " and is open in this same thread",
            hint="commit or roll that transaction back first, or run the two in different threads",
        )

    def _path_without_end(self, owner: LockOwner) -> list[LockOwner] | None:
        """The shortest way from `owner` along "waits for" to itself or to its own thread."""
        came_from: dict[LockOwner, LockOwner] = {}
        frontier = deque([owner])
        while frontier:
            current = frontier.popleft()
            for blocker in self._blockers(current):
                if blocker is owner or blocker.thread_id == owner.thread_id:
                    path = [blocker, current]
                    while path[-1] is not owner:
                        path.append(came_from[path[-1]])
                    return path[-2::-1]
                if blocker not in came_from:
                    came_from[blocker] = current
                    frontier.append(blocker)
        return None

    def _blockers(self, owner: LockOwner) -> Iterator[LockOwner]:
        waiter = owner.waiting
        if waiter is None:
            return
        if isinstance(waiter, RangeWaiter):
            yield from self._before_range(owner, waiter.lo, waiter.hi, waiter.turn)
            return
        yield from self._ranges.before_key(owner, waiter.key, waiter.turn)
        holder = self._exclusive.get(waiter.key)
        if holder is not None and holder is not owner:
            yield holder
        if waiter.mode is LockMode.EXCLUSIVE:
            yield from self._shared.get(waiter.key, set()) - {owner}
        for ahead in self._queues.get(waiter.key, ()):
            if ahead is waiter:
                return
            yield ahead.owner

    def _before_range(
        self, owner: LockOwner, lo: bytes, hi: bytes | None, turn: int | None
    ) -> Iterator[LockOwner]:
        """Others that a request for [lo, hi) waits for."""
        yield from self._ranges.before_range(owner, lo, hi, turn)
        yield from self._key_holders_in(owner, lo, hi)

    def _holders_in(self, owner: LockOwner, lo: bytes, hi: bytes | None) -> Iterator[LockOwner]:
        """Others who hold a range or a key that meets [lo, hi)."""
        yield from self._ranges.holders_in(owner, lo, hi)
        yield from self._key_holders_in(owner, lo, hi)

    def _key_holders_in(self, owner: LockOwner, lo: bytes, hi: bytes | None) -> Iterator[LockOwner]:
        for key, holder in self._exclusive.items():
            if holder is not owner and covers(lo, hi, key):
                yield holder
        for key, sharers in self._shared.items():
            if covers(lo, hi, key):
                yield from sharers - {owner}

    def _merge_old_traces(self) -> None:
        oldest_snapshot = self._oldest_snapshot()
        needed = {key: at for key, at in self._share_traces.items() if at > oldest_snapshot}
        if len(needed) > MAX_SHARE_TRACES // 2:
            by_age = sorted(needed.items(), key=lambda item: item[1])
            merged = by_age[: len(by_age) // 2]
            self._share_trace_floor = merged[-1][1]
            needed = dict(by_age[len(merged) :])
        self._share_traces = needed
