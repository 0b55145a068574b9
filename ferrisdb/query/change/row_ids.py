"""Hidden row ids: the keys of rows whose table has no primary key.

    key of such a row = row_prefix(table) + row id, 8 bytes big-endian, from 1

One allocator serves all sessions of an open database. It is not transactional: an id that
was handed out never comes again, also when its transaction is rolled back, so two open
transactions can't meet on a row they both believe new. Gaps are fine.

The first time a table is asked for, its largest stored id is looked up with a scan from the
end. That snapshot may be older than rows of other transactions, yet no id can be given
twice: every insert of this process goes through the allocator, so if the table is unknown
here, nobody has inserted since the database was opened, and any snapshot shows all its
rows. The lock is held during that scan, so two first users can't both start from it.

Ids of dropped tables are never forgotten: the DROP may be rolled back.

Limits: one process writes a database, as the local store ensures. A store shared by many
processes would need blocks of ids taken from a key.
"""

from __future__ import annotations

import threading

from ferrisdb.query.keyspace import row_prefix
from ferrisdb.txn.api import Transaction

ROW_ID_BYTES = 8
MAX_ROW_ID = (1 << 64) - 1


class RowIdAllocator:
    """Thread-safe. One for each open database."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next: dict[int, int] = {}

    def take(self, transaction: Transaction, table_id: int, count: int) -> int:
        """The first of `count` ids in a row that nobody else gets."""
        with self._lock:
            first = self._next.get(table_id)
            if first is None:
                first = _largest_row_id(transaction, table_id) + 1
            self._next[table_id] = first + count
            return first


def encode_row_id(row_id: int) -> bytes:
    return row_id.to_bytes(ROW_ID_BYTES, "big")


def _largest_row_id(transaction: Transaction, table_id: int) -> int:
    prefix = row_prefix(table_id)
    end = prefix + MAX_ROW_ID.to_bytes(ROW_ID_BYTES, "big") + b"\x00"
    for key, _ in transaction.scan(prefix, end, reverse=True, limit=1):
        return int.from_bytes(key[len(prefix) :], "big")
    return 0
