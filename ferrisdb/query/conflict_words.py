"""A refused transaction is told why in SQL's words: tables, keys, statements.

The layer below explains a conflict by bytes (`Conflict.explain`). Here the newest catalog says
what they mean, and the explanation becomes the `detail` of the error.
"""

from __future__ import annotations

from ferrisdb.errors import Error, RefusedForOthers
from ferrisdb.query.key_words import KeyWords
from ferrisdb.query.keyspace import SQL
from ferrisdb.query.shared_state import SharedState
from ferrisdb.txn.api import IsolationLevel, Store


def explain_in_words(error: BaseException, store: Store, shared: SharedState) -> None:
    """Put what its conflict was about into `error.detail`, if it is one about SQL's keys."""
    if not isinstance(error, RefusedForOthers) or error.conflict is None:
        return
    conflict = error.conflict
    if not any(step.what.lo.startswith(SQL) for step in conflict.steps):
        return
    try:
        transaction = store.begin(IsolationLevel.SNAPSHOT, read_only=True)
        try:
            tables = shared.catalog.view(transaction).tables()
        finally:
            transaction.rollback()
    except Error:
        # The store was closed meanwhile, or can't be read: the bytes have to do.
        return
    error.detail = conflict.explain(KeyWords(tables))
