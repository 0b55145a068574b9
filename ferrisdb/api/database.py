"""A database in the hands of a Python program. Thread-safe; its transactions are not.

    db = ferrisdb.open("shop.ferris")
    db.execute("INSERT INTO account VALUES (?, ?)", (1, 100))     a transaction of its own
    with db.transaction() as tx: ...                              several statements in one
    db.run(move_money)                                            and again on a conflict

Each statement of `execute` and `query` runs in a session of its own, so any number of
threads may call them at once. What must hold together belongs into a transaction.

`run`, `attempts` and `transactional` run a transaction again when it met another one: see `retry`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ferrisdb.api.choices import (
    checked_path,
    checked_timeout,
    expiries_of,
    isolation_level,
    one_of,
    path_outside,
)
from ferrisdb.api.connection import Connection
from ferrisdb.api.engine import MEMORY, Lease, lease
from ferrisdb.api.retrying import Retrying
from ferrisdb.api.rows import Rows
from ferrisdb.api.statements import Parameters, Row, Statements
from ferrisdb.api.transaction import SQL_KEYS, Transaction, drain
from ferrisdb.errors import InvalidParameterValue, ProgrammingError
from ferrisdb.query.schema import Table
from ferrisdb.query.session import SessionStatus
from ferrisdb.storage.event_hub import Subscription
from ferrisdb.storage.events import Event
from ferrisdb.storage.options import CompactionStyle, Compression, Durability, MemtableKind, RecoveryMode
from ferrisdb.storage.salvage_report import RecoveryReport
from ferrisdb.storage.statistics import EngineStatistics
from ferrisdb.txn.api import CommitToken, IsolationLevel
from ferrisdb.txn.lock_waits import LockWait
from ferrisdb.txn.looking import LookAtKey, OpenTransaction

if TYPE_CHECKING:
    from ferrisdb.storage.backup import Progress
    from ferrisdb.storage.backup_store import Backup

T = TypeVar("T")


class Database(Retrying):
    """Made by `ferrisdb.open`."""

    def __init__(self, path: str, lease: Lease, isolation: IsolationLevel = IsolationLevel.SNAPSHOT) -> None:
        self.path = path
        self._lease = lease
        self._isolation = isolation

    def execute(self, sql: str, parameters: Parameters = ()) -> int:
        """Run one statement in a transaction of its own.

        The number of rows that it changed, or gave.
        """
        statements = self._statements()
        count = drain(statements, sql, parameters)
        _refuse_what_is_lost(statements)
        return count

    def execute_many(self, sql: str, rows: Iterable[Parameters]) -> int:
        """Run one statement with each of the parameters, all in one transaction."""
        return self._statements().run_many(sql, rows)

    @overload
    def query(self, sql: str, parameters: Parameters = ..., *, into: None = None) -> Rows[Row]: ...
    @overload
    def query(self, sql: str, parameters: Parameters = ..., *, into: Callable[..., T]) -> Rows[T]: ...
    def query(
        self, sql: str, parameters: Parameters = (), *, into: Callable[..., Any] | None = None
    ) -> Rows[Any]:
        """The rows of one statement, run in a transaction of its own.

        Its snapshot stays open until the rows are taken, closed or dropped.
        """
        statements = self._statements()
        result = statements.run(sql, parameters)
        _refuse_what_is_lost(statements)
        return Rows(statements, result, into)

    def begin(
        self,
        isolation: IsolationLevel | str | None = None,
        *,
        read_only: bool = False,
        durability: Durability | str | None = None,
        lock_timeout_s: float | None = None,
    ) -> Transaction:
        """A transaction that the caller ends with `commit` or `rollback`.

        It sees the database as it was when it was first used; at read committed, as it is when a
        statement begins. `isolation` and `durability`, which is what its commit waits for, are
        those that the database was opened with, if they are not said. After `lock_timeout_s` a wait
        for a lock ends in LockNotAvailable; without it, it ends with the wait.
        """
        level = self._isolation if isolation is None else isolation_level(isolation)
        return Transaction(
            Statements(self._lease, level),
            level,
            read_only,
            durability=one_of(Durability, durability, "durability"),
            lock_timeout_s=checked_timeout(lock_timeout_s),
        )

    def transaction(
        self,
        isolation: IsolationLevel | str | None = None,
        *,
        read_only: bool = False,
        durability: Durability | str | None = None,
        lock_timeout_s: float | None = None,
    ) -> Transaction:
        """For `with`: commits at the end of the block, or rolls back on an exception.

        A transaction that was ended inside of the block is left alone.
        """
        return self.begin(
            isolation, read_only=read_only, durability=durability, lock_timeout_s=lock_timeout_s
        )

    def snapshot(self, as_of: int | datetime | None = None) -> Transaction:
        """The database as it is now, or as it was: a read-only transaction, for `with`.

            with db.snapshot(as_of=datetime.now(UTC) - timedelta(hours=1)) as then:
                then.query("SELECT balance FROM account WHERE id = 1")

        `as_of` is a `version`, or a time, which is UTC where it does not say. All that is read, the
        tables' definitions included, is of that one moment, for as long as the snapshot is open.

        Raises PastNotKept (a SnapshotTooOld) for what is older than `retention_s` keeps, naming the
        oldest version that can be read; InvalidParameterValue for the future, and for a time of which
        nobody has noted the version.
        """
        self._lease.require_usable()
        store = self._lease.engine.store
        if as_of is None:
            version = store.version
        elif isinstance(as_of, datetime):
            from ferrisdb.query.past import seconds_of  # noqa: PLC0415

            version = store.token_at(seconds_of(as_of))
        elif type(as_of) is int:
            version = CommitToken(as_of)
        else:
            raise InvalidParameterValue(f"as_of is a version or a datetime, not {type(as_of).__name__}")
        level = IsolationLevel.SNAPSHOT
        return Transaction(Statements(self._lease, level), level, True, as_of=version)

    @property
    def version(self) -> int:
        """The number of the newest commit that everybody sees, for `snapshot(as_of=...)` and
        `AS OF VERSION`. It grows with each commit."""
        self._lease.require_usable()
        return self._lease.engine.store.version

    def connect(
        self, autocommit: bool = False, *, isolation: IsolationLevel | str | None = None
    ) -> Connection:
        """A PEP 249 connection to this database, also to one in memory."""
        level = self._isolation if isolation is None else isolation_level(isolation)
        return Connection(self._lease.another(), level, autocommit=autocommit)

    def tables(self) -> tuple[Table, ...]:
        """The tables that are there now, by name."""
        return self._statements().tables()

    @property
    def is_read_only(self) -> bool:
        return self._lease.engine.store.is_read_only

    def refresh(self) -> bool:
        """Where the database is open read-only: go on to the present. Whether there is something new.

        Transactions that have begun to read keep what they see; those that begin later see the
        new. Others in this process who have the path open read-only go on, too. Where the
        database is open to write it always is at the present. Raises Unavailable, CorruptionError,
        StorageError; what was open stays as it was.
        """
        self._lease.require_usable()
        return self._lease.engine.store.refresh()

    def ingest(self, pairs: Iterable[tuple[bytes, bytes]]) -> int:
        """Load sorted data: (key, value) with keys ascending, each once. Return how many.

        Faster than `put`, for the pairs go to table files at once, and not into the log. All of it
        is one commit, durable when this returns, with the `durability` of the database or not; it
        is there as a whole or not at all. What the keys had before is replaced. `pairs` is taken as
        it is written, and may be larger than memory.

        Waits for open transactions that have written a key between the first and the last.
        Raises InterfaceError, InvalidParameterValue, KeyTooLarge naming the position, from 0 on,
        of a bad pair, with nothing changed; DeadlockDetected; LockNotAvailable where this thread
        holds such a key; ReadOnlyStore; CommitUnknown; StorageError, DiskFull.
        """
        self._lease.require_usable()
        return self._lease.engine.store.ingest(pairs, below=SQL_KEYS)

    def lock_waits(self) -> list[LockWait]:
        """Every transaction that is asleep for a lock now, and for whom it waits."""
        self._lease.require_usable()
        return self._lease.engine.store.lock_waits()

    def cancel_wait(self, transaction_id: int) -> bool:
        """Put an end to a wait of `lock_waits`: its statement raises QueryCanceled. False when the
        transaction does not wait any more."""
        self._lease.require_usable()
        return self._lease.engine.store.cancel_wait(transaction_id)

    def open_transactions(self) -> list[OpenTransaction]:
        """Every transaction that has begun and not ended, with the snapshot that it reads."""
        self._lease.require_usable()
        return self._lease.engine.store.open_transactions()

    def look_at(self, key: bytes) -> LookAtKey:
        """All that is known of a key, for learning: the versions that are still kept, what open
        transactions have written to it, who has it locked, who waits. Also of keys of SQL's."""
        self._lease.require_usable()
        return self._lease.engine.store.look_at(key)

    def flush(self) -> None:
        """Write what is in memory to a table file."""
        self._lease.require_usable()
        self._lease.engine.store.flush()

    def wait_until_compacted(self) -> None:
        """Return when the background has put the table files into shape, as after a large load.

        Raises StorageError when it has stopped for an error.
        """
        self._lease.require_usable()
        self._lease.engine.store.wait_until_compacted()

    def checkpoint(self, path: str | PathLike[str]) -> None:
        """Make a database with the same contents in the folder `path`, absent or empty.

        It has every commit that had returned before; commits go on meanwhile. On the same file
        system the two share their table files, so it takes hardly any time or room.

        Raises FolderNotEmpty, or InvalidParameterValue where it would lie in the database, with
        nothing changed; StorageError, DiskFull.
        """
        self._lease.require_usable()
        folder = path_outside(path, self._lease.folder, "the database itself")
        self._lease.engine.store.checkpoint(folder)

    def backup(
        self,
        directory: str | PathLike[str],
        *,
        keep_last: int | None = None,
        progress: Progress | None = None,
    ) -> Backup:
        """Add a backup to the store `directory`, which is made if there is none.

        It has every commit that had returned before; commits go on meanwhile. Only tables that
        no earlier backup has are copied. `keep_last` then deletes all but so many of the newest.
        `progress(done_bytes, total_bytes)` is told of bytes as they are copied.

        Raises NotADatabase when `directory` is something else, InvalidParameterValue when it lies
        in the database, DatabaseLocked when another process writes to it, CorruptionError when a
        table is damaged, StorageError, DiskFull.
        The store's other backups stay as they were.
        """
        from ferrisdb.api.backups import backup  # noqa: PLC0415

        self._lease.require_usable()
        folder = path_outside(directory, self._lease.folder, "the database itself")
        return backup(self._lease.engine.store.pin_tables, folder, keep_last, progress)

    @property
    def recovery_report(self) -> RecoveryReport | None:
        """What opening with `recovery="salvage"` has lost of a damaged log; None for nothing."""
        self._lease.require_usable()
        return self._lease.engine.store.recovery_report

    def statistics(self) -> EngineStatistics:
        """What the storage engine holds and has done."""
        self._lease.require_usable()
        return self._lease.engine.store.statistics()

    def events(self, *, timeout_s: float | None = None, with_history: bool = False) -> Subscription:
        """What the storage engine does from now on, event by event: iterate, or `next_event()`.

            with db.events() as events:
                for event in events:
                    print(event)

        The iteration waits; it ends when the database is closed, and with `timeout_s` when
        nothing came for so long. `with_history` begins with what `event_history` holds. At most
        10,000 events wait to be taken: then the oldest are lost, and `events.dropped` counts them.

        The classes are in `ferrisdb.events`. Raises InvalidParameterValue, and ProgrammingError
        when a hundred subscriptions are open.
        """
        self._lease.require_usable()
        return self._lease.engine.store.events.subscribe(timeout_s=timeout_s, with_history=with_history)

    def event_history(self) -> tuple[Event, ...]:
        """The last 1000 events, oldest first; at first what recovery did."""
        self._lease.require_usable()
        return self._lease.engine.store.events.history()

    def close(self) -> None:
        """Roll back what is open; the last to close a path in the process closes its files.

        Fine when already closed. Raises InterfaceError when another thread is in a call.
        """
        self._lease.release()

    def __enter__(self) -> Database:
        self._lease.require_usable()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ferrisdb.Database {self.path!r}{' closed' if self._lease.is_released else ''}>"

    @property
    def _shared_with(self) -> object:
        return self._lease.engine

    def _statements(self) -> Statements:
        return Statements(self._lease, self._isolation)


