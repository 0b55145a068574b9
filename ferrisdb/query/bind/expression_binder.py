"""Binding expressions: syntax in, typed nodes out.

What SQL says in many ways is said in one from here on: BETWEEN is two comparisons, IFNULL
and COALESCE are CASE, `x IN (1)` is a list test, NOT IN is NOT over IN. An operand that the
statement writes once is computed once: where a rewriting needs it twice, `Let` names it.

Chains of operators (`a AND b AND ...`, `x || y || ...`) lean left in the syntax tree,
one level for each operator; their spine is walked in a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from ferrisdb.errors import GroupingError, NotSupportedError, SqlSyntaxError, UndefinedFunction
from ferrisdb.query import ast, limits, types
from ferrisdb.query.algebra.operators import Project, outer_references
from ferrisdb.query.bind.coercion import as_boolean, coerce, located, unified
from ferrisdb.query.bind.expressions import (
    AggregateCall,
    And,
    Call,
    Case,
    Cast,
    Constant,
    DistinctFrom,
    ExistsQuery,
    Expression,
    InList,
    InQuery,
    IsTest,
    Let,
    Like,
    Not,
    Now,
    Or,
    ParameterRef,
    ScalarQuery,
    SlotRef,
    call,
    slots_of,
    walk,
)
from ferrisdb.query.bind.scope import Scope
from ferrisdb.query.types import Kind
from ferrisdb.query.values import (
    AggregateKind,
    CastContext,
    aggregate_function,
    binary_operator,
    resolve_type,
    scalar_function,
    type_of_value,
    unary_operator,
)

if TYPE_CHECKING:
    from ferrisdb.query.bind.query_binder import QueryBinder

_TESTS = {"NULL": None, "TRUE": True, "FALSE": False}
_CLOCKS = {
    "current_date": types.DATE,
    "current_timestamp": types.TIMESTAMP,
    "localtimestamp": types.TIMESTAMP,
    "now": types.TIMESTAMP,
}


class ExpressionBinder:
    """Binds expressions in one scope. `clause` is named where an aggregate must not stand."""

    def __init__(
        self, queries: QueryBinder, scope: Scope, clause: str, *, has_aggregates: bool = False
    ) -> None:
        self._queries = queries
        self._scope = scope
        self._clause = clause
        self._has_aggregates = has_aggregates
        self._depth = 0

    def bind(self, node: ast.Expression) -> Expression:
        self._depth += 1
        limits.check_expression_depth(self._depth, node.position)
        bound = _BINDERS[type(node)](self, node)
        self._depth -= 1
        return bound

    def condition(self, node: ast.Expression) -> Expression:
        return as_boolean(self.bind(node), self._clause, node.position)

    # --- leaves -------------------------------------------------------------------------

    def _literal(self, node: ast.Literal) -> Expression:
        value = node.value
        if value is None or isinstance(value, str):
            return Constant(value, types.UNKNOWN)
        if type(value) is int and not types.INTEGER_MIN <= value <= types.INTEGER_MAX:
            value = Decimal(value)
        with located(node.position):
            return Constant(value, type_of_value(value))

    def _typed_literal(self, node: ast.TypedLiteral) -> Expression:
        with located(node.position):
            type = resolve_type(node.type)
        return coerce(Constant(node.text, types.UNKNOWN), type, node.position, CastContext.EXPLICIT)

    def _parameter(self, node: ast.Parameter) -> Expression:
        with located(node.position):
            return ParameterRef(node.key, self._queries.parameters.type_of(node.key))

    def _column(self, node: ast.ColumnRef) -> Expression:
        return self._scope.resolve(node)

    # --- operators ----------------------------------------------------------------------

    def _unary(self, node: ast.Unary) -> Expression:
        inner = node.operand
        if node.operator == "-" and isinstance(inner, ast.Literal) and type(inner.value) is int:
            # The smallest INTEGER is written as minus a number that is none.
            return self._literal(ast.Literal(-inner.value, node.position))
        operand = self.bind(inner)
        if node.operator == "NOT":
            return Not(as_boolean(operand, "NOT", node.operand.position))
        if operand.type.kind is Kind.UNKNOWN:
            operand = coerce(operand, types.DOUBLE, node.operand.position)
        with located(node.position):
            function = unary_operator(node.operator, operand.type)
            if isinstance(operand, Constant) and operand.value is not None:
                return Constant(function.call(operand.value), function.result_type)
        argument = coerce(operand, function.argument_types[0], node.position)
        return call(function, (argument,), function.result_type, node.operator)

    def _binary(self, node: ast.Binary) -> Expression:
        operator = node.operator
        if operator in {"AND", "OR"}:
            return self._logical(node)
        spine = [node]
        while isinstance(node.left, ast.Binary) and node.left.operator not in {"AND", "OR"}:
            node = node.left
            spine.append(node)
        limits.check_expression_depth(self._depth + len(spine), node.position)
        bound = self.bind(node.left)
        left_position = node.left.position
        for link in reversed(spine):
            right = self.bind(link.right)
            if link.operator.startswith("IS "):
                bound = self._distinct_from(link, bound, right)
            else:
                bound = self._operate(
                    link.operator, bound, right, link.position, (left_position, link.right.position)
                )
            left_position = link.position
        return bound

    def _logical(self, node: ast.Binary) -> Expression:
        parts: list[ast.Expression] = []
        pending: list[ast.Expression] = [node]
        while pending:
            part = pending.pop()
            if isinstance(part, ast.Binary) and part.operator == node.operator:
                pending += (part.right, part.left)
            else:
                parts.append(part)
        bound = tuple(as_boolean(self.bind(part), node.operator, part.position) for part in parts)
        return And(bound) if node.operator == "AND" else Or(bound)

    def _operate(
        self, operator: str, left: Expression, right: Expression, position: int, sides: tuple[int, int]
    ) -> Call:
        with located(position):
            function = binary_operator(operator, left.type, right.type)
        arguments = tuple(
            coerce(argument, type, side)
            for argument, type, side in zip((left, right), function.argument_types, sides, strict=True)
        )
        return call(function, arguments, function.result_type, operator)

    def _distinct_from(self, node: ast.Binary, left: Expression, right: Expression) -> Expression:
        equal = self._operate("=", left, right, node.position, (node.left.position, node.right.position))
        distinct = DistinctFrom(*equal.arguments)
        return distinct if node.operator == "IS DISTINCT FROM" else Not(distinct)

    def _is_test(self, node: ast.IsTest) -> Expression:
        operand = self.bind(node.operand)
        test = _TESTS[node.test]
        if test is not None:
            operand = as_boolean(operand, f"IS {node.test}", node.operand.position)
        tested = IsTest(operand, test)
        return Not(tested) if node.is_negated else tested

    def _between(self, node: ast.Between) -> Expression:
        def body(operand: Expression) -> Expression:
            low, high = self.bind(node.low), self.bind(node.high)
            at = node.operand.position
            return And(
                (
                    self._operate(">=", operand, low, node.position, (at, node.low.position)),
                    self._operate("<=", operand, high, node.position, (at, node.high.position)),
                )
            )

        bound = self._once(self.bind(node.operand), body)
        return Not(bound) if node.is_negated else bound

    def _once(self, operand: Expression, body: Callable[[Expression], Expression]) -> Expression:
        """`body` of an operand that it may mention more than once."""
        if isinstance(operand, (SlotRef, Constant, ParameterRef)):
            return body(operand)
        if any(isinstance(node, AggregateCall) for node in walk(operand)):
            # Equal aggregate calls share one slot after grouping; nothing is computed twice.
            return body(operand)
        slot = self._queries.operand_slot(operand)
        return Let(slot, operand, body(SlotRef(slot, operand.is_nullable)))

    def _in_list(self, node: ast.InList) -> Expression:
        bound = [self.bind(node.operand), *(self.bind(item) for item in node.items)]
        with located(node.position):
            operand, *items = unified(bound, "IN", node.position)
        if operand.type.kind is Kind.UNKNOWN:
            operand, *items = (coerce(part, types.TEXT, node.position) for part in (operand, *items))
        tested = InList(operand, tuple(items))
        return Not(tested) if node.is_negated else tested

    def _like(self, node: ast.Like) -> Expression:
        parts = [node.operand, node.pattern, *([node.escape] if node.escape is not None else [])]
        bound = [self._text(part) for part in parts]
        escape = bound[2] if node.escape is not None else None
        like = Like(bound[0], bound[1], escape, node.is_case_insensitive)
        return Not(like) if node.is_negated else like

    def _text(self, node: ast.Expression) -> Expression:
        bound = self.bind(node)
        if bound.type.kind not in {Kind.TEXT, Kind.UNKNOWN}:
            raise UndefinedFunction(
                f"LIKE takes TEXT, not {bound.type}",
                position=node.position,
                hint="write CAST(... AS TEXT)",
            )
        return coerce(bound, types.TEXT, node.position)

    # --- CASE and its relatives ---------------------------------------------------------

    def _case(self, node: ast.Case) -> Expression:
        if node.operand is None:
            conditions = [
                as_boolean(self.bind(w.condition), "CASE", w.condition.position) for w in node.whens
            ]
            return self._case_over(node, conditions)

        def body(operand: Expression) -> Expression:
            at = node.position
            return self._case_over(
                node,
                [
                    self._operate("=", operand, self.bind(w.condition), at, (at, w.condition.position))
                    for w in node.whens
                ],
            )

        return self._once(self.bind(node.operand), body)

    def _case_over(self, node: ast.Case, conditions: list[Expression]) -> Expression:
        results = [self.bind(when.result) for when in node.whens]
        otherwise = self.bind(node.otherwise) if node.otherwise is not None else Constant(None, types.UNKNOWN)
        *results, otherwise = unified([*results, otherwise], "CASE", node.position)
        return Case(tuple(zip(conditions, results, strict=True)), otherwise, otherwise.type)

    def _coalesce(self, node: ast.FunctionCall) -> Expression:
        if not node.arguments or (node.name == "ifnull" and len(node.arguments) != 2):
            raise UndefinedFunction(f"{node.name}: wrong number of arguments", position=node.position)
        arguments = unified([self.bind(a) for a in node.arguments], node.name.upper(), node.position)
        result = arguments[-1]
        for argument in reversed(arguments[:-1]):
            result = self._once(argument, lambda value, rest=result: _first_known(value, rest))  # type: ignore[misc]
        return result

    def _nullif(self, node: ast.FunctionCall) -> Expression:
        if len(node.arguments) != 2:
            raise UndefinedFunction("nullif takes two arguments", position=node.position)
        left, right = (self.bind(argument) for argument in node.arguments)
        sides = (node.arguments[0].position, node.arguments[1].position)

        def body(value: Expression) -> Expression:
            equal = self._operate("=", value, right, node.position, sides)
            return Case(((equal, Constant(None, value.type)),), value, value.type)

        return self._once(left, body)

    def _cast(self, node: ast.Cast) -> Expression:
        operand = self.bind(node.operand)
        with located(node.position):
            type = resolve_type(node.type)
        if operand.type == type:
            return operand
        if operand.type.kind is type.kind and not type.has_modifiers:
            return Cast(operand, type, False, None)
        return coerce(operand, type, node.position, CastContext.EXPLICIT)

    # --- calls --------------------------------------------------------------------------

    def _function_call(self, node: ast.FunctionCall) -> Expression:
        name = node.name
        if name in {"coalesce", "ifnull"}:
            return self._coalesce(node)
        if name == "nullif":
            return self._nullif(node)
        if name in _CLOCKS and not node.arguments and not node.is_star:
            return Now(_CLOCKS[name])
        aggregate = self._aggregate(node)
        if aggregate is not None:
            return aggregate
        if node.is_star or node.is_distinct:
            word = "*" if node.is_star else "DISTINCT"
            raise UndefinedFunction(
                f"{word} stands in {name}(), which is not an aggregate", position=node.position
            )
        arguments = [self.bind(argument) for argument in node.arguments]
        with located(node.position):
            function = scalar_function(name, [argument.type for argument in arguments])
        typed = tuple(
            coerce(argument, type, source.position)
            for argument, type, source in zip(arguments, function.argument_types, node.arguments, strict=True)
        )
        return call(function, typed, function.result_type, name)

    def _aggregate(self, node: ast.FunctionCall) -> Expression | None:
        arguments: list[Expression] = []
        was_allowed, self._has_aggregates = self._has_aggregates, False
        clause, self._clause = self._clause, "an aggregate's argument"
        try:
            is_aggregate = aggregate_function(node.name, [types.UNKNOWN] * len(node.arguments), node.is_star)
            if is_aggregate is None:
                return None
            arguments = [self.bind(argument) for argument in node.arguments]
        finally:
            self._has_aggregates, self._clause = was_allowed, clause
        with located(node.position):
            function = aggregate_function(node.name, [a.type for a in arguments], node.is_star)
        if function is None:
            return None
        self._refuse_outer_aggregate(node, arguments)
        if not was_allowed:
            raise GroupingError(
                f"aggregate functions are not allowed in {clause}",
                position=node.position,
                hint="use HAVING" if clause == "WHERE" else None,
            )
        if node.is_distinct and function.kind is AggregateKind.COUNT_STAR:
            raise SqlSyntaxError("DISTINCT needs an argument", position=node.position)
        if node.is_distinct and len(arguments) != 1:
            raise NotSupportedError("DISTINCT takes one argument", position=node.position)
        typed = tuple(
            coerce(argument, type, source.position)
            for argument, type, source in zip(arguments, function.argument_types, node.arguments, strict=True)
        )
        return AggregateCall(
            node.name, typed, node.is_distinct, function.result_type, function, node.is_star, node.position
        )

    def _refuse_outer_aggregate(self, node: ast.FunctionCall, arguments: Sequence[Expression]) -> None:
        """An aggregate of outer columns alone belongs to the query around, says the standard."""
        used = set().union(*(slots_of(argument) for argument in arguments))
        if used and not any(self._scope.owns(slot) for slot in used):
            raise NotSupportedError(
                f"{node.name}() takes columns of the query around only, and would be its aggregate",
                position=node.position,
                hint="compute it in the query around, and give it a name there",
            )

    # --- subqueries ---------------------------------------------------------------------

    def _exists(self, node: ast.Exists) -> Expression:
        plan = self._queries.subquery(node.query, self._scope).plan
        return ExistsQuery(plan, outer_references(plan))

    def _scalar_subquery(self, node: ast.ScalarSubquery) -> Expression:
        plan = self._queries.subquery(node.query, self._scope, columns=1).plan
        return ScalarQuery(plan, outer_references(plan), plan.output[0])

    def _in_subquery(self, node: ast.InSubquery) -> Expression:
        operand = self.bind(node.operand)
        plan = self._queries.subquery(node.query, self._scope, columns=1).plan
        column = SlotRef(plan.output[0], plan.output[0].is_nullable)
        operand, value = unified([operand, column], "IN", node.position)
        if value is not column:
            slot = self._queries.numbers(column.slot.name, value.type, is_nullable=value.is_nullable)
            plan = Project(plan, ((slot, value),))
        tested = InQuery(plan, outer_references(plan), operand, plan.output[0])
        return Not(tested) if node.is_negated else tested


def _first_known(value: Expression, rest: Expression) -> Expression:
    """CASE WHEN value IS NOT NULL THEN value ELSE rest END."""
    if not value.is_nullable:
        return value
    known = replace(value, is_nullable=False) if isinstance(value, SlotRef) else value
    return Case(((Not(IsTest(value, None)), known),), rest, rest.type)


_BINDERS: dict[type, Callable[..., Expression]] = {
    ast.Literal: ExpressionBinder._literal,
    ast.TypedLiteral: ExpressionBinder._typed_literal,
    ast.Parameter: ExpressionBinder._parameter,
    ast.ColumnRef: ExpressionBinder._column,
    ast.Unary: ExpressionBinder._unary,
    ast.Binary: ExpressionBinder._binary,
    ast.IsTest: ExpressionBinder._is_test,
    ast.Between: ExpressionBinder._between,
    ast.InList: ExpressionBinder._in_list,
    ast.InSubquery: ExpressionBinder._in_subquery,
    ast.Like: ExpressionBinder._like,
    ast.Exists: ExpressionBinder._exists,
    ast.ScalarSubquery: ExpressionBinder._scalar_subquery,
    ast.Case: ExpressionBinder._case,
    ast.Cast: ExpressionBinder._cast,
    ast.FunctionCall: ExpressionBinder._function_call,
}
