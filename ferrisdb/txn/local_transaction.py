"""One transaction of the local store: snapshot isolation over the storage engine.

    first use ------------------ reads as of its snapshot --------------------- commit
      |                                                                           |
      snapshot = newest visible commit          writes stay here, in the WriteSet |
                                                each write locks its key          |
                                                                     one log record, then visible

The snapshot is taken at the first read, write or lock and not at begin, as PostgreSQL does:
a transaction that was begun early and has seen nothing yet need not lose against others.

Reads never wait: the engine keeps versions, and this transaction reads the newest at or
below its snapshot, with its own writes laid over it. A write first takes the key's lock,
which may mean waiting for another open transaction, and then looks whether somebody
committed the key after the snapshot was taken. If so, this transaction has lost: first
updater wins (Berenson et al., "A Critique of ANSI SQL Isolation Levels", SIGMOD 1995).

Write skew is possible at this level: two transactions may each read what the other writes. The
other levels are made of this one: see `read_committed` and `serializable`.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from ferrisdb import errors
from ferrisdb.conflict import Conflict, ConflictStep, KeyRange, statement_excerpt
from ferrisdb.storage.group_commit import LogWriteFailed
from ferrisdb.storage.limits import MAX_KEY_BYTES, MAX_VALUE_BYTES
from ferrisdb.storage.options import Durability
from ferrisdb.storage.yield_points import reach
from ferrisdb.txn.api import Batch, CommitToken, IsolationLevel, Locked, LockMode, Savepoint, Waiting
from ferrisdb.txn.locks import LockOwner, LockTable
from ferrisdb.txn.looking import OpenTransaction
from ferrisdb.txn.pair_locks import hold_pairs
from ferrisdb.txn.write_set import WriteSet, overlay

if TYPE_CHECKING:
    from ferrisdb.txn.engine_protocol import StorageEngine

KEYS_AT_A_TIME = 500
"""That are locked under one mutex: others wait for it, too."""


class LocalTransaction:
    """See `ferrisdb.txn.api.Transaction`. This class is the level snapshot.

    `take_snapshot` gives the timestamp to read at and remembers that it is in use;
    `on_end` is told the commit timestamp, or None; `committer_of` knows of a commit timestamp
    which transaction that was, and its statement, or at least tries to.
    """

    isolation = IsolationLevel.SNAPSHOT

    def __init__(
        self,
        transaction_id: int,
        engine: StorageEngine,
        locks: LockTable,
        *,
        is_read_only: bool,
        durability: Durability | None,
        max_bytes: int,
        take_snapshot: Callable[[LocalTransaction], int],
        on_end: Callable[[LocalTransaction, int | None], None],
        committer_of: Callable[[int], tuple[int | None, str]],
    ) -> None:
        self.id = transaction_id
        self.is_read_only = is_read_only
        self.is_open = True
        self.snapshot: int | None = None
        self.snapshot_s = 0.0
        """When it was taken, by the engine's clock, where that matters."""
        self.lock_owner = LockOwner(transaction_id)
        self.statement = ""
        """The text of the one that runs, or ran last."""
        self._statement_count = 0
        self.durability = durability
        self._engine = engine
        self._locks = locks
        self._writes = WriteSet(max_bytes)
        self._take_snapshot = take_snapshot
        self._on_end = on_end
        self._committer_of = committer_of
        self._unproven: set[bytes] = set()
        """Keys that may be held although others have committed them since the snapshot: `claim` has
        said so; or an error or Ctrl-C came before the look for newer commits. A lock alone proves
        nothing: to use one of these is to look again."""
        self._commit_timestamp: int | None = None
        self._is_ended = False

    @property
    def lock_timeout_s(self) -> float | None:
        return self.lock_owner.lock_timeout_s

    @lock_timeout_s.setter
    def lock_timeout_s(self, timeout_s: float | None) -> None:
        self.lock_owner.lock_timeout_s = timeout_s

    @property
    def is_used(self) -> bool:
        return self.snapshot is not None or self._statement_count > 0

    def forbid_writes(self) -> None:
        self._check_open()
        self.is_read_only = True

    def begin_statement(self, text: str = "") -> None:
        self._check_open()
        self.statement = self.lock_owner.statement = text
        self._statement_count += 1

    @property
    def only_statement(self) -> str:
        """The text of its statement, if there was but one."""
        return self.statement if self._statement_count == 1 else ""

    def described(self) -> OpenTransaction:
        """For who looks on, from another thread."""
        return OpenTransaction(
            self.id,
            self.lock_owner.thread_id,
            self.isolation,
            self.is_read_only,
            self.snapshot,
            self.statement,
        )

    def written(self, key: bytes) -> tuple[bytes | None, ...]:
        """What it has written to the key, for who looks on; empty when nothing."""
        writes = self._writes
        if writes.has_written(key):
            return (writes.values.get(key),)
        return ()

    def get(self, key: bytes) -> bytes | None:
        snapshot = self._reads_at()
        own = self._writes.values
        if key in own:
            return own[key]
        if self._writes.deleted_ranges and self._writes.has_deleted(key):
            return None
        return self._engine.read(key, snapshot)

    def get_newest(self, key: bytes) -> bytes | None:
        self._check_open()
        if self._writes.has_written(key):
            return self._writes.values.get(key)
        # A lock keeps the newest version where it is. Without one (a lock on something that stands
        # for the key) it is the snapshot in use that protects every later version from collection.
        return self._engine.read(key, self._engine.visible_timestamp)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        snapshot = self._reads_at()
        if not self._writes.values and not self._writes.deleted_ranges:
            return self._engine.read_many(keys, snapshot)
        return [self.get(key) for key in keys]

    def scan(
        self, lo: bytes, hi: bytes | None, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        batches = self.scan_batches(lo, hi, reverse=reverse)
        pairs = itertools.chain.from_iterable(zip(keys, values, strict=True) for keys, values in batches)
        return pairs if limit is None else itertools.islice(pairs, limit)

    def scan_batches(self, lo: bytes, hi: bytes | None, *, reverse: bool = False) -> Iterator[Batch]:
        snapshot = self._reads_at()
        if hi is not None and hi <= lo:
            return iter(())
        if self._writes.deleted_ranges:
            batches = self._scan_what_is_left(lo, hi, snapshot, reverse)
        else:
            batches = self._engine.scan(lo, hi, snapshot, reverse=reverse)
        own_keys = self._writes.keys_between(lo, hi)
        if not own_keys:
            return batches
        values = self._writes.values
        return overlay(batches, own_keys, {key: values[key] for key in own_keys}, reverse)

    def _scan_what_is_left(
        self, lo: bytes, hi: bytes | None, snapshot: int, reverse: bool
    ) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """The snapshot but for the ranges that this transaction has deleted."""
        gaps = self._writes.gaps_between(lo, hi)
        # All are begun now: where to look is settled when a scan is asked for.
        parts = [self._engine.scan(*gap, snapshot, reverse=reverse) for gap in gaps]
        return itertools.chain.from_iterable(reversed(parts) if reverse else parts)

    def put(self, key: bytes, value: bytes) -> None:
        if len(value) > MAX_VALUE_BYTES:
            raise errors.KeyTooLarge(f"the value has {len(value)} bytes; at most {MAX_VALUE_BYTES} fit")
        self._write(key, value)

    def delete(self, key: bytes) -> None:
        self._write(key, None)

    def delete_range(self, lo: bytes, hi: bytes | None) -> None:
        self._check_writable()
        if hi is not None and hi <= lo:
            return
        longest = max(len(lo), len(hi or b""))
        if longest > MAX_KEY_BYTES:
            raise errors.KeyTooLarge(f"a bound has {longest} bytes; at most {MAX_KEY_BYTES} fit")
        self._take_range(lo, hi)
        self._writes.delete_range(lo, hi)

    def lock(
        self,
        keys: Collection[bytes],
        mode: LockMode = LockMode.EXCLUSIVE,
        waiting: Waiting = Waiting.WAIT,
        *,
        are_stored: bool = True,
    ) -> Locked:
        self._check_writable()
        wanted = self._not_had(keys, mode)
        try:
            skipped = self._hold(wanted, mode, waiting)
            held = [key for key in wanted if key not in skipped] if skipped else wanted
            # Only now, as in `_take`.
            if are_stored:
                for key in held:
                    self._check_first_updater(key, mode)
            elif mode is LockMode.EXCLUSIVE:
                self._check_share_traces(held)
        except errors.Retryable:
            self._end(None)
            raise
        self._unproven.difference_update(wanted)
        return Locked(tuple(skipped))

    def _not_had(self, keys: Collection[bytes], mode: LockMode) -> list[bytes]:
        """Those to be locked. They stay unproven until somebody has looked behind the lock."""
        wanted = [key for key in keys if not self._has(key, mode)]
        self._unproven.update(wanted)
        return wanted

    def _hold(
        self, wanted: Sequence[bytes], mode: LockMode, waiting: Waiting = Waiting.WAIT
    ) -> dict[bytes, None]:
        """Lock the keys; those that were skipped, in order."""
        owner = self.lock_owner
        owner.thread_id = threading.get_ident()
        skipped: dict[bytes, None] = {}
        for start in range(0, len(wanted), KEYS_AT_A_TIME):
            batch = iter(wanted[start : start + KEYS_AT_A_TIME])
            reach("lock", wanted[start])
            while (taken := self._locks.acquire_free(owner, batch, mode)) is not None:
                if not self._locks.acquire(owner, taken, mode, waiting):
                    skipped[taken] = None
            reach("locked", wanted[start])
        return skipped

    def lock_pairs(self, pairs: Sequence[tuple[bytes, bytes]], waiting: Waiting = Waiting.WAIT) -> Locked:
        self._check_writable()
        wanted = [pair for pair in pairs if not all(self._has(key, LockMode.EXCLUSIVE) for key in pair)]
        self._unproven.update(*wanted)
        try:
            skipped = hold_pairs(self._locks, self.lock_owner, wanted, waiting)
            held = [pair for pair in wanted if pair not in skipped] if skipped else wanted
            # Only now, as in `_take`.
            self._check_share_traces([name for name, _ in held])
            for _, key in held:
                self._check_first_updater(key, LockMode.EXCLUSIVE)
        except errors.Retryable:
            self._end(None)
            raise
        self._unproven.difference_update(*wanted)
        return Locked(tuple(key for _, key in skipped))

    def claim(self, keys: Collection[bytes]) -> tuple[bytes, ...]:
        self._check_writable()
        wanted = self._not_had(keys, LockMode.EXCLUSIVE)
        try:
            self._hold(wanted, LockMode.EXCLUSIVE)
            self._check_share_traces(wanted)
            snapshot = self._reads_at()
            newer = {key: None for key in wanted if self._engine.newest_timestamp(key, snapshot)}
            for key in newer:
                # Gone again since: whoever writes it now has read what is not so any more.
                if not self._is_duplicate(key):
                    self._check_first_updater(key, LockMode.EXCLUSIVE)
        except errors.Retryable:
            self._end(None)
            raise
        self._unproven.difference_update(key for key in wanted if key not in newer)
        found = zip(keys, self.get_many(list(keys)), strict=True)
        return (*newer, *(key for key, value in found if value is not None and key not in newer))

    def _is_duplicate(self, key: bytes) -> bool:
        """Of a key that is locked, and committed since the snapshot."""
        return self.get_newest(key) is not None

    def savepoint(self) -> Savepoint:
        self._check_open()
        return Savepoint(self._writes.savepoint())

    def rollback_to(self, savepoint: Savepoint) -> None:
        self._check_open()
        self._writes.rollback_to(savepoint)

    def commit(self) -> CommitToken:
        snapshot = self._reads_at()
        has_written = bool(self._writes.values or self._writes.deleted_ranges)
        timestamp: int | None = None
        try:
            self._check_serializable()
            if has_written:
                timestamp = self._log()
        except LogWriteFailed as failure:
            raise errors.CommitUnknown(
                f"transaction {self.id} may or may not be committed: {failure.message}",
                transaction_id=self.id,
                hint="open the database again: recovery decides, and then reading tells",
            ) from failure
        except errors.Error:
            raise
        except BaseException:
            # Interrupted (Ctrl-C): it may be committed, and then not above this.
            timestamp = self._engine.visible_timestamp
            raise
        finally:
            # The locks go only now, with the commit visible: whoever gets one next must
            # find this version when it looks for commits newer than its snapshot.
            self._end(timestamp)
        return CommitToken(snapshot if timestamp is None else timestamp)

    def _check_serializable(self) -> None:
        """Before the commit is logged. At this level there is nothing to check."""

    def _log(self) -> int:
        return self._engine.commit(
            self._writes.values, self.durability, deleted_ranges=self._writes.deleted_ranges
        )

    def rollback(self) -> None:
        if not self._is_ended:  # Or an interrupt came while it ended, and its locks are still held.
            self._end(self._commit_timestamp)

    def _write(self, key: bytes, value: bytes | None) -> None:
        self._check_writable()
        if key not in self._writes.values:
            if len(key) > MAX_KEY_BYTES:
                raise errors.KeyTooLarge(f"the key has {len(key)} bytes; at most {MAX_KEY_BYTES} fit")
            if key not in self.lock_owner.exclusive_keys or key in self._unproven:
                self._take(key)
        self._writes.write(key, value)

    def _take(self, key: bytes) -> None:
        owner = self.lock_owner
        owner.thread_id = threading.get_ident()
        self._unproven.add(key)
        try:
            self._locks.acquire(owner, key, LockMode.EXCLUSIVE)
            # Only now, when this is the first use: what we waited for is then in the snapshot.
            self._check_first_updater(key, LockMode.EXCLUSIVE)
        except errors.Retryable:
            # There is no way on from here at this snapshot, and others may wait for us.
            self._end(None)
            raise
        self._unproven.discard(key)

    def _has(self, key: bytes, mode: LockMode) -> bool:
        """Whether the key is held, and was looked at behind the lock."""
        if self._unproven and key in self._unproven:
            return False
        owner = self.lock_owner
        if mode is LockMode.SHARE:
            # What is held whole is shared on top of it: else it would leave no trace at commit.
            return key in owner.shared_keys
        return key in owner.exclusive_keys

    def _take_range(self, lo: bytes, hi: bytes | None) -> None:
        owner = self.lock_owner
        owner.thread_id = threading.get_ident()
        try:
            self._locks.acquire_range(owner, lo, hi)
            # Only now, for the reason given in `_take`.
            self._check_first_updater_in(lo, hi)
        except errors.Retryable:
            self._end(None)
            raise

    def _check_first_updater_in(self, lo: bytes, hi: bytes | None) -> None:
        snapshot = self._reads_at()
        newest = self._engine.newest_timestamp_in(lo, hi, snapshot)
        if newest:
            raise self._too_late(f"a key of its range was changed by a commit at {newest}", newest, lo, hi)
        trace = self._locks.share_trace_in(lo, hi)
        if trace > snapshot:
            raise self._too_late(
                "a transaction that relied on a key of its range has committed", trace, lo, hi, kind="rw"
            )

    def _check_first_updater(self, key: bytes, mode: LockMode) -> None:
        snapshot = self._reads_at()
        newest = self._engine.newest_timestamp(key, snapshot)
        if newest:
            raise self._too_late(f"its key was changed by a commit at {newest}", newest, key)
        if mode is LockMode.EXCLUSIVE:
            trace = self._locks.share_trace(key)
            if trace > snapshot:
                raise self._too_late(
                    "a transaction that relied on its key has committed", trace, key, kind="rw"
                )

    def _check_share_traces(self, keys: Collection[bytes]) -> None:
        trace = self._locks.newest_share_trace(keys)
        if trace > self._reads_at():
            key = next((key for key in keys if self._locks.share_trace(key) == trace), b"")
            raise self._too_late("a transaction that relied on its key has committed", trace, key, kind="rw")

    def _too_late(
        self, why: str, committed_at: int, lo: bytes, hi: bytes | None = b"", *, kind: str = "ww"
    ) -> errors.SerializationFailure:
        """`hi` is that of a range; b"" where `lo` is a key."""
        winner, statement = self._committer_of(committed_at)
        what = KeyRange.of_key(lo) if hi == b"" else KeyRange(lo, hi)
        own = statement_excerpt(self.statement)
        step = ConflictStep(winner, self.id, kind, what, statement_excerpt(statement), own)
        conflict = Conflict("ww", self.id, (step,))
        return errors.SerializationFailure(
            f"could not serialize: transaction {self.id} reads as of {self.snapshot}, and {why} since",
            detail=conflict.explain(),
            hint="roll back and run the transaction again",
            conflict=conflict,
        )

    def _reads_at(self) -> int:
        self._check_open()
        if self.snapshot is None:
            reach("snapshot")
            self.snapshot = self._take_snapshot(self)
        return self.snapshot

    def _check_writable(self) -> None:
        self._check_open()
        if self._engine.is_read_only:
            raise errors.ReadOnlyStore("write or lock")
        if self.is_read_only:
            raise errors.ReadOnlyTransaction("the transaction is read-only: it can't write or lock")

    def _check_open(self) -> None:
        if not self.is_open:
            raise errors.NoActiveTransaction(
                f"transaction {self.id} is over",
                hint="begin another one; a failed one can only be rolled back",
            )

    def _before_locks_go(self) -> None:
        """At the end. Whatever this does may be done twice."""

    def _end(self, commit_timestamp: int | None) -> None:
        self.is_open = False
        self._commit_timestamp = commit_timestamp
        self._before_locks_go()
        self._on_end(self, commit_timestamp)
        self._is_ended = True
