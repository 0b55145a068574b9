"""UPDATE: find the rows and their new values, then change them.

    targets     row key, stored row, new values     read to the end before the first write
    for each    decode, put the new values in, NOT NULL of what was assigned
                key unchanged   the row and the entries of touched indexes
                key changed     the row moves: all of it goes, all of it comes
    write       keys are checked for the statement as a whole (see `constraints`)

Reading the targets to the end first is what keeps a row that moves forward in an index
from being met again (the Halloween problem, found at IBM on 31 October 1976).

A row that is given the value it had is written all the same, and counted: a concurrent
writer of the row conflicts with it, as in PostgreSQL.

At read committed a row that was changed since the statement began is taken as it is now, with
WHERE and the new values computed anew (see `targets`).
"""

from __future__ import annotations

from ferrisdb.query import ast
from ferrisdb.query.catalog import CatalogView
from ferrisdb.query.change.constraints import check_not_null, not_null_positions
from ferrisdb.query.change.execution import Execution
from ferrisdb.query.change.foreign_keys import ForeignKeyKeeper, keeper_of_updates, tables_at_work
from ferrisdb.query.change.index_maintenance import TableLayout, table_layout
from ferrisdb.query.change.row_changes import RowChange, RowChanges
from ferrisdb.query.change.syntax import default_expression, indented
from ferrisdb.query.change.targets import TargetRow, find_columns, find_table, target_rows
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.plan import PlannedTargets, plan_target_rows
from ferrisdb.query.types import SqlType, Value


class PreparedUpdate:
    """An UPDATE for one schema and one signature of parameters. Threads may share it."""

    word = "UPDATE"

    def __init__(
        self,
        layout: TableLayout,
        plan: PlannedTargets,
        assigned: tuple[int, ...],
        keeper: ForeignKeyKeeper | None,
    ) -> None:
        """`assigned` are column positions, in the order of the plan's new values."""
        self.table_name = layout.table.name
        self.table_names = tables_at_work(self.table_name, keeper)
        self._keeper = keeper
        self._layout = layout
        self._plan = plan
        self._assigned = assigned
        self._not_null = tuple(p for p in not_null_positions(layout.table) if p in assigned)
        self._may_move = not set(assigned).isdisjoint(layout.table.primary_key)
        self._touched = tuple(index for index in layout.indexes if not index.columns.isdisjoint(assigned))
        keys = layout.key_columns
        self._assigned_keys = tuple((place, p) for place, p in enumerate(assigned) if p in keys)

    def run(self, execution: Execution) -> int:
        """Update the rows; how many they were."""
        log: list[RowChange] | None = None if self._keeper is None else []
        changes = RowChanges(self._layout, log)
        count = 0
        changes_keys = self._changes_keys if self._assigned_keys else None
        for batch in target_rows(self._plan, execution, changes_keys):
            for row_key, stored, *new_values in batch:
                self._change(changes, row_key, stored, new_values)
            count += len(batch)
        changes.write(execution.transaction)
        if self._keeper is not None and log:
            self._keeper.keep(log, execution)
        return count

    def _changes_keys(self, target: TargetRow) -> bool:
        """Whether the row, as the snapshot shows it, gets another primary or unique key."""
        _, stored, *new_values = target
        old = self._layout.row_codec.decode(stored)
        return any(new_values[place] != old[position] for place, position in self._assigned_keys)

    def explain(self) -> list[str]:
        return [f"Update on {self.table_name}", *indented(self._plan.explain())]

    def _change(self, changes: RowChanges, row_key: bytes, stored: bytes, new_values: list[Value]) -> None:
        layout = self._layout
        old = layout.row_codec.decode(stored)
        new = list(old)
        for target, value in zip(self._assigned, new_values, strict=True):
            new[target] = value
        check_not_null(layout.table, self._not_null, new)
        changes.change(row_key, stored, old, new, self._touched, self._may_move)


def prepare_update(statement: ast.Update, catalog: CatalogView, parameters: Parameters) -> PreparedUpdate:
    """Raises UndefinedTable, UndefinedColumn, DuplicateColumn, and what planning raises."""
    table = find_table(catalog, statement.table.name, statement.table.position)
    assigned = find_columns(table, [assignment.column for assignment in statement.assignments])
    new_values: list[tuple[ast.Expression, SqlType]] = []
    for target, assignment in zip(assigned, statement.assignments, strict=True):
        value, column = assignment.value, table.columns[target]
        if isinstance(value, ast.Default):
            value = default_expression(column.default_sql, value.position)
        new_values.append((value, column.type))
    plan = plan_target_rows(statement.table, statement.where, new_values, catalog, parameters)
    layout = table_layout(table)
    return PreparedUpdate(layout, plan, tuple(assigned), keeper_of_updates(layout, assigned, catalog))
