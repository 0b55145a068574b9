"""Binding a query: SELECT's clauses in the order in which they mean something.

    FROM -> WHERE -> GROUP BY -> aggregates -> HAVING -> items -> DISTINCT -> ORDER BY -> LIMIT

That is not the order in which they are written, and it decides what each may mention: WHERE
knows no aggregates and no aliases, ORDER BY knows both. The result is a plan of the same
shape, from Scan at the bottom to Limit at the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ferrisdb.errors import GroupingError, InvalidColumnReference, SqlSyntaxError, UndefinedTable
from ferrisdb.immutable import immutable
from ferrisdb.query import ast, limits, types
from ferrisdb.query.algebra.operators import Distinct, Filter, Limit, Plan, Project, Sort, SortKey, Values
from ferrisdb.query.algebra.show import show
from ferrisdb.query.bind.coercion import coerce, unified, without_unknown
from ferrisdb.query.bind.expression_binder import ExpressionBinder
from ferrisdb.query.bind.expressions import Constant, Expression, Slot, SlotRef, conjuncts
from ferrisdb.query.bind.from_binder import FromBinder
from ferrisdb.query.bind.grouping import GroupRewriter, has_aggregate
from ferrisdb.query.bind.lock_binder import (
    LockBinder,
    push_into_derived,
    refuse_unlockable,
    refuse_values,
)
from ferrisdb.query.bind.scope import Scope, SlotNumbers, derived_relation
from ferrisdb.query.catalog import CatalogView
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.types import SqlType
from ferrisdb.query.values import CastContext


@immutable
class BoundQuery:
    """A plan whose output slots have these names, in order."""

    plan: Plan
    names: tuple[str, ...]


@dataclass
class _Item:
    """One column of the result. `alias` is a name that was written."""

    expression: Expression
    name: str
    alias: str | None
    position: int


class QueryBinder:
    """Binds one statement: its query and all queries inside."""

    def __init__(self, catalog: CatalogView, parameters: Parameters) -> None:
        self.catalog = catalog
        self.parameters = parameters
        self.numbers = SlotNumbers()
        self._depth = 0
        self._operand_slots: list[tuple[Expression, Slot]] = []

    def operand_slot(self, operand: Expression) -> Slot:
        """One slot for equal operands, so that expressions over them are equal too."""
        for known, slot in self._operand_slots:
            if known == operand:
                return slot
        slot = self.numbers("operand", operand.type, is_nullable=operand.is_nullable)
        self._operand_slots.append((operand, slot))
        return slot

    def subquery(self, query: ast.Query, scope: Scope | None, columns: int | None = None) -> BoundQuery:
        """A query inside another. `columns` is how many it must have."""
        self._depth += 1
        limits.check_subquery_depth(self._depth, query.position)
        bound = self.bind(query, scope)
        self._depth -= 1
        if columns is not None and len(bound.names) != columns:
            raise SqlSyntaxError(
                f"a subquery must have {columns} column here, not {len(bound.names)}",
                position=query.position,
            )
        return bound

    def bind(self, query: ast.Query, parent: Scope | None = None) -> BoundQuery:
        if isinstance(query.body, ast.Values):
            refuse_values(query.lockings)
            bound = self._values(query.body, query.order_by, parent)
        else:
            bound = _SelectBinder(self, query.body, query, parent).bind()
        limit = self._count(query.limit, "LIMIT", parent)
        offset = self._count(query.offset, "OFFSET", parent)
        if limit is None and offset is None:
            return bound
        return BoundQuery(_limited(bound.plan, limit, offset), bound.names)

    def _count(self, node: ast.Expression | None, clause: str, parent: Scope | None) -> Expression | None:
        if node is None:
            return None
        bound = ExpressionBinder(self, Scope(parent), clause).bind(node)
        return coerce(bound, types.INTEGER, node.position, CastContext.ASSIGNMENT)

    def _values(
        self, body: ast.Values, order_by: Sequence[ast.OrderItem], parent: Scope | None
    ) -> BoundQuery:
        width = len(body.rows[0])
        limits.check_result_columns(width, body.position)
        binder = ExpressionBinder(self, Scope(parent), "VALUES")
        for row in body.rows:
            if len(row) != width:
                raise SqlSyntaxError("VALUES lists must all be the same length", position=row[0].position)
        bound = [[binder.bind(cell) for cell in row] for row in body.rows]
        columns = []
        for position in range(width):
            cells = unified([row[position] for row in bound], "VALUES", body.position)
            columns.append([without_unknown(cell, body.position) for cell in cells])
        names = [f"column{number}" for number in range(1, width + 1)]
        slots = tuple(
            self.numbers(name, cells[0].type, is_nullable=any(cell.is_nullable for cell in cells))
            for name, cells in zip(names, columns, strict=True)
        )
        plan: Plan = Values(slots, tuple(zip(*columns, strict=True)))
        if order_by:
            scope = Scope(parent)
            scope.add(derived_relation("*VALUES*", names, slots), body.position)
            items = [_Item(SlotRef(s, s.is_nullable), s.name, s.name, body.position) for s in slots]
            sorter = _OrderBinder(self, scope, items, None)
            plan = _sorted(self, plan, list(zip(slots, items, strict=True)), sorter.keys(order_by), False)
        return BoundQuery(plan, tuple(names))

    def expressions(
        self, wanted: Sequence[tuple[ast.Expression, SqlType]], scope: Scope, clause: str
    ) -> list[tuple[Slot, Expression]]:
        """Expressions cast by assignment, each with a slot of its own."""
        binder = ExpressionBinder(self, scope, clause)
        items = []
        for node, type in wanted:
            value = coerce(binder.bind(node), type, node.position, CastContext.ASSIGNMENT)
            items.append((self.numbers("value", type, is_nullable=value.is_nullable), value))
        return items


class _SelectBinder:
    """One SELECT. The clauses share the scope and, once there is one, the grouping."""

    def __init__(
        self,
        queries: QueryBinder,
        select: ast.Select,
        query: ast.Query,
        parent: Scope | None,
    ) -> None:
        self._queries = queries
        self._select = select
        self._order_by = query.order_by
        self._lockings = query.lockings
        self._scope = Scope(parent)

    def bind(self) -> BoundQuery:
        select = self._select
        from_items = select.from_items
        if self._lockings:
            from_items = push_into_derived(from_items, self._lockings)
        plan = FromBinder(self._queries, self._scope).bind(from_items)
        if select.where is not None:
            where = ExpressionBinder(self._queries, self._scope, "WHERE").condition(select.where)
            plan = Filter(plan, conjuncts(where))
        items = self._items()
        limits.check_result_columns(len(items), select.position)
        groups = self._group_keys(items)
        having = self._having()
        order = _OrderBinder(self._queries, self._scope, items, self._scope).keys(self._order_by)
        is_grouped = self._is_grouped(groups, items, having, order)
        if self._lockings:
            refuse_unlockable(select, self._lockings, is_grouped=is_grouped)
            locks = LockBinder(self._scope, self._queries.numbers, self._lockings)
            if locks.has_locks():
                return self._locked(plan, locks, items, order)
        if is_grouped:
            plan = self._grouped(plan, groups, items, having, order)
        slots = [self._output_slot(item) for item in items]
        if not order:
            plan = Project(
                plan, tuple((slot, item.expression) for slot, item in zip(slots, items, strict=True))
            )
            return self._bound(Distinct(plan) if select.is_distinct else plan, items)
        pairs = list(zip(slots, items, strict=True))
        return self._bound(
            _sorted(self._queries, plan, pairs, order, select.is_distinct, project=True), items
        )

    def _locked(
        self, rows: Plan, locks: LockBinder, items: list[_Item], order: list[_OrderKey]
    ) -> BoundQuery:
        pairs = [(self._output_slot(item), item) for item in items]
        recheck = locks.recheck(rows, [(slot, item.expression) for slot, item in pairs])
        extra = [
            (slot, _Item(SlotRef(slot, slot.is_nullable), slot.name, None, self._select.position))
            for slot in locks.extra_slots()
        ]
        plan = _sorted(self._queries, rows, pairs + extra, order, False, project=True)
        return self._bound(locks.plan(plan, [slot for slot, _ in pairs], recheck), items)

    def _bound(self, plan: Plan, items: list[_Item]) -> BoundQuery:
        return BoundQuery(plan, tuple(item.name for item in items))

    def _output_slot(self, item: _Item) -> Slot:
        return self._queries.numbers(item.name, item.expression.type, is_nullable=item.expression.is_nullable)

    # --- items --------------------------------------------------------------------------

    def _items(self) -> list[_Item]:
        binder = ExpressionBinder(self._queries, self._scope, "SELECT", has_aggregates=True)
        items = []
        for item in self._select.items:
            if isinstance(item, ast.Star):
                items += self._star(item)
                continue
            position = item.expression.position
            bound = without_unknown(binder.bind(item.expression), position)
            name = item.alias if item.alias is not None else implicit_name(item.expression)
            items.append(_Item(bound, name, item.alias, position))
        return items

    def _star(self, star: ast.Star) -> list[_Item]:
        if star.table is None:
            if not self._scope.relations:
                raise UndefinedTable("SELECT * needs a FROM", position=star.position)
            return [_Item(ref, name, None, star.position) for name, ref in self._scope.star()]
        relation = self._scope.star_relation(star)
        return [_Item(relation.ref(p), name, None, star.position) for p, name in relation.names()]

    # --- grouping -----------------------------------------------------------------------

    def _group_keys(self, items: list[_Item]) -> list[Expression]:
        binder = ExpressionBinder(self._queries, self._scope, "GROUP BY")
        return [self._group_key(node, items, binder) for node in self._select.group_by]

    def _group_key(self, node: ast.Expression, items: list[_Item], binder: ExpressionBinder) -> Expression:
        chosen: _Item | None = None
        if isinstance(node, ast.Literal) and type(node.value) is int:
            chosen = _ordinal(node, items, "GROUP BY")
        elif (
            # A column of FROM wins over an alias here; in ORDER BY it is the other way round.
            isinstance(node, ast.ColumnRef)
            and node.table is None
            and self._scope.find(node.column, self._scope.relations, node.position) is None
        ):
            chosen = _named(node, items, "GROUP BY")
        if chosen is None:
            return without_unknown(binder.bind(node), node.position)
        if has_aggregate(chosen.expression):
            raise GroupingError("aggregate functions are not allowed in GROUP BY", position=node.position)
        return chosen.expression

    def _having(self) -> Expression | None:
        if self._select.having is None:
            return None
        binder = ExpressionBinder(self._queries, self._scope, "HAVING", has_aggregates=True)
        return binder.condition(self._select.having)

    def _is_grouped(
        self, groups: list[Expression], items: list[_Item], having: Expression | None, order: list[_OrderKey]
    ) -> bool:
        if groups or having is not None:
            return True
        return any(has_aggregate(item.expression) for item in items) or any(
            has_aggregate(key.expression) for key in order
        )

    def _grouped(
        self,
        plan: Plan,
        groups: list[Expression],
        items: list[_Item],
        having: Expression | None,
        order: list[_OrderKey],
    ) -> Plan:
        rewriter = GroupRewriter(groups, self._scope, self._queries.numbers)
        for item in items:
            item.expression = rewriter.rewrite(item.expression, item.position)
        for key in order:
            key.expression = rewriter.rewrite(key.expression, key.position)
        condition = None
        if having is not None and self._select.having is not None:
            condition = rewriter.rewrite(having, self._select.having.position)
        grouped: Plan = rewriter.plan(plan)
        return Filter(grouped, conjuncts(condition)) if condition is not None else grouped


# --- ORDER BY ---------------------------------------------------------------------------


@dataclass
class _OrderKey:
    expression: Expression
    is_descending: bool
    nulls_first: bool
    position: int


class _OrderBinder:
    """ORDER BY's items: an ordinal, an alias of the result, or any expression."""

    def __init__(
        self, queries: QueryBinder, scope: Scope, items: list[_Item], aggregates: Scope | None
    ) -> None:
        self._items = items
        self._binder = ExpressionBinder(queries, scope, "ORDER BY", has_aggregates=aggregates is not None)

    def keys(self, order_by: Sequence[ast.OrderItem]) -> list[_OrderKey]:
        keys: list[_OrderKey] = []
        for item in order_by:
            expression = self._expression(item.expression)
            nulls_first = item.nulls_first if item.nulls_first is not None else item.is_descending
            if not any(key.expression == expression for key in keys):
                keys.append(_OrderKey(expression, item.is_descending, nulls_first, item.expression.position))
        return keys

    def _expression(self, node: ast.Expression) -> Expression:
        if isinstance(node, ast.Literal) and type(node.value) is int:
            return _ordinal(node, self._items, "ORDER BY").expression
        if isinstance(node, ast.ColumnRef) and node.table is None:
            chosen = _named(node, self._items, "ORDER BY")
            if chosen is not None:
                return chosen.expression
        return without_unknown(self._binder.bind(node), node.position)


