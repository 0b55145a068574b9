"""The seam: what SQL and Python know of a transaction.

    query, api                 speak of transactions, never of timestamps or files
        |
    Store, Transaction         this module
        |
    LocalStore                 FerrisDB's own MVCC over its own storage engine
    (a distributed store)      brings its own MVCC; the driver is the manager

FerrisDB's MVCC is never run on top of another one. Every store passes the same contract
tests (tests/txn/test_store_contract.py).

Keys and values are bytes. Keys are ordered as bytes. Keys that begin with 0xFF belong to
the SQL layer (as FoundationDB keeps them for its system data); the rest are the user's.

A transaction is used by one thread at a time. Different transactions run side by side.

A transaction is a row of statements. What a statement sees depends on the level:

    read committed    BEGIN   [ s1 reads at 5 ]   [ s2 reads at 9 ]   COMMIT
    snapshot          BEGIN   [ s1 reads at 5 ]   [ s2 reads at 5 ]   COMMIT

Whoever uses a transaction says where a statement begins (`begin_statement`).
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Sequence
from typing import NewType, Protocol

from ferrisdb.immutable import immutable
from ferrisdb.storage.options import Durability

Savepoint = NewType("Savepoint", int)
CommitToken = NewType("CommitToken", int)
"""Opaque and ordered: the later of two commits has the larger token."""

Batch = tuple[Sequence[bytes], Sequence[bytes]]
"""Some keys in order, and their values in the same order."""


class IsolationLevel(enum.Enum):
    READ_COMMITTED = "read committed"
    SNAPSHOT = "snapshot"
    SERIALIZABLE = "serializable"


class LockMode(enum.Enum):
    SHARE = "share"
    """Nobody may write the key until this transaction ends; others may share it."""
    EXCLUSIVE = "exclusive"
    """Nobody else may share or write the key until this transaction ends."""


class Waiting(enum.Enum):
    """What `lock` does about a key that another open transaction holds."""

    WAIT = "wait"
    NOWAIT = "nowait"
    """Raise LockNotAvailable."""
    SKIP_LOCKED = "skip locked"
    """Leave it out and say so."""


@immutable
class Locked:
    """What `lock` met. Both are empty as a rule."""

    skipped: tuple[bytes, ...] = ()
    """Keys that others hold, and that were left out. Only with SKIP_LOCKED."""
    changed: tuple[bytes, ...] = ()
    """Keys, now held, that others have committed after the statement's snapshot. Only at read
    committed: whoever chose them by what that snapshot shows looks again, with `get_newest`."""


@immutable
class StoreLimits:
    key_bytes: int
    value_bytes: int
    transaction_bytes: int
    open_transactions: int


class Transaction(Protocol):
    """One transaction: a snapshot of the whole store, and changes that only it sees.

    The snapshot is taken at the first read, write or lock, not at begin. At read committed each
    statement has its own.
    """

    lock_timeout_s: float | None
    """How long a write or lock waits for others before it raises LockNotAvailable. None: for
    ever."""

    @property
    def id(self) -> int: ...

    @property
    def isolation(self) -> IsolationLevel: ...

    @property
    def is_read_only(self) -> bool: ...

    @property
    def durability(self) -> Durability | None:
        """What its commit waits for; None, what the store was told."""

    @property
    def is_used(self) -> bool:
        """Whether anything was read, written or locked in it, or a statement begun."""

    def forbid_writes(self) -> None:
        """Read-only from here on. What it has written stays written."""

    @property
    def is_open(self) -> bool:
        """False once committed or rolled back, by whatever way."""

    def begin_statement(self, text: str = "") -> None:
        """A new statement begins.

        At read committed the next read takes a new snapshot; a scan that was asked for before
        goes on in its own. At every level `text` names the statement where a conflict is
        explained later.
        """

    def get(self, key: bytes) -> bytes | None:
        """The value in this snapshot, own writes included. None when there is none."""

    def get_newest(self, key: bytes) -> bytes | None:
        """The own write, else the newest committed value. For a key that this transaction has
        locked it stays that; at snapshot and above it is then what `get` gives: the lock has
        proved that nothing newer exists."""

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """`get` of each, in one round trip where the store is far away."""

    def scan(
        self, lo: bytes, hi: bytes | None, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) with lo <= key < hi in key order; `hi` None is the end.

        Own writes made before the call are included; those made while the iterator is
        being taken may or may not be.
        """

    def scan_batches(self, lo: bytes, hi: bytes | None, *, reverse: bool = False) -> Iterator[Batch]:
        """As `scan`, many keys at a time: the fast way over many rows."""

    def put(self, key: bytes, value: bytes) -> None:
        """Write. Waits for another open transaction that holds the key.

        Raises SerializationFailure when a transaction that this snapshot does not see has
        committed the key; DeadlockDetected; LockNotAvailable; ReadOnlyTransaction;
        TransactionTooLarge; KeyTooLarge. A retryable error has rolled the transaction back,
        so that those who wait for its locks go on; after any other it is still open.

        At read committed a newer commit of the key is no error: it is overwritten.
        """

    def delete(self, key: bytes) -> None:
        """As `put`. Deleting what is not there is no error."""

    def delete_range(self, lo: bytes, hi: bytes | None) -> None:
        """Delete all keys with lo <= key < hi; `hi` None is the end. An empty range is no error.

        It costs the same however many keys there are. What this transaction has put into the
        range goes, too; what it puts there later stays.

        The whole range counts as written, keys that are not there included. It waits for every
        other open transaction that has written or locked a key of it, and until this one ends
        others wait who write or lock one. Raises as `put` does: SerializationFailure when a
        transaction that this snapshot does not see has committed anything in the range;
        TransactionTooLarge, now or at commit, when too many deleted ranges are alive.
        """

    def lock(
        self,
        keys: Collection[bytes],
        mode: LockMode = LockMode.EXCLUSIVE,
        waiting: Waiting = Waiting.WAIT,
        *,
        are_stored: bool = True,
    ) -> Locked:
        """Hold the keys until the end without writing them. Raises as `put` does.

        With NOWAIT, where it would have to wait, LockNotAvailable; with SKIP_LOCKED such keys are
        left out. Keys that were reached before an error stay held. They are taken in the order that
        is given: who gives them in one order for all can't close a circle. `are_stored` False
        promises that nothing is ever written under them: they are names, to be locked only.

        A SHARE lock outlives its transaction in one way: once that has committed, a
        transaction with an older snapshot can no longer write the key
        (SerializationFailure). So what was read under SHARE stays true for the reader. Writers
        at read committed have no older snapshot: they look again before they write.
        """

    def lock_pairs(self, pairs: Sequence[tuple[bytes, bytes]], waiting: Waiting = Waiting.WAIT) -> Locked:
        """Hold both of each pair, a name and a key, as `lock` does; of a skipped pair, neither.

        While it waits for the one it does not hold the other, if it did not before. So who holds
        one of them may take the other, and that is no deadlock. `Locked` speaks of the keys.
        """

    def claim(self, keys: Collection[bytes]) -> tuple[bytes, ...]:
        """Hold keys that this transaction means to create; those among them that are there already,
        by its own writes, in its snapshot, or committed since by others.

        To write the latter is a duplicate, not a conflict to retry. Raises as `put` does; at
        serializable SerializationFailure for what was committed since.
        """

    def savepoint(self) -> Savepoint:
        """A point to come back to."""

    def rollback_to(self, savepoint: Savepoint) -> None:
        """Undo the writes made since. The savepoint itself stays. Locks stay held."""

    def commit(self) -> CommitToken:
        """All or nothing, durable as was asked for at begin, visible when it returns.

        Raises CommitUnknown when the disk failed in the middle. On any error the
        transaction is over.
        """

    def rollback(self) -> None:
        """Undo everything. Fine on a transaction that is already over."""


