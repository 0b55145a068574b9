"""What a prepared statement needs to run once."""

from __future__ import annotations

from datetime import datetime

from ferrisdb.immutable import immutable
from ferrisdb.query.change.row_ids import RowIdAllocator
from ferrisdb.query.parameters import Parameters
from ferrisdb.txn.api import Transaction


@immutable
class Execution:
    """`now` is the statement's clock: the same for every row."""

    transaction: Transaction
    parameters: Parameters
    now: datetime
    row_ids: RowIdAllocator
