"""What a statement changes: its table, its columns and its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

from ferrisdb.errors import DuplicateColumn, UndefinedColumn, UndefinedTable
from ferrisdb.query import ast
from ferrisdb.query.catalog import CatalogView
from ferrisdb.query.change.execution import Execution
from ferrisdb.query.plan import PlannedTargets
from ferrisdb.query.row_locks import row_pairs
from ferrisdb.query.schema import Table
from ferrisdb.query.types import Value
from ferrisdb.query.values.suggest import did_you_mean
from ferrisdb.txn.api import IsolationLevel

TargetRow = tuple[bytes, bytes, *tuple[Value, ...]]
"""Row key, stored row, and the new values in the order of the assignments."""


def target_rows(
    plan: PlannedTargets, execution: Execution, changes_keys: Callable[[TargetRow], bool] | None = None
) -> Iterator[list[TargetRow]]:
    """What `plan_target_rows` planned, in batches. `changes_keys` tells of which rows the statement
    takes the identity, too; None: of none.

    At read committed the rows are locked here, and those that others have changed since the
    statement began are looked at again as they are now: some are gone, some qualify no more.
    """
    rows = plan.run(execution.transaction, execution.parameters, execution.now)
    batches = cast("Iterator[list[TargetRow]]", rows)
    if execution.transaction.isolation is IsolationLevel.READ_COMMITTED:
        return (_locked(plan, batch, execution, changes_keys) for batch in batches)
    return batches


def _locked(
    plan: PlannedTargets,
    batch: list[TargetRow],
    execution: Execution,
    changes_keys: Callable[[TargetRow], bool] | None,
) -> list[TargetRow]:
    transaction = execution.transaction
    changed: set[bytes] = set()
    others = batch
    if changes_keys is not None:
        going = [row[0] for row in batch if changes_keys(row)]
        changed.update(transaction.lock_pairs(row_pairs(going)).changed)
        taken = set(going)
        others = [row for row in batch if row[0] not in taken]
    changed.update(transaction.lock([row[0] for row in others]).changed)
    if not changed:
        return batch
    targets: list[TargetRow] = []
    for target in batch:
        row: object = target
        if target[0] in changed:
            stored = transaction.get_newest(target[0])
            if stored is None:
                continue
            row = plan.look_again((target[0], stored), transaction, execution.parameters, execution.now)
        if row is not None:
            targets.append(cast("TargetRow", row))
    return targets


def find_table(catalog: CatalogView, name: str, position: int) -> Table:
    """Raises UndefinedTable."""
    table = catalog.table(name)
    if table is None:
        raise UndefinedTable(
            f'table "{name}" does not exist',
            position=position,
            hint=did_you_mean(name, [known.name for known in catalog.tables()]),
        )
    return table


def find_columns(table: Table, names: Sequence[ast.Name]) -> list[int]:
    """Positions of the named columns, each at most once. Raises UndefinedColumn, DuplicateColumn."""
    found: list[int] = []
    for name in names:
        position = find_column(table, name)
        if position in found:
            raise DuplicateColumn(f'column "{name.text}" is named more than once', position=name.position)
        found.append(position)
    return found


def find_column(table: Table, name: ast.Name) -> int:
    position = table.column_position(name.text)
    if position is None:
        raise UndefinedColumn(
            f'column "{name.text}" of table "{table.name}" does not exist',
            position=name.position,
            hint=did_you_mean(name.text, [column.name for column in table.columns]),
        )
    return position
