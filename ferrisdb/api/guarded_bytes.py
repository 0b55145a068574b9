"""Ordered bytes of a transaction that another thread may end while it is idle.

Each operation is a call that the idle watch waits for (see `idle_watch`): otherwise the watch
could let go of all locks while a `put` is about to take one, and nobody would ever let go of that.
Where no idle timeout is set operations go to the store's transaction itself, and save the guard.

A scan that is being taken is no use of the transaction: where to look was settled at the call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ferrisdb.api.statements import Statements
from ferrisdb.txn.api import Transaction


class GuardedBytes:
    """The operations on bytes of `ferrisdb.txn.api.Transaction`."""

    def __init__(self, transaction: Transaction, statements: Statements) -> None:
        self._transaction = transaction
        self._statements = statements

    def get(self, key: bytes) -> bytes | None:
        with self._statements.guard:
            return self._usable().get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        with self._statements.guard:
            return self._usable().get_many(keys)

    def put(self, key: bytes, value: bytes) -> None:
        with self._statements.guard:
            self._usable().put(key, value)

    def delete(self, key: bytes) -> None:
        with self._statements.guard:
            self._usable().delete(key)

    def delete_range(self, lo: bytes, hi: bytes | None) -> None:
        with self._statements.guard:
            self._usable().delete_range(lo, hi)

    def scan(
        self, lo: bytes, hi: bytes | None, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        with self._statements.guard:
            return self._usable().scan(lo, hi, reverse=reverse, limit=limit)

    def _usable(self) -> Transaction:
        self._statements.check_not_ended_by_force()
        return self._transaction
