"""Two keys locked as one: neither is held while the other is waited for.

    T1 holds b, and will want a        T2 wants a and b

    one after the other    T2 holds a, waits for b; T1 waits for a: a deadlock
    as a pair              T2 waits for b, with empty hands; T1 takes a and goes on

    a is free, take it; is b?  yes: done
                               no: give a back, wait for b; is a free now?  and so on

To give a lock back before the end is allowed because nothing was read or written under it.

Limits: who waits for both may have to wait for each more than once, while others come and go.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from ferrisdb.storage.yield_points import reach
from ferrisdb.txn.api import LockMode, Waiting
from ferrisdb.txn.locks import LockOwner, LockTable

Pair = tuple[bytes, bytes]

PAIRS_AT_A_TIME = 250
"""That are locked under one mutex: others wait for it, too."""


def hold_pairs(locks: LockTable, owner: LockOwner, pairs: Sequence[Pair], waiting: Waiting) -> list[Pair]:
    """Lock both keys of each whole: the pairs that were skipped. Raises as `LockTable.acquire` does."""
    owner.thread_id = threading.get_ident()
    skipped: list[Pair] = []
    for start in range(0, len(pairs), PAIRS_AT_A_TIME):
        batch = iter(pairs[start : start + PAIRS_AT_A_TIME])
        reach("lock", pairs[start][0])
        while (taken := locks.acquire_free_pairs(owner, batch)) is not None:
            if not _acquire(locks, owner, taken, waiting):
                skipped.append(taken)
        reach("locked", pairs[start][0])
    return skipped


def _acquire(locks: LockTable, owner: LockOwner, pair: Pair, waiting: Waiting) -> bool:
    first, second = pair
    while True:
        is_new = first not in owner.exclusive_keys
        if not locks.acquire(owner, first, LockMode.EXCLUSIVE, waiting):
            return False
        if locks.acquire(owner, second, LockMode.EXCLUSIVE, Waiting.SKIP_LOCKED):
            return True
        if not is_new:
            return locks.acquire(owner, second, LockMode.EXCLUSIVE, waiting)
        _give_back(locks, owner, first)
        first, second = second, first


def _give_back(locks: LockTable, owner: LockOwner, key: bytes) -> None:
    try:
        locks.give_back(owner, key)
    except BaseException:
        # Ctrl-C in the middle: done by half, whoever waits for the key would never be woken.
        locks.give_back(owner, key)
        raise
