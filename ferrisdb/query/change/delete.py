"""DELETE: find the rows, then remove them with their index entries.

As in UPDATE the targets are read to the end before the first write.
"""

from __future__ import annotations

from ferrisdb.query import ast
from ferrisdb.query.catalog import CatalogView
from ferrisdb.query.change.execution import Execution
from ferrisdb.query.change.foreign_keys import ForeignKeyKeeper, keeper_of_deletions, tables_at_work
from ferrisdb.query.change.index_maintenance import TableLayout, table_layout
from ferrisdb.query.change.row_changes import RowChange, RowChanges
from ferrisdb.query.change.syntax import indented
from ferrisdb.query.change.targets import find_table, target_rows
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.plan import PlannedTargets, plan_target_rows


class PreparedDelete:
    """A DELETE for one schema and one signature of parameters. Threads may share it."""

    word = "DELETE"

    def __init__(self, layout: TableLayout, plan: PlannedTargets, keeper: ForeignKeyKeeper | None) -> None:
        self.table_name = layout.table.name
        self.table_names = tables_at_work(self.table_name, keeper)
        self._keeper = keeper
        self._layout = layout
        self._plan = plan

    def run(self, execution: Execution) -> int:
        """Delete the rows; how many they were."""
        log: list[RowChange] | None = None if self._keeper is None else []
        changes = RowChanges(self._layout, log)
        count = 0
        for batch in target_rows(self._plan, execution, lambda _: True):
            for row_key, stored, *_ in batch:
                changes.remove(row_key, stored)
            count += len(batch)
        changes.write(execution.transaction)
        if self._keeper is not None and log:
            self._keeper.keep(log, execution)
        return count

    def explain(self) -> list[str]:
        return [f"Delete on {self.table_name}", *indented(self._plan.explain())]


def prepare_delete(statement: ast.Delete, catalog: CatalogView, parameters: Parameters) -> PreparedDelete:
    """Raises UndefinedTable and what planning raises."""
    table = find_table(catalog, statement.table.name, statement.table.position)
    plan = plan_target_rows(statement.table, statement.where, [], catalog, parameters)
    layout = table_layout(table)
    return PreparedDelete(layout, plan, keeper_of_deletions(layout, catalog))
