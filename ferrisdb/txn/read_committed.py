"""Read committed: each statement sees what was committed when it began.

    statement 1                 statement 2
    reads at 5                  reads at 9
    |--- scan ------|           |---- get --- put ----|
          ^ commit 7                    ^ commit 11: not seen; may be overwritten

A statement's snapshot is taken at its first read, write or lock. `begin_statement` lets go of
the last one: garbage collection need not spare it any more. A scan that is still being taken
needs none: it holds the memtables and tables that it reads, whatever becomes of them.

A write waits for the transaction that holds its key and then goes on, whatever that one has
committed: no first updater wins, and no trace of a share lock stops it. So whoever computes a
new value from an old one has to lock the key first, ask what has `changed`, and look at it
again with `get_newest`; SQL does that for each row. Who does not has a lost update, which is
what the level allows (Berenson et al., "A Critique of ANSI SQL Isolation Levels", 1995).

Limits: the snapshot of a transaction's last statement is in use until the next one begins,
or the transaction ends.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ferrisdb.txn.api import IsolationLevel, Locked, LockMode, Waiting
from ferrisdb.txn.local_transaction import LocalTransaction


class ReadCommittedTransaction(LocalTransaction):
    """See `ferrisdb.txn.api.Transaction`."""

    isolation = IsolationLevel.READ_COMMITTED

    def begin_statement(self, text: str = "") -> None:
        super().begin_statement(text)
        self.snapshot = None

    def lock(
        self,
        keys: Collection[bytes],
        mode: LockMode = LockMode.EXCLUSIVE,
        waiting: Waiting = Waiting.WAIT,
        *,
        are_stored: bool = True,
    ) -> Locked:
        locked = super().lock(keys, mode, waiting, are_stored=are_stored)
        if not are_stored:
            return locked
        held = [key for key in keys if key not in locked.skipped] if locked.skipped else keys
        return Locked(locked.skipped, self._changed(held))

    def lock_pairs(self, pairs: Sequence[tuple[bytes, bytes]], waiting: Waiting = Waiting.WAIT) -> Locked:
        skipped = super().lock_pairs(pairs, waiting).skipped
        return Locked(skipped, self._changed([key for _, key in pairs if key not in skipped]))

    def _changed(self, held: Collection[bytes]) -> tuple[bytes, ...]:
        # Behind the waiting: where this is the statement's first use, its snapshot has it all.
        snapshot = self._reads_at()
        return tuple(key for key in held if self._engine.newest_timestamp(key, snapshot))

    def _check_first_updater(self, key: bytes, mode: LockMode) -> None:
        """Whoever commits last has the last word."""

    def claim(self, keys: Collection[bytes]) -> tuple[bytes, ...]:
        self.lock(keys)
        return tuple(key for key in keys if self.get_newest(key) is not None)

    def _check_share_traces(self, keys: Collection[bytes]) -> None:
        """As with a key."""

    def _check_first_updater_in(self, lo: bytes, hi: bytes | None) -> None:
        """As with a key."""
