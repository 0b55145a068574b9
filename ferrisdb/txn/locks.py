"""Locks on keys: who may write, who must wait, and when waiting would never end.

    key      held by                 waiting, first come first served
    k1       T1 exclusive            T2 exclusive <- T3 share
    k2       T2 share, T3 share

A transaction holds its locks until it ends, and it ends only after its commit is visible.
So whoever gets a lock sees everything its last holder committed, and one look at the
newest version of the key decides whether a snapshot is too old to write it.

A wait ends in one of four ways, and each leaves the queue as if it had never been there:

    granted      by whoever ended or gave up in front
    timed out    `lock_timeout_s` of the owner ran out; LockNotAvailable
    interrupted  Ctrl-C
    refused      the database was closed

A grant and a timeout may happen at the same moment. Both are decided under the mutex, and
the one that comes first is what happened: `owner.waiting` says which. A request can also say
that it will not wait at all (`Waiting`): NOWAIT raises, SKIP_LOCKED returns False. Those who
wait already go first there, too: a key with a queue is not free.

Deadlocks are found when they form, not by a timer: see `deadlocks`.

A share lock leaves a trace when its holder commits: see `share_traces`. Locks on ranges stand
beside those on keys: see `range_locks`.

Limits: one mutex guards the table.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from ferrisdb import errors
from ferrisdb.storage import yield_points
from ferrisdb.storage.yield_points import reach
from ferrisdb.txn.api import LockMode, Waiting
from ferrisdb.txn.deadlocks import endless_path, endless_wait, wanted
from ferrisdb.txn.lock_owner import LockOwner, Waiter
from ferrisdb.txn.lock_waits import KeyLocks, LockWait
from ferrisdb.txn.range_locks import RangeLocks, RangeWaiter, covers, within
from ferrisdb.txn.share_traces import ShareTraces

__all__ = ["LockOwner", "LockTable", "Waiter"]


class LockTable:
    """All locks of one store. `oldest_snapshot` says below what no transaction reads any more."""

    def __init__(self, oldest_snapshot: Callable[[], int]) -> None:
        self._mutex = threading.Lock()
        self._exclusive: dict[bytes, LockOwner] = {}
        self._shared: dict[bytes, set[LockOwner]] = {}
        self._queues: dict[bytes, deque[Waiter]] = {}
        self._ranges = RangeLocks()
        self._turns = itertools.count(1)
        self._traces = ShareTraces(oldest_snapshot)
        self._is_closed = False

    def acquire(self, owner: LockOwner, key: bytes, mode: LockMode, waiting: Waiting = Waiting.WAIT) -> bool:
        """Hold `key`, after waiting for those who hold it now. False when it was to be skipped.

        Raises DeadlockDetected when waiting would close a cycle; LockNotAvailable when the
        holder belongs to the calling thread, when `owner.lock_timeout_s` has run out, or at
        once with NOWAIT. Nothing is held then that was not held before.
        """
        reach("lock", key)
        is_held = self._acquire(owner, key, mode, waiting)
        reach("locked" if is_held else "skipped", key)
        return is_held

    def _acquire(self, owner: LockOwner, key: bytes, mode: LockMode, waiting: Waiting) -> bool:
        with self._mutex:
            if self._is_closed:
                raise errors.InterfaceError("the database is closed")
            if self._may_have(owner, key, mode):
                self._grant(owner, key, mode)
                return True
            if waiting is Waiting.SKIP_LOCKED:
                return False
            if waiting is Waiting.NOWAIT:
                raise errors.LockNotAvailable(
                    "could not obtain the lock: another transaction holds it",
                    hint="NOWAIT does not wait; leave it out, or try again later",
                )
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
                return True
        self._sleep(waiter)
        return True

    def acquire_free(self, owner: LockOwner, keys: Iterator[bytes], mode: LockMode) -> bytes | None:
        """Hold the keys from the front, as long as nobody is in the way; the first that is not free.

        One mutex for all: locks that nobody contends for cost a third. Who waits for a key must
        not hold those behind it, or two that ask in one order could wait for each other.
        """
        with self._mutex:
            if self._is_closed:
                raise errors.InterfaceError("the database is closed")
            for key in keys:
                if not self._may_have(owner, key, mode):
                    return key
                self._grant(owner, key, mode)
        return None

    def acquire_free_pairs(
        self, owner: LockOwner, pairs: Iterator[tuple[bytes, bytes]]
    ) -> tuple[bytes, bytes] | None:
        """As `acquire_free`: hold both keys of each whole, or neither; the first not wholly free."""
        with self._mutex:
            if self._is_closed:
                raise errors.InterfaceError("the database is closed")
            for pair in pairs:
                if not all(self._may_have(owner, key, LockMode.EXCLUSIVE) for key in pair):
                    return pair
                for key in pair:
                    self._grant(owner, key, LockMode.EXCLUSIVE)
        return None

    def give_back(self, owner: LockOwner, key: bytes) -> None:
        """Of a lock under which nothing was done. Fine when that was done already, or by half."""
        with self._mutex:
            if self._exclusive.get(key) is owner:
                del self._exclusive[key]
            owner.exclusive_keys.discard(key)
            self._wake(key)
            self._wake_ranges()

    def acquire_range(self, owner: LockOwner, lo: bytes, hi: bytes | None) -> None:
        """Hold lo <= key < hi, after waiting for those who hold a key or a range in it, in
        whatever mode. Raises as `acquire` does."""
        reach("lock range", lo)
        self._acquire_range(owner, lo, hi)
        reach("range locked", lo)

    def _acquire_range(self, owner: LockOwner, lo: bytes, hi: bytes | None) -> None:
        with self._mutex:
            if self._is_closed:
                raise errors.InterfaceError("the database is closed")
            if any(within(lo, hi, *held) for held in owner.ranges):
                return
            if not any(True for _ in self._before_range(owner, lo, hi, None)):
                self._ranges.hold(owner, lo, hi)
                return
            self._forget_waiter(owner.waiting)  # As in `_enqueue`.
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

    def _sleep(self, waiter: Waiter | RangeWaiter) -> None:
        timeout_s = waiter.owner.lock_timeout_s
        try:
            is_woken = yield_points.acquire(
                waiter.gate, -1 if timeout_s is None else min(timeout_s, threading.TIMEOUT_MAX)
            )
            if not is_woken:
                self._give_up(waiter)
        except BaseException:  # Ctrl-C while asleep: leave no waiter behind that nobody wakes
            with self._mutex:
                self._forget_waiter(waiter)
            raise
        if waiter.refusal is not None:
            raise waiter.refusal

    def _give_up(self, waiter: Waiter | RangeWaiter) -> None:
        """The time is over. Raises LockNotAvailable, unless the wait has ended just before."""
        owner = waiter.owner
        with self._mutex:
            if owner.waiting is not waiter:
                return  # Granted or refused between the alarm and this mutex: that stands.
            in_front = sorted({each.id for each in self._blockers(owner)})
            self._forget_waiter(waiter)
        raise errors.LockNotAvailable(
            f"canceled: transaction {owner.id} has waited {owner.lock_timeout_s:g} s for a lock, which is"
            " its lock timeout",
            detail=f"it waited for transaction {', '.join(map(str, in_front))}",
            hint="lock_timeout sets the time; it may be tried again once that transaction is over",
        )

    def release_all(self, owner: LockOwner, commit_timestamp: int | None) -> None:
        """End of a transaction. `commit_timestamp` is None when it wrote nothing or rolled back."""
        reach("release")
        with self._mutex:
            # Every step may be done twice: an interrupted release is repeated.
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
                self._traces.leave(owner.shared_keys, commit_timestamp)
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

    def share_trace(self, key: bytes) -> int:
        """The newest commit that relied on `key` under a share lock, or 0: see `share_traces`."""
        with self._mutex:
            return self._traces.newest_of((key,))

    def newest_share_trace(self, keys: Iterable[bytes]) -> int:
        """The newest `share_trace` of the keys."""
        with self._mutex:
            return self._traces.newest_of(keys)

    def share_trace_in(self, lo: bytes, hi: bytes | None) -> int:
        """The newest `share_trace` of a key with lo <= key < hi."""
        with self._mutex:
            return self._traces.newest_in(lo, hi)

    def waits(self) -> list[LockWait]:
        """Every transaction that is asleep for a lock now."""
        with self._mutex:
            return [self._described(each) for each in self._waiters()]

    def look_at(self, key: bytes) -> KeyLocks:
        """Who holds the key, and who waits for it or for a range with it."""
        with self._mutex:
            covering = [owner.id for lo, hi, owner in self._ranges.held if covers(lo, hi, key)]
            holder = self._exclusive.get(key)
            if holder is not None and holder.id not in covering:
                covering.append(holder.id)
            sharing = sorted(each.id for each in self._shared.get(key, ()))
            waiting = [each.owner.id for each in self._queues.get(key, ())]
            waiting += [each.owner.id for each in self._ranges.waiting if covers(each.lo, each.hi, key)]
            return KeyLocks(tuple(covering), tuple(sharing), tuple(waiting))

    def cancel_wait(self, transaction_id: int) -> bool:
        """Refuse the transaction what it waits for: QueryCanceled there. False when it does not wait."""
        with self._mutex:
            waiter = next((each for each in self._waiters() if each.owner.id == transaction_id), None)
            if waiter is None:
                return False
            self._forget_waiter(waiter)
            waiter.refusal = errors.QueryCanceled("canceled while it waited for a lock")
            waiter.gate.release()
            return True

    def close(self) -> None:
        """Refuse everyone who waits."""
        with self._mutex:
            self._is_closed = True
            for waiter in self._waiters():
                waiter.owner.waiting = None
                waiter.refusal = errors.InterfaceError("the database was closed while waiting for a lock")
                waiter.gate.release()
            self._queues.clear()
            self._ranges.waiting.clear()

    def disown(self) -> None:
        """In a forked child: the mutex may have been held by a thread that is not here."""
        self._mutex = threading.Lock()

    # Everything below is called with the mutex held.

    def _waiters(self) -> list[Waiter | RangeWaiter]:
        return [*self._ranges.waiting, *itertools.chain.from_iterable(self._queues.values())]

    def _described(self, waiter: Waiter | RangeWaiter) -> LockWait:
        owner = waiter.owner
        in_front = sorted({each.id for each in self._blockers(owner)})
        return LockWait(owner.id, owner.thread_id, tuple(in_front), owner.lock_timeout_s, wanted(waiter))

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
        else:
            # Also where it is held whole: what is relied on has to leave its trace.
            owner.shared_keys.add(key)
            self._shared.setdefault(key, set()).add(owner)

    def _enqueue(self, owner: LockOwner, key: bytes, mode: LockMode) -> Waiter:
        # Where Ctrl-C came before the sleep. Only the newest wait is found at the end.
        self._forget_waiter(owner.waiting)
        # Who shares the key is in the way of every range that waits for it: he has no turn.
        turn = 0 if key in owner.shared_keys else next(self._turns)
        waiter = Waiter(owner, key, mode, turn)
        queue = self._queues.setdefault(key, deque())
        # Who shares the key already and wants it whole goes first: behind the others it
        # would wait for waiters that wait for it.
        if key in owner.shared_keys:
            queue.appendleft(waiter)
        else:
            queue.append(waiter)
        owner.waiting = waiter
        return waiter

    def _dequeue(self, waiter: Waiter) -> None:
        waiter.owner.waiting = None
        queue = self._queues.get(waiter.key)
        if queue is None or waiter not in queue:
            return
        queue.remove(waiter)
        if not queue:
            del self._queues[waiter.key]
        else:
            self._wake(waiter.key)

    def _forget_waiter(self, waiter: Waiter | RangeWaiter | None) -> None:
        if isinstance(waiter, RangeWaiter):
            self._dequeue_range(waiter)
        elif waiter is not None:
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

    def _is_free_for(self, waiter: Waiter) -> bool:
        if not self._is_held_by_nobody_else(waiter):
            return False
        in_front = self._ranges.before_key(waiter.owner, waiter.key, waiter.turn)
        return not any(True for _ in in_front)

    def _is_held_by_nobody_else(self, waiter: Waiter) -> bool:
        """Whether its key could be granted but for those who wait, too."""
        if waiter.key in self._exclusive:
            return False
        if any(True for _ in self._ranges.holders_over(waiter.owner, waiter.key)):
            return False
        others = self._shared.get(waiter.key, set()) - {waiter.owner}
        return not others or waiter.mode is LockMode.SHARE

    def _refuse_endless_wait(self, owner: LockOwner) -> None:
        path = endless_path(owner, self._blockers)
        if path is not None:
            raise endless_wait(owner, path)

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
