"""Locks on rows: four strengths out of two plain locks on two keys.

A row has its key, and an identity beside it: the row's key and one zero byte. No row has such
a key, because no encoded key begins another one; it is never written, only locked. Whoever
touches what others may point at, the row's being there and its keys, takes the identity, too.

    strength         row         identity      taken by
    KEY SHARE        -           share         a foreign key's check of its parent
    SHARE            share       -
    NO KEY UPDATE    exclusive   -             UPDATE that leaves all keys alone; INSERT
    UPDATE           exclusive   exclusive     DELETE, UPDATE of a unique or primary key

Two requests wait for each other exactly where PostgreSQL's do (its manual, 13.3.2):

                     KEY SHARE   SHARE   NO KEY UPDATE   UPDATE
    KEY SHARE                                              x
    SHARE                                     x            x
    NO KEY UPDATE                   x         x            x
    UPDATE               x          x         x            x

That KEY SHARE exists is worth its key: many orders of one customer, each of which checks that
he is there, and an update of his balance do not get in each other's way. Before PostgreSQL
had it (9.3), they blocked, and two such transactions were a deadlock.

UPDATE takes both keys together: while it waits for the one it does not hold the other. Else who has
inserted a child and then updates the parent, or has updated a row and then deletes it, would find
half of the lock in the hands of somebody who waits for him.

At read committed a locked row may be newer than the statement's snapshot: `RowLocker` then
has the query look again at its newest version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ferrisdb.errors import LockNotAvailable, SerializationFailure
from ferrisdb.query.algebra.row_locking import KeptRow, RowLock
from ferrisdb.query.ast import LockStrength
from ferrisdb.query.types import Value
from ferrisdb.txn.api import IsolationLevel, Locked, LockMode, Transaction, Waiting

Run = Callable[[Any, Mapping[Any, Any], datetime], Iterator[list[tuple[Value, ...]]]]


def identity_key(row_key: bytes) -> bytes:
    """What stands for the row's being there, under the key it has."""
    return row_key + b"\0"


def row_pairs(row_keys: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
    """What UPDATE takes, for `Transaction.lock_pairs`."""
    return [(identity_key(row_key), row_key) for row_key in row_keys]


def lock_row(
    transaction: Transaction,
    row_key: bytes,
    strength: LockStrength,
    waiting: Waiting = Waiting.WAIT,
) -> Locked:
    """Hold the row, or skip it. Raises as `Transaction.lock` does.

    Under KEY SHARE nothing is said of changes: at any level `Transaction.get_newest` has the
    row as it is, or None when it is gone.
    """
    lock = transaction.lock
    if strength is LockStrength.KEY_SHARE:
        return lock([identity_key(row_key)], LockMode.SHARE, waiting, are_stored=False)
    if strength is LockStrength.SHARE:
        return lock([row_key], LockMode.SHARE, waiting)
    if strength is LockStrength.UPDATE:
        return transaction.lock_pairs(row_pairs([row_key]), waiting)
    return lock([row_key], LockMode.EXCLUSIVE, waiting)


class RowLocker:
    """Locks the rows of one run of a query. `recheck` compiles the query about one row."""

    def __init__(
        self,
        plan: tuple[Sequence[RowLock], Sequence[KeptRow], Callable[[], Run]],
        transaction: Transaction,
        parameters: Mapping[Any, Any],
        now: datetime,
    ) -> None:
        self._locks, self._kept, self._recheck = plan
        self._transaction = transaction
        self._parameters = parameters
        self._now = now
        self._is_read_committed = transaction.isolation is IsolationLevel.READ_COMMITTED

    def lock(
        self,
        shown: tuple[Value, ...],
        stored: Sequence[tuple[bytes, bytes]],
        kept: Sequence[tuple[Value, ...]],
    ) -> tuple[Value, ...] | None:
        """Lock the row; what is shown of it, anew if it has changed. None: it is passed over.

        `stored` are key and bytes in each locked table, `kept` the values of the others.
        """
        newest: list[tuple[bytes, bytes]] = []
        has_changed = False
        for lock, (row_key, value) in zip(self._locks, stored, strict=True):
            locked = self._lock_one(lock, row_key)
            if locked.skipped:
                return None
            if locked.changed or lock.strength is LockStrength.KEY_SHARE:
                now_stored = self._transaction.get_newest(row_key)
                if now_stored is None:
                    self._refuse_gone()
                    return None
                has_changed = has_changed or now_stored != value
                newest.append((row_key, now_stored))
            else:
                newest.append((row_key, value))
        # Above read committed the row is shown as the snapshot has it, whatever KEY SHARE met.
        if not has_changed or not self._is_read_committed:
            return shown
        return self._look_again(newest, kept)

    def _lock_one(self, lock: RowLock, row_key: bytes) -> Locked:
        try:
            return lock_row(self._transaction, row_key, lock.strength, lock.waiting)
        except LockNotAvailable as error:
            if lock.waiting is Waiting.NOWAIT:
                raise LockNotAvailable(
                    f'could not obtain lock on row in table "{lock.source.table.name}"', hint=error.hint
                ) from None
            raise

    def _refuse_gone(self) -> None:
        if not self._is_read_committed:
            raise SerializationFailure(
                f"could not serialize: a row that transaction {self._transaction.id} wants to lock"
                " was deleted since its snapshot was taken",
                hint="roll back and run the transaction again",
            )

    def _look_again(
        self, newest: Sequence[tuple[bytes, bytes]], kept: Sequence[tuple[Value, ...]]
    ) -> tuple[Value, ...] | None:
        given: dict[Any, Any] = dict(self._parameters)
        for lock, row in zip(self._locks, newest, strict=True):
            given[lock.source] = (row,)
        for leaf, values in zip(self._kept, kept, strict=True):
            is_absent = leaf.is_optional and all(value is None for value in values)
            given[leaf] = () if is_absent else (values,)
        for rows in self._recheck()(self._transaction, given, self._now):
            return rows[0]
        return None