class Store(Protocol):
    """Something that transactions run on. Thread-safe."""

    @property
    def is_read_only(self) -> bool:
        """Whether every transaction is read-only: what writes raises ReadOnlyStore."""

    def begin(
        self,
        isolation: IsolationLevel = IsolationLevel.SNAPSHOT,
        *,
        read_only: bool = False,
        durability: Durability | None = None,
        as_of: CommitToken | None = None,
    ) -> Transaction:
        """`durability` is what its commit waits for; None, what the store was told.

        It is said here and not at commit because who ends a transaction is often not who wrote
        it: a with block, a retry, a statement of its own.

        `as_of` gives a read-only transaction on the store as it was when that commit was the newest
        one. It reads at that one moment, whatever `isolation` is.

        Raises NotSupportedError for a level that this store does not have; PastNotKept and
        InvalidParameterValue for a moment that is kept no more, or is still to come.
        """

    @property
    def version(self) -> CommitToken:
        """The newest commit that everybody sees."""

    def token_at(self, second: float) -> CommitToken:
        """The newest commit that everybody saw then, in seconds since 1970.

        Raises InvalidParameterValue for the future, and for a moment of which it is not known.
        """

    def limits(self) -> StoreLimits: ...

    def close(self) -> None:
        """Roll back what is open, then let go of every file. Fine when already closed."""
