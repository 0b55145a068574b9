"""Who waits for whom, as data: what a shell, a test or a monitor asks the lock table.

A wait is the only reason why a statement of FerrisDB stands still until another session does
something. So a thread that is in a statement either works or is in this list, and a test that
plays several sessions need not guess from the time that has passed.
"""

from __future__ import annotations

from ferrisdb.conflict import KeyRange
from ferrisdb.immutable import immutable


@immutable
class LockWait:
    """One transaction that is asleep for a lock, at the moment of asking."""

    transaction_id: int
    thread_id: int
    """Of the thread that began the transaction, as `threading.get_ident` gives it."""
    waits_for: tuple[int, ...]
    """The ids of the transactions that it waits for, ascending: holders, and those in front."""
    timeout_s: float | None
    """How long it waits at most; None is for ever."""
    what: KeyRange
    """The key, or the range, that it wants."""


@immutable
class KeyLocks:
    """The locks on one key, at the moment of asking: ids of transactions."""

    exclusive: tuple[int, ...]
    """Who holds it alone, or a range with it."""
    sharing: tuple[int, ...]
    waiting: tuple[int, ...]
    """In the order in which they will have it."""
