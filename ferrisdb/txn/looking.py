"""What a shell, a monitor or a lesson sees of transactions at work, as data.

    open_transactions()    who is there, at which level, and which snapshot is in use
    look_at(key)           the key's versions, what is written and not committed, locks

Nothing here waits, and nothing is held still: what is looked at goes on meanwhile. Each part is
right by itself; two parts may be of two moments. Who shows them together does so while the
sessions rest, as the shell does.
"""

from __future__ import annotations

from ferrisdb.immutable import immutable
from ferrisdb.storage.version_chain import StoredVersion
from ferrisdb.txn.api import IsolationLevel
from ferrisdb.txn.lock_waits import KeyLocks


@immutable
class OpenTransaction:
    """One that was begun and has not ended."""

    id: int
    thread_id: int
    """Of the thread that began it, or asked for its last lock."""
    isolation: IsolationLevel
    is_read_only: bool
    snapshot: int | None
    """It sees the commits up to this one. None before its first use, and at read committed between
    statements."""
    statement: str
    """The text of the one that runs, or ran last; "" where it is used without SQL."""


@immutable
class LookAtKey:
    """What is known of one key."""

    versions: tuple[StoredVersion, ...]
    """Newest first; what was collected is not among them."""
    uncommitted: tuple[tuple[int, bytes | None], ...]
    """Id of an open transaction, and what it has written to the key; None deletes it."""
    locks: KeyLocks
