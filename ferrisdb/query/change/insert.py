"""INSERT: values are made, cast to their columns, checked, and written a batch at a time.

    VALUES, parameters        row templates           no planner where none is needed
    SELECT                    a plan, read to its end before the first row is written
          |
        rows  ->  NOT NULL  ->  keys  ->  are they new?  ->  row and index entries
                                          one get_many a batch

Reading the whole source first keeps `INSERT INTO t SELECT ... FROM t` from meeting its own
rows; they would have to be kept in memory anyway, as the transaction's writes.

A batch is checked as a whole, so of two errors in one statement the one reported need not
be the one of the earlier row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ferrisdb.errors import SqlSyntaxError
from ferrisdb.query import ast
from ferrisdb.query.catalog import CatalogView
from ferrisdb.query.change.constraints import not_null_positions, null_violation
from ferrisdb.query.change.execution import Execution
from ferrisdb.query.change.index_maintenance import TableLayout, table_layout
from ferrisdb.query.change.row_changes import RowChanges
from ferrisdb.query.change.row_ids import encode_row_id
from ferrisdb.query.change.row_template import Convert, RowTemplate, assignment_cast, convert_at
from ferrisdb.query.change.syntax import default_expression, indented
from ferrisdb.query.change.targets import find_columns, find_table
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.plan import PlannedQuery, plan_query
from ferrisdb.query.schema import Table
from ferrisdb.query.types import UNKNOWN, SqlType, Value

INSERT_BATCH_ROWS = 1000


class PreparedInsert:
    """An INSERT for one schema and one signature of parameters. Threads may share it."""

    word = "INSERT"

    def __init__(
        self,
        layout: TableLayout,
        templates: Sequence[RowTemplate],
        query: QuerySource | None,
    ) -> None:
        self.layout = layout
        self.table_name = layout.table.name
        self._templates = templates
        self._query = query
        self._not_null = not_null_positions(layout.table)

    def row_maker(self) -> Callable[[Sequence[Value]], list[Value]] | None:
        """Makes the one row of this INSERT of a sequence of parameters; None when that is not all."""
        if self._query is not None or len(self._templates) != 1:
            return None
        return self._templates[0].positional()

    def run(self, execution: Execution) -> int:
        """Insert the rows; how many they were."""
        rows = self.rows(execution)
        self.write(execution, rows)
        return len(rows)

    def rows(self, execution: Execution) -> list[list[Value]]:
        """The rows to insert, over all columns of the table."""
        if self._query is not None:
            return self._query.rows(execution)
        return [template.values(execution) for template in self._templates]

    def write(self, execution: Execution, rows: Sequence[list[Value]]) -> None:
        """Check and write rows that `rows` made."""
        table, not_null = self.layout.table, self._not_null
        for position in not_null:
            for row in rows:
                if row[position] is None:
                    raise null_violation(table, position, row)
        for start in range(0, len(rows), INSERT_BATCH_ROWS):
            self._write_batch(execution, rows[start : start + INSERT_BATCH_ROWS])

    def explain(self) -> list[str]:
        lines = [f"Insert on {self.table_name}"]
        if self._query is not None:
            return lines + indented(self._query.plan.explain())
        count = len(self._templates)
        lines.append(f"  Values ({count} row{'' if count == 1 else 's'})")
        for template in self._templates[:1]:
            if template.plan is not None:
                lines += indented(indented(template.plan.explain()))
        return lines

    def _write_batch(self, execution: Execution, rows: Sequence[list[Value]]) -> None:
        layout, transaction = self.layout, execution.transaction
        changes = RowChanges(layout)
        if layout.has_primary_key:
            for row in rows:
                changes.add(layout.row_key(row), row)
        else:
            first = execution.row_ids.take(transaction, layout.table.id, len(rows))
            for row_id, row in enumerate(rows, start=first):
                changes.add(layout.prefix + encode_row_id(row_id), row)
        changes.write(transaction)


class QuerySource:
    """The SELECT of an INSERT, with what its columns become."""

    def __init__(
        self,
        plan: PlannedQuery,
        targets: Sequence[tuple[int, Convert | None]],
        defaults: RowTemplate,
        position: int,
    ) -> None:
        """`targets` are column positions in the table; `defaults` makes the columns not among them."""
        self.plan = plan
        self._targets = targets
        self._defaults = defaults
        self._position = position

    def rows(self, execution: Execution) -> list[list[Value]]:
        rows: list[list[Value]] = []
        for batch in self.plan.run(execution.transaction, execution.parameters, execution.now):
            for given in batch:
                row = self._defaults.values(execution)
                for (target, convert), value in zip(self._targets, given, strict=True):
                    if value is not None and convert is not None:
                        value = convert_at(convert, value, self._position)
                    row[target] = value
                rows.append(row)
        return rows


def prepare_insert(statement: ast.Insert, catalog: CatalogView, parameters: Parameters) -> PreparedInsert:
    """Raises UndefinedTable, UndefinedColumn, DuplicateColumn, DatatypeMismatch, SqlSyntaxError."""
    table = find_table(catalog, statement.table.name, statement.table.position)
    layout = table_layout(table)
    targets = find_columns(table, statement.columns) or list(range(len(table.columns)))
    source = statement.source
    if source is None:
        return PreparedInsert(layout, [_template(table, [], statement, catalog, parameters)], None)
    if isinstance(source, ast.Query):
        query = _query_source(table, targets, statement, source, catalog=catalog, parameters=parameters)
        return PreparedInsert(layout, [], query)
    templates = []
    for row in source.rows:
        if len(row) != len(source.rows[0]):
            raise SqlSyntaxError("VALUES lists must all be the same length", position=row[0].position)
        _check_count(statement, targets, [value.position for value in row])
        given = list(zip(targets, row, strict=False))
        templates.append(_template(table, given, statement, catalog, parameters))
    return PreparedInsert(layout, templates, None)


def _template(
    table: Table,
    given: Sequence[tuple[int, ast.Expression | ast.Default]],
    statement: ast.Insert,
    catalog: CatalogView,
    parameters: Parameters,
) -> RowTemplate:
    expressions: list[tuple[int, ast.Expression]] = []
    for target, expression in given:
        if isinstance(expression, ast.Default):
            expression = default_expression(table.columns[target].default_sql, expression.position)
        expressions.append((target, expression))
    named = {target for target, _ in given}
    expressions += _defaults(table, named, statement.table.position)
    return RowTemplate(table.columns, expressions, catalog, parameters)


def _defaults(table: Table, named: set[int], position: int) -> list[tuple[int, ast.Expression]]:
    return [
        (target, default_expression(column.default_sql, position))
        for target, column in enumerate(table.columns)
        if target not in named and column.default_sql is not None
    ]


def _query_source(
    table: Table,
    targets: list[int],
    statement: ast.Insert,
    query: ast.Query,
    *,
    catalog: CatalogView,
    parameters: Parameters,
) -> QuerySource:
    plan = plan_query(query, catalog, parameters)
    _check_count(statement, targets, [query.position] * len(plan.columns))
    types = _source_types(query, plan, parameters)
    casts = [
        (target, assignment_cast(source, table.columns[target], query.position))
        for target, source in zip(targets, types, strict=False)
    ]
    defaults = _defaults(table, {target for target, _ in casts}, statement.table.position)
    template = RowTemplate(table.columns, defaults, catalog, parameters)
    return QuerySource(plan, casts, template, query.position)


def _source_types(query: ast.Query, plan: PlannedQuery, parameters: Parameters) -> list[SqlType]:
    """Types of the columns of a SELECT that feeds a table.

    By itself a SELECT makes TEXT of a quoted literal, NULL or text parameter. Here they
    take the column's type, as in VALUES.
    """
    types = [column.type for column in plan.columns]
    if isinstance(query.body, ast.Select):
        items = query.body.items
        if not any(isinstance(item, ast.Star) for item in items):
            for number, item in enumerate(items):
                if isinstance(item, ast.SelectItem) and _is_untyped(item.expression, parameters):
                    types[number] = UNKNOWN
    return types


def _is_untyped(expression: ast.Expression, parameters: Parameters) -> bool:
    if isinstance(expression, ast.Literal):
        return expression.value is None or isinstance(expression.value, str)
    return isinstance(expression, ast.Parameter) and parameters.type_of(expression.key) is UNKNOWN


def _check_count(statement: ast.Insert, targets: Sequence[int], positions: Sequence[int]) -> None:
    """`positions` are where the row's expressions stand.

    As in PostgreSQL, without a column list a row may be short: the rest are defaults.
    """
    given = len(positions)
    if given > len(targets):
        raise SqlSyntaxError(
            "INSERT has more expressions than target columns", position=positions[len(targets)]
        )
    if statement.columns and given < len(targets):
        raise SqlSyntaxError(
            "INSERT has more target columns than expressions", position=statement.columns[given].position
        )