def open(
    path: str | PathLike[str] = MEMORY,
    *,
    isolation: IsolationLevel | str = IsolationLevel.SNAPSHOT,
    read_only: bool = False,
    durability: Durability | str | None = None,
    sync_interval_ms: int | None = None,
    cache_bytes: int | None = None,
    memtable_bytes: int | None = None,
    block_bytes: int | None = None,
    memtable: MemtableKind | str | None = None,
    compaction: CompactionStyle | str | None = None,
    compression: Compression | str | None = None,
    expire: Mapping[bytes, float] | None = None,
    retention_s: float | None = None,
    recovery: RecoveryMode | str | None = None,
    max_transaction_bytes: int | None = None,
    max_open_transactions: int | None = None,
    idle_in_transaction_timeout_s: float | None = None,
) -> Database:
    """Open the database in the folder `path`, or create it. ":memory:" is always a new one.

    `isolation` is the level of transactions that do not say theirs: "read committed", "snapshot"
    (the default; also "repeatable read") or "serializable". It is this object's, others of the
    same path may have another.

    `read_only` reads the folder without locking or changing anything in it, also while another
    process writes it, and from a file system that cannot be written. What is seen is the moment
    of opening, until `refresh`. All that would write raises ReadOnlyStore.

    `durability` "full" (the default on disk) returns from a commit when it would survive a
    power cut. "normal" syncs in the background, so that a power cut takes at most the commits
    of the last `sync_interval_ms` (100); "off" leaves it all to the operating system. What a
    power cut leaves is always a prefix of the commits.

    What is in the files stays readable when these are others at the next opening: `memtable` is
    "sorted" (the default) or "skip list"; `compaction` is "leveled" (the default) or "tiered",
    which writes less and takes more space; `compression` of what is written from now on is
    "none" (the default), "zstd" or "lz4", and needs `ferrisdb[compression]`.

    `expire` gives prefixes of keys, as `put` takes them, and how many seconds after their
    commit the values may vanish: not exactly then, but when the files are tidied up.

    `retention_s` keeps the past: whatever was there within so many seconds can be read as it was
    then (`AS OF`, `db.snapshot`), by whoever opens the database as long as each opens it with
    a retention. Without it only what open transactions read is kept.

    `recovery` says what to do with a log whose end is not whole: "tolerate tail" (the default)
    cuts off what a crash has torn, "strict" refuses it, "salvage" also opens one that is damaged
    elsewhere, and `recovery_report` tells what is lost.

    `max_transaction_bytes` bounds what one transaction writes (TransactionTooLarge), and
    `max_open_transactions` how many there are (TooManyTransactions; 10,000). A transaction that
    was not used for `idle_in_transaction_timeout_s` is rolled back, so that others get its locks,
    and its next use raises IdleInTransactionTimeout; without it, it may stay open for ever.

    Opens of one path in a process share one engine.

    Raises DatabaseLocked when another process has the folder, NotADatabase when it is
    something else, or nothing that could be read, CorruptionError, FormatVersionError;
    ProgrammingError when the path is open in this process with other options.
    """
    options = {
        "durability": one_of(Durability, durability, "durability"),
        "sync_interval_ms": sync_interval_ms,
        "cache_bytes": cache_bytes,
        "memtable_bytes": memtable_bytes,
        "block_bytes": block_bytes,
        "memtable": one_of(MemtableKind, memtable, "memtable"),
        "compaction": one_of(CompactionStyle, compaction, "compaction style"),
        "compression": one_of(Compression, compression, "compression"),
        "expiries": None if expire is None else expiries_of(expire),
        "retention_s": retention_s,
        "recovery_mode": one_of(RecoveryMode, recovery, "recovery mode"),
        "max_transaction_bytes": max_transaction_bytes,
        "max_open_transactions": max_open_transactions,
        "idle_in_transaction_timeout_s": idle_in_transaction_timeout_s,
    }
    given = {name: value for name, value in options.items() if value is not None}
    level = isolation_level(isolation)
    checked = checked_path(path)
    return Database(checked, lease(checked, given, read_only=bool(read_only)), level)


def _refuse_what_is_lost(statements: Statements) -> None:
    if statements.has_own_settings:
        raise ProgrammingError(
            "SET in a call of its own sets nothing: each db.execute has a session of its own",
            hint="set it in a transaction or on a connection: db.transaction(), db.connect()",
        )
    if statements.status is not SessionStatus.IDLE:
        statements.close()
        raise ProgrammingError(
            "BEGIN in a call of its own begins nothing: each db.execute is its own transaction",
            hint="use `with db.transaction() as tx:`",
        )
