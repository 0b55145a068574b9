"""Binding FROM: relations into a scope, joins into a tree.

Comma-joined items are CROSS joins here; the optimiser takes inner joins apart again and
orders them by what connects them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ferrisdb.errors import AmbiguousColumn, InvalidColumnReference, UndefinedColumn, UndefinedTable
from ferrisdb.immutable import immutable
from ferrisdb.query import ast, limits
from ferrisdb.query.algebra.operators import Join, Plan, Scan, TableSource, Values
from ferrisdb.query.ast import JoinKind
from ferrisdb.query.bind.coercion import located, unified
from ferrisdb.query.bind.expression_binder import ExpressionBinder
from ferrisdb.query.bind.expressions import Expression, SlotRef, call, conjuncts
from ferrisdb.query.bind.scope import (
    Relation,
    Scope,
    ShownColumn,
    derived_relation,
    did_you_mean,
    table_relation,
)
from ferrisdb.query.values import binary_operator

if TYPE_CHECKING:
    from ferrisdb.query.bind.query_binder import QueryBinder


@immutable
class _BoundItem:
    """An item of FROM: its plan, what names may stand for, and what `*` shows of it."""

    plan: Plan
    relations: list[Relation]
    shown: list[ShownColumn]


class FromBinder:
    """Fills a scope with the items of one FROM."""

    def __init__(self, queries: QueryBinder, scope: Scope) -> None:
        self._queries = queries
        self._scope = scope

    def bind(self, items: Sequence[ast.FromItem]) -> Plan:
        if not items:
            return Values((), ((),))
        bound = [self._item(item) for item in items]
        self._scope.shown = [column for item in bound for column in item.shown]
        plan = bound[0].plan
        for item in bound[1:]:
            plan = Join(plan, item.plan, JoinKind.CROSS, ())
        return plan

    def _item(self, item: ast.FromItem) -> _BoundItem:
        limits.check_tables(len(self._scope.relations) + 1, item.position)
        if isinstance(item, ast.TableRef):
            scan, relation = self.table(item)
            return _BoundItem(scan, [relation], _columns(relation))
        if isinstance(item, ast.DerivedTable):
            return self._derived(item)
        return self._join(item)

    def table(self, ref: ast.TableRef) -> tuple[Scan, Relation]:
        table = self._queries.catalog.table(ref.name)
        if table is None:
            names = {known.name: known.name for known in self._queries.catalog.tables()}
            raise UndefinedTable(
                f'table "{ref.name}" does not exist',
                position=ref.position,
                hint=did_you_mean(ref.name, names),
            )
        source = TableSource(table, ref.alias or ref.name)
        relation = table_relation(source, self._queries.numbers)
        self._scope.add(relation, ref.position)
        return Scan(source), relation

    def _derived(self, item: ast.DerivedTable) -> _BoundItem:
        # Its names are looked up outside this FROM: a derived table does not see its neighbours.
        bound = self._queries.subquery(item.query, self._scope.parent)
        names = list(bound.names)
        if len(item.columns) > len(names):
            raise InvalidColumnReference(
                f'table "{item.alias}" has {len(names)} columns, but {len(item.columns)} names are given',
                position=item.position,
            )
        names[: len(item.columns)] = item.columns
        for name, slot in zip(names, bound.plan.output, strict=True):
            slot.name, slot.table = name, item.alias
        relation = derived_relation(item.alias, names, bound.plan.output)
        self._scope.add(relation, item.position)
        return _BoundItem(bound.plan, [relation], _columns(relation))

    def _join(self, join: ast.Join) -> _BoundItem:
        left, right = self._item(join.left), self._item(join.right)
        conditions: tuple[Expression, ...] = ()
        if join.using:
            conditions = self._using(join, left.relations, right.relations)
        elif join.condition is not None:
            visible = Scope(self._scope.parent)
            visible.relations = [*left.relations, *right.relations]
            conditions = conjuncts(
                ExpressionBinder(self._queries, visible, "JOIN/ON").condition(join.condition)
            )
        if join.kind is JoinKind.LEFT:
            for relation in right.relations:
                relation.is_nullable = True
        return _BoundItem(
            Join(left.plan, right.plan, join.kind, conditions),
            left.relations + right.relations,
            _merged(left.shown, right.shown, join.using),
        )

    def _using(self, join: ast.Join, left: list[Relation], right: list[Relation]) -> tuple[Expression, ...]:
        conditions = []
        for name in join.using:
            refs = (self._side(name, left, join, "left"), self._side(name, right, join, "right"))
            with located(join.position):
                equal = binary_operator("=", refs[0].type, refs[1].type)
            arguments = tuple(unified(refs, "USING", join.position))
            conditions.append(call(equal, arguments, equal.result_type, "="))
        for name in join.using:
            for relation in right:
                relation.hidden.add(name)
        return tuple(conditions)

    def _side(self, name: str, relations: list[Relation], join: ast.Join, side: str) -> SlotRef:
        try:
            ref = self._scope.find(name, relations, join.position)
        except AmbiguousColumn as error:
            raise AmbiguousColumn(
                f'column "{name}" of USING stands more than once on the {side} side', position=error.position
            ) from None
        if ref is None:
            raise UndefinedColumn(
                f'column "{name}" of USING does not exist on the {side} side of the join',
                position=join.position,
            )
        return ref


def _columns(relation: Relation) -> list[ShownColumn]:
    return [ShownColumn(name, relation, position) for position, name in relation.names()]


def _merged(left: list[ShownColumn], right: list[ShownColumn], using: Sequence[str]) -> list[ShownColumn]:
    """The columns of a join: those of USING first and once, by the left side's value."""
    first = [column for name in using for column in left if column.name == name]
    return first + [column for column in (*left, *right) if column.name not in using]
