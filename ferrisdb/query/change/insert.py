"""INSERT: values are made, cast to their columns, checked, and written a batch at a time.

    VALUES, parameters        row templates           no planner where none is needed
    SELECT                    a plan, read to its end before the first row is written
          |
        rows  ->  computed defaults  ->  NOT NULL  ->  keys  ->  are they new?  ->  written
                  once a statement                               one get_many a batch

Reading the whole source first keeps `INSERT INTO t SELECT ... FROM t` from meeting its own
rows; they would have to be kept in memory anyway, as the transaction's writes.

A default that is more than a literal is computed once for all rows of a statement: with no
function that gives two answers in one statement, the rows can't tell.

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
from ferrisdb.query.change.foreign_keys import ForeignKeyKeeper, keeper_of_insertions, tables_at_work
from ferrisdb.query.change.index_maintenance import TableLayout, table_layout
from ferrisdb.query.change.on_conflict import OnConflict, prepare_on_conflict
from ferrisdb.query.change.row_changes import RowChange, RowChanges
from ferrisdb.query.change.row_ids import encode_row_id
from ferrisdb.query.change.row_template import Convert, RowTemplate, as_literal, assignment_cast, convert_at
from ferrisdb.query.change.syntax import default_expression, indented
from ferrisdb.query.change.targets import find_columns, find_table
from ferrisdb.query.parameters import NO_PARAMETERS, Parameters
from ferrisdb.query.plan import PlannedQuery, plan_query
from ferrisdb.query.schema import Column, Table
from ferrisdb.query.types import UNKNOWN, SqlType, Value

INSERT_BATCH_ROWS = 1000


class PreparedInsert:
    """An INSERT for one schema and one signature of parameters. Threads may share it."""

    word = "INSERT"

    def __init__(  # noqa: PLR0917 - a part each
        self,
        layout: TableLayout,
        templates: Sequence[RowTemplate],
        query: QuerySource | None,
        computed: ComputedDefaults | None,
        on_conflict: OnConflict | None,
        keeper: ForeignKeyKeeper | None,
    ) -> None:
        self.layout = layout
        self.table_name = layout.table.name
        self.table_names = tables_at_work(self.table_name, keeper)
        self._keeper = keeper
        self._templates = templates
        self._query = query
        self._computed = computed
        self._on_conflict = on_conflict
        self._not_null = not_null_positions(layout.table)

    def row_maker(self) -> Callable[[Sequence[Value]], list[Value]] | None:
        """Makes the one row of this INSERT of a sequence of parameters; None when that is not all."""
        if self._query is not None or len(self._templates) != 1:
            return None
        if self._on_conflict is not None and not self._on_conflict.may_run_many:
            return None
        if self._keeper is not None and self._keeper.is_of_itself:
            return None  # A row may refer to those before it, and to none behind it.
        return self._templates[0].positional()

    def run(self, execution: Execution) -> int:
        """Insert the rows; how many they were, those that ON CONFLICT updated included."""
        return self._insert(execution, self.rows(execution), is_each_a_command=False)

    def rows(self, execution: Execution) -> list[list[Value]]:
        """The rows to insert, over all columns of the table, computed defaults not yet among them."""
        if self._query is not None:
            return self._query.rows(execution)
        return [template.values(execution) for template in self._templates]

    def run_each(self, execution: Execution, rows: Sequence[list[Value]]) -> int:
        """Insert rows that a `row_maker` made, as if each were a statement: how many they were."""
        return self._insert(execution, rows, is_each_a_command=True)

    def _insert(self, execution: Execution, rows: Sequence[list[Value]], *, is_each_a_command: bool) -> int:
        self._complete(execution, rows)
        log: list[RowChange] | None = None if self._keeper is None else []
        if self._on_conflict is not None:
            count = self._on_conflict.insert(execution, rows, log, is_each_a_command=is_each_a_command)
        else:
            count = len(rows)
            for start in range(0, count, INSERT_BATCH_ROWS):
                self._write_batch(execution, rows[start : start + INSERT_BATCH_ROWS], log)
        if self._keeper is not None and log:
            self._keeper.keep(log, execution)
        return count

    def _complete(self, execution: Execution, rows: Sequence[list[Value]]) -> None:
        """Put the computed defaults in, and look for NULLs where none may be."""
        if self._computed is not None and rows:
            self._computed.put_into(rows, execution)
        table, not_null = self.layout.table, self._not_null
        for position in not_null:
            for row in rows:
                if row[position] is None:
                    raise null_violation(table, position, row)

    def explain(self) -> list[str]:
        lines = [f"Insert on {self.table_name}"]
        if self._on_conflict is not None:
            lines += self._on_conflict.explain()
        if self._query is not None:
            return lines + indented(self._query.plan.explain())
        count = len(self._templates)
        lines.append(f"  Values ({count} row{'' if count == 1 else 's'})")
        for template in self._templates[:1]:
            if template.plan is not None:
                lines += indented(indented(template.plan.explain()))
        return lines

    def _write_batch(
        self, execution: Execution, rows: Sequence[list[Value]], log: list[RowChange] | None
    ) -> None:
        layout, transaction = self.layout, execution.transaction
        changes = RowChanges(layout, log)
        if layout.has_primary_key:
            for row in rows:
                changes.add(layout.row_key(row), row)
        else:
            first = execution.row_ids.take(transaction, layout.table.id, len(rows))
            for row_id, row in enumerate(rows, start=first):
                changes.add(layout.prefix + encode_row_id(row_id), row)
        changes.write(transaction)


class ComputedDefaults:
    """The defaults that a statement leaves to the table and that are more than a literal."""

    def __init__(self, template: RowTemplate, positions: Sequence[int]) -> None:
        self._template = template
        self._positions = positions

    def put_into(self, rows: Sequence[list[Value]], execution: Execution) -> None:
        """Compute them once and put them into all of `rows`."""
        values = self._template.values(execution)
        for position in self._positions:
            value = values[position]
            for row in rows:
                row[position] = value


class QuerySource:
    """The SELECT of an INSERT, with what its columns become."""

    def __init__(
        self,
        plan: PlannedQuery,
        targets: Sequence[tuple[int, Convert | None]],
        literals: RowTemplate,
        position: int,
    ) -> None:
        """`targets` are column positions in the table; `literals` makes the columns not among them."""
        self.plan = plan
        self._targets = targets
        self._literals = literals
        self._position = position

    def rows(self, execution: Execution) -> list[list[Value]]:
        rows: list[list[Value]] = []
        for batch in self.plan.run(execution.transaction, execution.parameters, execution.now):
            for given in batch:
                row = self._literals.values(execution)
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
    on_conflict = prepare_on_conflict(statement, layout, catalog, parameters)
    assigned = on_conflict.update.assigned if on_conflict is not None and on_conflict.update else ()
    keeper = keeper_of_insertions(layout, assigned, catalog)
    targets = find_columns(table, statement.columns) or list(range(len(table.columns)))
    source = statement.source
    if isinstance(source, ast.Query):
        plan = plan_query(source, catalog, parameters)
        _check_count(statement, targets, [source.position] * len(plan.columns))
        targets = targets[: len(plan.columns)]
        literals, computed = _defaults(table, targets, statement.table.position, catalog)
        template = RowTemplate(table.columns, literals, catalog, parameters)
        casts = _query_casts(table, targets, source, plan, parameters)
        query = QuerySource(plan, casts, template, source.position)
        return PreparedInsert(layout, [], query, computed, on_conflict, keeper)
    rows = source.rows if source is not None else ((),)
    for row in rows:
        if len(row) != len(rows[0]):
            raise SqlSyntaxError("VALUES lists must all be the same length", position=row[0].position)
        if source is not None:
            _check_count(statement, targets, [value.position for value in row])
    targets = targets[: len(rows[0])]
    literals, computed = _defaults(table, targets, statement.table.position, catalog)
    templates = []
    for row in rows:
        given = [
            (target, _or_default(value, table.columns[target]))
            for target, value in zip(targets, row, strict=True)
        ]
        templates.append(RowTemplate(table.columns, [*given, *literals], catalog, parameters))
    return PreparedInsert(layout, templates, None, computed, on_conflict, keeper)


def _or_default(value: ast.Expression | ast.Default, column: Column) -> ast.Expression:
    return default_expression(column.default_sql, value.position) if isinstance(value, ast.Default) else value


Given = list[tuple[int, ast.Expression]]
"""Positions in the table's columns, each with the expression for it."""


def _defaults(
    table: Table, named: Sequence[int], position: int, catalog: CatalogView
) -> tuple[Given, ComputedDefaults | None]:
    """What the columns that are not named become: by literals, and by what must be computed."""
    literals: Given = []
    computed: Given = []
    for target, column in enumerate(table.columns):
        if target not in named and column.default_sql is not None:
            default = default_expression(column.default_sql, position)
            (computed if as_literal(default) is None else literals).append((target, default))
    if not computed:
        return literals, None
    template = RowTemplate(table.columns, computed, catalog, NO_PARAMETERS)
    return literals, ComputedDefaults(template, [target for target, _ in computed])


def _query_casts(
    table: Table, targets: Sequence[int], query: ast.Query, plan: PlannedQuery, parameters: Parameters
) -> list[tuple[int, Convert | None]]:
    return [
        (target, assignment_cast(source, table.columns[target], query.position))
        for target, source in zip(targets, _source_types(query, plan, parameters), strict=True)
    ]


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
