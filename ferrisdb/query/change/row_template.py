"""How the values of one row are made, each cast to its column.

    VALUES (1, ?, lower(?), DEFAULT)

    constant    1                 cast once, when the statement is prepared
    parameter   ?                 taken and cast; no planner, no compiled code
    planned     lower(?)          all that is left, together as one plan of one row

Most INSERTs have no third kind and never meet the planner: that is the fast path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from ferrisdb.errors import DatatypeMismatch, Error
from ferrisdb.immutable import immutable
from ferrisdb.query import ast
from ferrisdb.query.catalog import CatalogView
from ferrisdb.query.change.execution import Execution
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.plan import PlannedQuery, plan_row_values
from ferrisdb.query.schema import Column
from ferrisdb.query.types import INTEGER, INTEGER_MAX, INTEGER_MIN, NUMERIC, SqlType, Value
from ferrisdb.query.values import CastContext, arithmetic_error, can_cast, cast_function, type_of_value

Convert = Callable[[Value], Value]


@immutable
class ParameterValue:
    """`convert` None takes the value as it is. `target` is a position in the table's columns."""

    target: int
    key: int | str
    convert: Convert | None
    position: int


class RowTemplate:
    """One row of VALUES over a table's columns; those it does not give stay NULL."""

    __slots__ = ("_constants", "_parameters", "_plan", "_planned")

    def __init__(
        self,
        columns: Sequence[Column],
        given: Sequence[tuple[int, ast.Expression]],
        catalog: CatalogView,
        parameters: Parameters,
    ) -> None:
        """`given` are positions in `columns`, each with the expression for it."""
        self._constants: list[Value] = [None] * len(columns)
        self._parameters: list[ParameterValue] = []
        self._planned: list[int] = []
        planned: list[tuple[ast.Expression, SqlType]] = []
        for target, expression in given:
            column = columns[target]
            if isinstance(expression, ast.Parameter):
                convert = assignment_cast(parameters.type_of(expression.key), column, expression.position)
                self._parameters.append(ParameterValue(target, expression.key, convert, expression.position))
            elif (literal := as_literal(expression)) is not None:
                self._constants[target] = _constant(literal, column)
            else:
                self._planned.append(target)
                planned.append((expression, column.type))
        self._plan: PlannedQuery | None = plan_row_values(planned, catalog, parameters) if planned else None

    @property
    def plan(self) -> PlannedQuery | None:
        """What makes the values that are neither constants nor parameters."""
        return self._plan

    def values(self, execution: Execution) -> list[Value]:
        """The row. Raises what a cast or the plan raises, with its position."""
        row = self._constants.copy()
        if self._parameters:
            self._fill_parameters(row, execution.parameters)
        if self._plan is not None:
            batches = self._plan.run(execution.transaction, execution.parameters, execution.now)
            for batch in batches:
                for planned in batch:
                    for target, value in zip(self._planned, planned, strict=True):
                        row[target] = value
        return row

    def positional(self) -> Callable[[Sequence[Value]], list[Value]] | None:
        """A function from a sequence of parameters to the row, for many runs in a row.

        None when the row is not made of numbered parameters and constants alone.
        """
        if self._plan is not None or any(isinstance(p.key, str) for p in self._parameters):
            return None
        steps = [(p.target, int(p.key) - 1, p.convert, p.position) for p in self._parameters]
        is_copy = all(target == number and convert is None for target, number, convert, _ in steps)
        if is_copy and len(steps) == len(self._constants):
            return list
        constants = self._constants

        def make(given: Sequence[Value]) -> list[Value]:
            row = constants.copy()
            for target, number, convert, position in steps:
                value = given[number]
                if value is not None and convert is not None:
                    value = convert_at(convert, value, position)
                row[target] = value
            return row

        return make

    def _fill_parameters(self, row: list[Value], parameters: Parameters) -> None:
        given = parameters.values
        for parameter in self._parameters:
            value = given[parameter.key]
            if value is not None and parameter.convert is not None:
                value = convert_at(parameter.convert, value, parameter.position)
            row[parameter.target] = value


def assignment_cast(source: SqlType, column: Column, position: int) -> Convert | None:
    """What makes a value of the column out of one of `source`; None when nothing must be done.

    Raises DatatypeMismatch when a value of this type does not go into the column.
    """
    if not can_cast(source, column.type, CastContext.ASSIGNMENT):
        raise DatatypeMismatch(
            f'column "{column.name}" is of type {column.type} but expression is of type {source}',
            position=position,
            hint=f"write CAST(... AS {column.type})",
        )
    function = cast_function(source, column.type, CastContext.ASSIGNMENT)
    return None if function is None else function.call


def convert_at(convert: Convert, value: Value, position: int) -> Value:
    """`convert(value)`; an error points at `position` unless it knows better."""
    try:
        return convert(value)
    except ArithmeticError as error:
        reported = arithmetic_error(error)
        reported.position = position
        raise reported from None
    except Error as error:
        if error.position is None:
            error.position = position
        raise


def as_literal(expression: ast.Expression) -> ast.Literal | None:
    """A literal, with its sign."""
    if isinstance(expression, ast.Literal):
        return expression
    if isinstance(expression, ast.Unary) and expression.operator == "-":
        value = expression.operand.value if isinstance(expression.operand, ast.Literal) else None
        if isinstance(value, Decimal):
            # Not -value: that would round to the caller's decimal context.
            return ast.Literal(value.copy_negate(), expression.position)
        if type(value) is int or type(value) is float:
            return ast.Literal(-value, expression.position)
    return None


def _constant(literal: ast.Literal, column: Column) -> Value:
    value: Value = literal.value
    if type(value) is int and not INTEGER_MIN <= value <= INTEGER_MAX:
        value, source = Decimal(value), NUMERIC
    else:
        source = INTEGER if type(value) is int else type_of_value(value)
    convert = assignment_cast(source, column, literal.position)
    if value is None or convert is None:
        return value
    return convert_at(convert, value, literal.position)
