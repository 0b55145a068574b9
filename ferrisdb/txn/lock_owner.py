"""Who holds locks and who waits for one, as the lock table keeps them.

    LockOwner   one transaction: what it holds, and the one thing that it waits for
    Waiter      its place in the queue of a key, and the gate that it sleeps behind

All of it is changed under the mutex of the table (`locks`), but for the sets of keys and the
ranges, which only the owner's thread asks of outside of it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ferrisdb import errors
from ferrisdb.txn.api import LockMode

if TYPE_CHECKING:
    from ferrisdb.txn.range_locks import RangeWaiter


class LockOwner:
    """A transaction, as the lock table sees it.

    `lock_timeout_s` is how long one wait may take, None for ever. `statement` is the text of
    what it is doing, for whoever reads of a deadlock.
    """

    __slots__ = (
        "exclusive_keys",
        "id",
        "lock_timeout_s",
        "ranges",
        "shared_keys",
        "statement",
        "thread_id",
        "waiting",
    )

    def __init__(self, transaction_id: int) -> None:
        self.id = transaction_id
        self.thread_id = threading.get_ident()
        self.exclusive_keys: set[bytes] = set()
        self.shared_keys: set[bytes] = set()
        self.ranges: list[tuple[bytes, bytes | None]] = []
        self.waiting: Waiter | RangeWaiter | None = None
        self.lock_timeout_s: float | None = None
        self.statement = ""


class Waiter:
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
