"""DELETE: find the rows, then remove them with their index entries.

As in UPDATE the targets are read to the end before the first write.
"""

from __future__ import annotations

from ferrisdb.query import ast
from ferrisdb.query.catalog import CatalogView
from ferrisdb.query.change.execution import Execution
from ferrisdb.query.change.index_maintenance import TableLayout, table_layout
from ferrisdb.query.change.row_changes import RowChanges
from ferrisdb.query.change.syntax import indented
from ferrisdb.query.change.targets import find_table, target_rows
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.plan import PlannedTargets, plan_target_rows


class PreparedDelete:
    """A DELETE for one schema and one signature of parameters. Threads may share it."""

    word = "DELETE"

    def __init__(self, layout: TableLayout, plan: PlannedTargets) -> None:
        self.table_name = layout.table.name
        self._layout = layout
        self._plan = plan

    def run(self, execution: Execution) -> int:
        """Delete the rows; how many they were."""
        changes = RowChanges(self._layout)
        count = 0
        for batch in target_rows(self._plan, execution):
            for row_key, stored, *_ in batch:
                changes.remove(row_key, stored)
            count += len(batch)
        changes.write(execution.transaction)
        return count

    def explain(self) -> list[str]:
        return [f"Delete on {self.table_name}", *indented(self._plan.explain())]


def prepare_delete(statement: ast.Delete, catalog: CatalogView, parameters: Parameters) -> PreparedDelete:
    """Raises UndefinedTable and what planning raises."""
    table = find_table(catalog, statement.table.name, statement.table.position)
    plan = plan_target_rows(statement.table, statement.where, [], catalog, parameters)
    return PreparedDelete(table_layout(table), plan)
