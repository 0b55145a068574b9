"""The local store: FerrisDB's own transactions over its own storage engine.

It hands out snapshots, knows which are open, and owns the lock table. Commit timestamps
are the engine's: it gives them in log order and shows commits in that order, each only
once it is durable. A snapshot is therefore one number, and everything at or below it is
complete.

    first use  snapshot = engine.visible_timestamp
    commit     engine.commit(writes) -> timestamp, then the locks are released

Over a `ReadOnlyEngine` every transaction is read-only, and `refresh` moves the store on.

Serializable transactions are also known to the graph of conflicts (`serializable_graph`), and
so is an ingest, which is a transaction that writes and reads nothing.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Collection
from functools import partial

from ferrisdb import errors
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.event_hub import EventHub
from ferrisdb.storage.forks import disown_in_child
from ferrisdb.storage.group_commit import LogWriteFailed
from ferrisdb.storage.ingest import Pairs
from ferrisdb.storage.limits import MAX_KEY_BYTES, MAX_VALUE_BYTES
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import Durability, StorageOptions
from ferrisdb.storage.os_env import OsEnv
from ferrisdb.storage.pinned_tables import PinnedTables
from ferrisdb.storage.read_only_engine import ReadOnlyEngine
from ferrisdb.storage.retention import Snapshots, snapshots_to_keep
from ferrisdb.storage.salvage_report import RecoveryReport
from ferrisdb.storage.statistics import EngineStatistics
from ferrisdb.txn.api import CommitToken, IsolationLevel, StoreLimits
from ferrisdb.txn.engine_protocol import StorageEngine
from ferrisdb.txn.limits import TransactionLimits
from ferrisdb.txn.local_transaction import LocalTransaction
from ferrisdb.txn.lock_waits import LockWait
from ferrisdb.txn.locks import LockOwner, LockTable
from ferrisdb.txn.looking import LookAtKey, OpenTransaction
from ferrisdb.txn.past import check_past, check_readable, not_known
from ferrisdb.txn.read_committed import ReadCommittedTransaction
from ferrisdb.txn.serializable import BlindWrite, SerializableTransaction
from ferrisdb.txn.serializable_graph import ConflictGraph

MAX_KNOWN_COMMITS = 1000
"""The last ones, to say of a conflict with whom it was."""

_KINDS: dict[IsolationLevel, type[LocalTransaction]] = {
    IsolationLevel.READ_COMMITTED: ReadCommittedTransaction,
    IsolationLevel.SNAPSHOT: LocalTransaction,
}


class LocalStore:
    """See `ferrisdb.txn.api.Store`. Thread-safe."""

    def __init__(
        self,
        engine: Engine | ReadOnlyEngine,
        limits: TransactionLimits | None = None,
        *,
        is_in_memory: bool = False,
    ) -> None:
        self._engine: StorageEngine = engine
        self._limits = limits or TransactionLimits()
        self._follower = engine if isinstance(engine, ReadOnlyEngine) else None
        self._is_in_memory = is_in_memory
        self._locks = LockTable(self._oldest_snapshot)
        self._graph = ConflictGraph(engine)
        self._last_commits: deque[tuple[int, int, str]] = deque(maxlen=MAX_KNOWN_COMMITS)
        self._ids = itertools.count(1)
        self._mutex = threading.Lock()
        self._open: dict[int, LocalTransaction] = {}
        self._is_closed = False
        self._collected_below = 0
        """The largest floor that compaction was told of."""
        self._stamps_snapshots = engine.has_expiries
        if isinstance(engine, ReadOnlyEngine):
            engine.keep_snapshots(self._with_snapshots_in_use)
        else:
            engine.collect_between(self._snapshots_to_keep, self._oldest_snapshot_s)
        disown_in_child(self)

    @classmethod
    def open(
        cls, path: str, options: StorageOptions | None = None, limits: TransactionLimits | None = None
    ) -> LocalStore:
        """Open or create the folder. Raises as `Engine.open` does."""
        return cls(Engine.open(OsEnv(), path, options or StorageOptions()), limits)

    @classmethod
    def open_read_only(
        cls, path: str, options: StorageOptions | None = None, limits: TransactionLimits | None = None
    ) -> LocalStore:
        """Open the folder to read, beside whoever writes it. Raises as `ReadOnlyEngine.open` does."""
        return cls(ReadOnlyEngine.open(OsEnv(), path, options or StorageOptions()), limits)

    @classmethod
    def in_memory(
        cls, options: StorageOptions | None = None, limits: TransactionLimits | None = None
    ) -> LocalStore:
        """A store that vanishes when it is closed."""
        options = options or StorageOptions(durability=Durability.OFF)
        return cls(Engine.open(MemoryEnv(), "memory", options), limits, is_in_memory=True)

    @property
    def is_read_only(self) -> bool:
        return self._engine.is_read_only

    def refresh(self) -> bool:
        """Move a read-only store on to the present: whether there are new commits. Transactions
        that have their snapshot keep it. Any other store is always there: False."""
        return self._follower.refresh() if self._follower is not None else False

    def begin(
        self,
        isolation: IsolationLevel = IsolationLevel.SNAPSHOT,
        *,
        read_only: bool = False,
        durability: Durability | None = None,
        as_of: CommitToken | None = None,
    ) -> LocalTransaction:
        kind: Callable[..., LocalTransaction]
        if as_of is not None:
            # One moment for all statements, and nobody writes: that is what this level is.
            kind = LocalTransaction
        elif isolation is IsolationLevel.SERIALIZABLE:
            if self.is_read_only:
                raise errors.NotSupportedError(
                    "a database that is open read-only has no serializable transactions",
                    hint="it does not see what those who write have read; use snapshot",
                )
            kind = partial(SerializableTransaction, graph=self._graph)
        else:
            kind = _KINDS[isolation]
        with self._mutex:
            self._check_usable()
            transaction = kind(
                next(self._ids),
                self._engine,
                self._locks,
                is_read_only=read_only or self.is_read_only or as_of is not None,
                durability=durability,
                max_bytes=self._limits.max_transaction_bytes,
                take_snapshot=self._take_snapshot,
                on_end=self._forget,
                committer_of=self._committer_of,
            )
            if as_of is not None:
                self._show_past(transaction, as_of)
            self._open[transaction.id] = transaction
        return transaction

    def _show_past(self, transaction: LocalTransaction, as_of: int) -> None:
        """With the mutex held, under which compaction is told what is in use: between the check and
        the transaction's being known, nothing that it needs may go."""
        check_readable(
            as_of,
            oldest=max(self._collected_below, self._engine.oldest_readable()),
            newest=self._engine.visible_timestamp,
            in_use=self._snapshots_in_use(),
        )
        self._engine.keep_moment(as_of)
        if self._stamps_snapshots:
            # What had expired by then may be gone, but nothing more may go, while this one is open.
            transaction.snapshot_s = self._engine.now_s() - self._engine.retention_s
        transaction.snapshot = as_of

    @property
    def version(self) -> CommitToken:
        """The newest commit that everybody sees."""
        return CommitToken(self._engine.visible_timestamp)

    def token_at(self, second: float) -> CommitToken:
        """See `ferrisdb.txn.api.Store.token_at`."""
        check_past(second, self._engine.now_s())
        found = self._engine.version_at(second)
        if found is None:
            raise not_known(second, self._engine.oldest_readable())
        return CommitToken(found)

    def limits(self) -> StoreLimits:
        return StoreLimits(
            key_bytes=MAX_KEY_BYTES,
            value_bytes=MAX_VALUE_BYTES,
            transaction_bytes=self._limits.max_transaction_bytes,
            open_transactions=self._limits.max_open_transactions,
        )

    def ingest(self, pairs: Pairs, *, below: bytes | None = None) -> int:
        """Commit sorted data past the log; return how many pairs. See `Engine.ingest`.

        It is a transaction that writes each of the keys, and reads nothing. Once all is written
        to files it waits for open transactions that hold a key between the first and the last,
        and others that want one then wait for it. One that began to read before, and
        writes such a key later, gets SerializationFailure.

        Raises ReadOnlyStore; DeadlockDetected; LockNotAvailable where this thread holds such a
        key; CommitUnknown; and as `Engine.ingest`.
        """
        with self._mutex:
            if self._is_closed:
                raise errors.InterfaceError("the database is closed")
            owner = LockOwner(next(self._ids))
        write = BlindWrite(owner.id, self._engine, self._graph)

        def before_publish(first: bytes, last: bytes) -> None:
            # The smallest key above the last one ends the range.
            self._locks.acquire_range(owner, first, last + b"\0")
            write.begin(first, last + b"\0")

        try:
            count = self._engine.ingest(pairs, below=below, before_publish=before_publish)
            write.succeeded()
            return count
        except LogWriteFailed as failure:
            write.may_have_succeeded()
            raise errors.CommitUnknown(
                failure.message, transaction_id=owner.id, hint=failure.hint
            ) from failure
        except errors.Error:
            write.failed()
            raise
        finally:
            self._release(owner, write)

    def _release(self, owner: LockOwner, write: BlindWrite) -> None:
        try:
            write.end()
            self._locks.release_all(owner, None)
        except BaseException:
            # An interrupt. Nobody else knows of this owner, so nobody else would do it again.
            write.end()
            self._locks.release_all(owner, None)
            raise

    def lock_waits(self) -> list[LockWait]:
        """Every transaction that is asleep for a lock now."""
        return self._locks.waits()

    def cancel_wait(self, transaction_id: int) -> bool:
        """The statement that waits for a lock gets QueryCanceled. False when it does not wait."""
        return self._locks.cancel_wait(transaction_id)

    def open_transactions(self) -> list[OpenTransaction]:
        """Those that have not ended, in the order in which they were begun."""
        with self._mutex:
            return [each.described() for _, each in sorted(self._open.items())]

    def look_at(self, key: bytes) -> LookAtKey:
        """The key's versions, uncommitted values and locks."""
        with self._mutex:
            still_open = sorted(self._open.items())
        written = [(number, each.written(key)) for number, each in still_open]
        uncommitted = tuple((number, value) for number, found in written for value in found)
        return LookAtKey(tuple(self._engine.versions(key)), uncommitted, self._locks.look_at(key))

    def flush(self) -> None:
        """Write what is in memory to a table file."""
        self._engine.flush()

    @property
    def events(self) -> EventHub:
        """What the engine does on its own."""
        return self._engine.events

    def wait_until_compacted(self) -> None:
        """Return when compaction has nothing to do. Raises StorageError when it has stopped."""
        self._engine.wait_until_compacted()

    def checkpoint(self, folder: str) -> None:
        """See `Engine.checkpoint`. `folder` is on the disk, also where the store is not."""
        self._engine.checkpoint(folder, OsEnv() if self._is_in_memory else None)

    def pin_tables(self) -> PinnedTables:
        """See `Engine.pin_tables`."""
        return self._engine.pin_tables()

    @property
    def recovery_report(self) -> RecoveryReport | None:
        """What opening in `RecoveryMode.SALVAGE` has lost of a damaged log; None for nothing."""
        return self._engine.recovery_report

    def statistics(self) -> EngineStatistics:
        return self._engine.statistics()

    def close(self) -> None:
        with self._mutex:
            if self._is_closed:
                return
            self._is_closed = True
            still_open = list(self._open.values())
        self._locks.close()
        try:
            # First: were one rolled back here while its own thread commits it, others that commit, too,
            # would be told that it is over, and the engine would still write it.
            self._engine.close()
        finally:
            for transaction in still_open:
                transaction.rollback()

    def _check_usable(self) -> None:
        if self._is_closed:
            raise errors.InterfaceError("the database is closed")
        if len(self._open) >= self._limits.max_open_transactions:
            raise errors.TooManyTransactions(
                f"{self._limits.max_open_transactions} transactions are open, which is the limit",
                hint="look for transactions that were begun and neither committed nor rolled back;"
                " max_open_transactions sets the limit",
            )

    def _take_snapshot(self, transaction: LocalTransaction) -> int:
        # Read and registered in one step: between the two, the oldest snapshot could be
        # thought newer than this one, and what this one needs be thrown away.
        with self._mutex:
            if self._stamps_snapshots:
                transaction.snapshot_s = self._engine.now_s()
            transaction.snapshot = self._engine.visible_timestamp
            return transaction.snapshot

    def _snapshots_to_keep(self, retained_from: int) -> Snapshots:
        """For compaction: no transaction, open now or begun later, reads anywhere else."""
        with self._mutex:
            floor = min(self._engine.visible_timestamp, retained_from)
            # Whoever asks for the past from now on may not come below it.
            self._collected_below = max(self._collected_below, floor)
            return snapshots_to_keep(floor, self._snapshots_in_use())

    def _oldest_snapshot(self) -> int:
        """No transaction, open now or begun later, reads below this."""
        with self._mutex:
            return min(self._snapshots_in_use(), default=self._engine.visible_timestamp)

    def _oldest_snapshot_s(self) -> float:
        """No snapshot, in use now or taken later, was taken before this."""
        with self._mutex:
            now_s = self._engine.now_s()
            in_use = (each.snapshot_s for each in self._open.values() if each.snapshot is not None)
            return min(in_use, default=now_s)

    def _with_snapshots_in_use(self, publish: Callable[[Collection[int]], None]) -> None:
        # Under the lock under which snapshots are taken: one that was taken is among these, and
        # the next one is taken of what was published.
        with self._mutex:
            publish(set(self._snapshots_in_use()))

    def _snapshots_in_use(self) -> list[int]:
        """With the mutex held. A transaction at read committed lets go of its own without it."""
        return [at for each in self._open.values() if (at := each.snapshot) is not None]

    def _committer_of(self, timestamp: int) -> tuple[int | None, str]:
        """Which transaction that was, and its statement if it had but one."""
        # A copy: other threads add to it meanwhile.
        for committed_at, transaction_id, statement in reversed(self._last_commits.copy()):
            if committed_at == timestamp:
                return transaction_id, statement
        return None, ""

    def _forget(self, transaction: LocalTransaction, commit_timestamp: int | None) -> None:
        if commit_timestamp is not None:
            # Before the locks go: whoever waits for one wants to know.
            self._last_commits.append((commit_timestamp, transaction.id, transaction.only_statement))
        self._locks.release_all(transaction.lock_owner, commit_timestamp)
        with self._mutex:
            self._open.pop(transaction.id, None)

    def disown(self) -> None:
        """In a forked child: whoever held these mutexes at the fork is not there to let go."""
        self._mutex = threading.Lock()
        self._locks.disown()
        self._graph.disown()
