"""What a prepared statement needs to run once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ferrisdb.query.change.row_ids import RowIdAllocator
from ferrisdb.query.parameters import Parameters
from ferrisdb.txn.api import Transaction


@dataclass(frozen=True, slots=True)
class Execution:
    """`now` is the statement's clock: the same for every row."""

    transaction: Transaction
    parameters: Parameters
    now: datetime
    row_ids: RowIdAllocator