def _ordinal(node: ast.Literal, items: list[_Item], clause: str) -> _Item:
    number = node.value
    if isinstance(number, int) and 1 <= number <= len(items):
        return items[number - 1]
    raise InvalidColumnReference(
        f"{clause} position {number} is not in the select list",
        position=node.position,
        hint=f"positions run from 1 to {len(items)}",
    )


def _named(node: ast.ColumnRef, items: list[_Item], clause: str) -> _Item | None:
    named = [item for item in items if item.alias == node.column]
    for other in named[1:]:
        if other.expression != named[0].expression:
            raise InvalidColumnReference(f'{clause} "{node.column}" is ambiguous', position=node.position)
    return named[0] if named else None


def _sorted(
    queries: QueryBinder,
    plan: Plan,
    pairs: list[tuple[Slot, _Item]],
    order: list[_OrderKey],
    is_distinct: bool,
    *,
    project: bool = False,
) -> Plan:
    """Project, then Distinct, then Sort; a key that is no column of the result rides along."""
    items = [(slot, item.expression) for slot, item in pairs]
    hidden: list[tuple[Slot, Expression]] = []
    keys = []
    for key in order:
        slot = next((slot for slot, expression in items if expression == key.expression), None)
        if slot is None and is_distinct:
            raise InvalidColumnReference(
                "for SELECT DISTINCT, ORDER BY expressions must appear in the select list",
                position=key.position,
            )
        if slot is None:
            slot = queries.numbers(
                show(key.expression), key.expression.type, is_nullable=key.expression.is_nullable
            )
            hidden.append((slot, key.expression))
        if not isinstance(key.expression, Constant):
            keys.append(SortKey(SlotRef(slot, slot.is_nullable), key.is_descending, key.nulls_first))
    if project or hidden:
        plan = Project(plan, (*items, *hidden))
    if is_distinct:
        plan = Distinct(plan)
    plan = Sort(plan, tuple(keys)) if keys else plan
    if not hidden:
        return plan
    return Project(plan, tuple((slot, SlotRef(slot, slot.is_nullable)) for slot, _ in pairs))


def _limited(plan: Plan, limit: Expression | None, offset: Expression | None) -> Plan:
    # The projection that hides sort keys stays on top, so that Limit stands on Sort.
    if isinstance(plan, Project) and isinstance(plan.input, Sort):
        return plan.with_inputs((Limit(plan.input, limit, offset),))
    return Limit(plan, limit, offset)


def implicit_name(node: ast.Expression) -> str:
    """The name of a column that was given none, as PostgreSQL chooses it."""
    if isinstance(node, ast.ColumnRef):
        return node.column
    if isinstance(node, ast.FunctionCall):
        return node.name
    if isinstance(node, ast.Cast):
        inner = implicit_name(node.operand)
        return inner if inner != "?column?" else node.type.name
    if isinstance(node, ast.Case):
        return "case"
    if isinstance(node, ast.Exists):
        return "exists"
    if isinstance(node, ast.TypedLiteral):
        return node.type.name
    if isinstance(node, ast.ScalarSubquery):
        body = node.query.body
        if isinstance(body, ast.Select) and len(body.items) == 1:
            item = body.items[0]
            if isinstance(item, ast.SelectItem):
                return item.alias or implicit_name(item.expression)
    return "?column?"
