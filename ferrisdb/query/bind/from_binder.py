"""Binding FROM: relations into a scope, joins into a tree.

Comma-joined items are CROSS joins here; the optimiser takes inner joins apart again and
orders them by what connects them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ferrisdb.errors import AmbiguousColumn, InvalidColumnReference, UndefinedColumn, UndefinedTable
from ferrisdb.query import ast, limits
from ferrisdb.query.algebra.operators import Join, Plan, Scan, TableSource, Values
from ferrisdb.query.ast import JoinKind
from ferrisdb.query.bind.coercion import located, unified
from ferrisdb.query.bind.expression_binder import ExpressionBinder
from ferrisdb.query.bind.expressions import Expression, SlotRef, call, conjuncts
from ferrisdb.query.bind.scope import Relation, Scope, derived_relation, did_you_mean, table_relation
from ferrisdb.query.values import binary_operator

if TYPE_CHECKING:
    from ferrisdb.query.bind.query_binder import QueryBinder


class FromBinder:
    """Fills a scope with the items of one FROM."""

    def __init__(self, queries: QueryBinder, scope: Scope) -> None:
        self._queries = queries
        self._scope = scope

    def bind(self, items: Sequence[ast.FromItem]) -> Plan:
        if not items:
            return Values((), ((),))
        plan, _ = self._item(items[0])
        for item in items[1:]:
            right, _ = self._item(item)
            plan = Join(plan, right, JoinKind.CROSS, ())
        return plan

    def _item(self, item: ast.FromItem) -> tuple[Plan, list[Relation]]:
        limits.check_tables(len(self._scope.relations) + 1, item.position)
        if isinstance(item, ast.TableRef):
            return self.table(item)
        if isinstance(item, ast.DerivedTable):
            return self._derived(item)
        return self._join(item)

    def table(self, ref: ast.TableRef) -> tuple[Scan, list[Relation]]:
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
        return Scan(source), [relation]

    def _derived(self, item: ast.DerivedTable) -> tuple[Plan, list[Relation]]:
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
        return bound.plan, [relation]

    def _join(self, join: ast.Join) -> tuple[Plan, list[Relation]]:
        left, left_relations = self._item(join.left)
        right, right_relations = self._item(join.right)
        conditions: tuple[Expression, ...] = ()
        if join.using:
            conditions = self._using(join, left_relations, right_relations)
        elif join.condition is not None:
            visible = Scope(self._scope.parent)
            visible.relations = [*left_relations, *right_relations]
            conditions = conjuncts(
                ExpressionBinder(self._queries, visible, "JOIN/ON").condition(join.condition)
            )
        if join.kind is JoinKind.LEFT:
            for relation in right_relations:
                relation.is_nullable = True
        return Join(left, right, join.kind, conditions), left_relations + right_relations

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
            if name not in self._scope.using:
                self._scope.using.append(name)
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
