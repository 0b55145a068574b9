"""Bound expressions: typed, immutable, and aware of whether they can be NULL.

A column is not a name any more but a `Slot`: one value of one row while a query runs,
with an identity of its own. The same table twice in FROM has two sets of slots. So no
rule of the optimiser has to think about scopes, and a correlated subquery simply
mentions a slot that it does not itself produce.

    price * 2 > 10     Call('>', Call('*', SlotRef(price), Constant(2)), Constant(10))

Two expressions are equal when they compute the same thing: source positions and the
identity of function objects do not take part, names and types do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, ClassVar

from ferrisdb.immutable import immutable
from ferrisdb.query import types
from ferrisdb.query.types import SqlType, Value

if TYPE_CHECKING:
    from ferrisdb.query.algebra.operators import Plan
    from ferrisdb.query.values import AggregateFunction, ScalarFunction


class Slot:
    """One column of one row source. Compared by identity; `position` is the table's column."""

    __slots__ = ("id", "is_nullable", "name", "position", "table", "type")

    def __init__(
        self,
        id: int,
        name: str,
        type: SqlType,
        *,
        is_nullable: bool,
        table: str | None = None,
        position: int | None = None,
    ) -> None:
        self.id = id
        self.name = name
        self.type = type
        self.is_nullable = is_nullable
        self.table = table
        self.position = position

    def __repr__(self) -> str:
        return f"{self.table}.{self.name}#{self.id}" if self.table else f"{self.name}#{self.id}"


class Expression:
    """The root of bound expressions. `type` and `is_nullable` hold for every one."""

    __slots__ = ()
    type: SqlType
    is_nullable: bool

    def children(self) -> Sequence[Expression]:
        return ()

    def rebuild(self, children: Sequence[Expression]) -> Expression:
        """The same expression over other children."""
        return self


@immutable
class Constant(Expression):
    value: Value
    type: SqlType

    @property
    def is_nullable(self) -> bool:  # type: ignore[override]
        return self.value is None


@immutable
class ParameterRef(Expression):
    """The value given with the statement. Only text and NULL, alike UNKNOWN, can be NULL.

    A column's value that is given to a plan as a parameter `is_of_column`: it can be, too.
    """

    key: int | str
    type: SqlType
    is_of_column: bool = False

    @property
    def is_nullable(self) -> bool:  # type: ignore[override]
        return self.is_of_column or self.type is types.UNKNOWN


@immutable
class Now(Expression):
    """The statement's clock: the same instant wherever it stands."""

    type: SqlType
    is_nullable: ClassVar[bool] = False  # type: ignore[misc]


@immutable
class SlotRef(Expression):
    """`is_nullable` belongs to the place: a LEFT JOIN makes its right side's columns NULL."""

    slot: Slot
    is_nullable: bool = field(compare=False)

    @property
    def type(self) -> SqlType:  # type: ignore[override]
        return self.slot.type


@immutable
class Call(Expression):
    """A function, an operator or a cast. A strict one is NULL when an argument is."""

    name: str
    arguments: tuple[Expression, ...]
    type: SqlType
    is_nullable: bool = field(compare=False)
    function: ScalarFunction = field(compare=False)

    def children(self) -> Sequence[Expression]:
        return self.arguments

    def rebuild(self, children: Sequence[Expression]) -> Expression:
        return call(self.function, tuple(children), self.type, self.name)


def call(function: ScalarFunction, arguments: tuple[Expression, ...], type: SqlType, name: str) -> Call:
    """`is_nullable` of a strict function comes from its arguments; of another it is unknown."""
    is_nullable = any(argument.is_nullable for argument in arguments) if function.is_strict else True
    return Call(name, arguments, type, is_nullable, function)


@immutable
class Cast(Expression):
    """A cast, implicit or written; implicit ones are not printed. Without a function the
    Python value stays as it is and only its type changes."""

    operand: Expression
    type: SqlType
    is_implicit: bool
    function: ScalarFunction | None = field(compare=False)

    @property
    def is_nullable(self) -> bool:  # type: ignore[override]
        return self.operand.is_nullable

    def children(self) -> Sequence[Expression]:
        return (self.operand,)

    def rebuild(self, children: Sequence[Expression]) -> Expression:
        return replace(self, operand=children[0])


@immutable
class _Boolean(Expression):
    type: ClassVar[SqlType] = types.BOOLEAN  # type: ignore[misc]


@immutable
class _Chain(_Boolean):
    """Any number of conditions, flat, so that a long chain is not a deep tree."""

    parts: tuple[Expression, ...]

    @property
    def is_nullable(self) -> bool:  # type: ignore[override]
        return any(part.is_nullable for part in self.parts)

    def children(self) -> Sequence[Expression]:
        return self.parts

    def rebuild(self, children: Sequence[Expression]) -> Expression:
        return type(self)(tuple(children))


class And(_Chain):
    """TRUE when all parts are."""

    __slots__ = ()


class Or(_Chain):
    """TRUE when one part is."""

    __slots__ = ()


@immutable
class Not(_Boolean):
    operand: Expression

    @property
    def is_nullable(self) -> bool:  # type: ignore[override]
        return self.operand.is_nullable

    def children(self) -> Sequence[Expression]:
        return (self.operand,)

    def rebuild(self, children: Sequence[Expression]) -> Expression:
        return Not(children[0])


@immutable
class IsTest(_Boolean):
    """`operand IS test`, where `test` is None, True or False. Never NULL."""

    operand: Expression
    test: bool | None
    is_nullable: ClassVar[bool] = False  # type: ignore[misc]

    def children(self) -> Sequence[Expression]:
        return (self.operand,)

    def rebuild(self, children: Sequence[Expression]) -> Expression:
        return IsTest(children[0], self.test)


@immutable
class DistinctFrom(_Boolean):
    """`left IS DISTINCT FROM right`, of one type: NULL is a value like another."""

    left: Expression
    right: Expression
    is_nullable: ClassVar[bool] = False  # type: ignore[misc]

    def children(self) -> Sequence[Expression]:
        return (self.left, self.right)

    def rebuild(self, children: Sequence[Expression]) -> Expression:
        return replace(self, left=children[0], right=children[1])


@immutable
class InList(_Boolean):
    """`operand IN (items)`; operand and items are of one type."""

    operand: Expression
    items: tuple[Expression, ...]

    @property
    def is_nullable(self) -> bool:  # type: ignore[override]
        return self.operand.is_nullable or any(item.is_nullable for item in self.items)

    def children(self) -> Sequence[Expression]:
        return (self.operand, *self.items)

    def rebuild(self, children: Sequence[Expression]) -> Expression:
        return InList(children[0], tuple(children[1:]))


@immutable
class Like(_Boolean):
    operand: Expression
    pattern: Expression
    escape: Expression | None
    is_case_insensitive: bool

    @property
    def is_nullable(self) -> bool:  # type: ignore[override]
        return any(child.is_nullable for child in self.children())

    def children(self) -> Sequence[Expression]:
        if self.escape is None:
            return (self.operand, self.pattern)
        return (self.operand, self.pattern, self.escape)

    def rebuild(self, children: Sequence[Expression]) -> Expression:
        escape = children[2] if self.escape is not None else None
        return replace(self, operand=children[0], pattern=children[1], escape=escape)


@immutable
class Case(Expression):
    """Conditions in order; the first that is TRUE gives its result. Evaluated lazily."""

    whens: tuple[tuple[Expression, Expression], ...]
    otherwise: Expression
    type: SqlType

    @property
    def is_nullable(self) -> bool:  # type: ignore[override]
        return self.otherwise.is_nullable or any(result.is_nullable for _, result in self.whens)

    def children(self) -> Sequence[Expression]:
        return (*(part for when in self.whens for part in when), self.otherwise)

    def rebuild(self, children: Sequence[Expression]) -> Expression:
        pairs = tuple(zip(children[:-1:2], children[1:-1:2], strict=True))
        return Case(pairs, children[-1], self.type)


@immutable
class Let(Expression):
    """Evaluate `value` once, call it `slot` within `body`: for operands that SQL writes once."""

    slot: Slot = field(compare=False)
    value: Expression
    body: Expression

    @property
    def type(self) -> SqlType:  # type: ignore[override]
        return self.body.type

    @property
    def is_nullable(self) -> bool:  # type: ignore[override]
        return self.body.is_nullable

    def children(self) -> Sequence[Expression]:
        return (self.value, self.body)

    def rebuild(self, children: Sequence[Expression]) -> Expression:
        return Let(self.slot, children[0], children[1])


@immutable
class AggregateCall(Expression):
    """An aggregate before grouping is resolved; afterwards a `SlotRef` stands in its place."""

    name: str
    arguments: tuple[Expression, ...]
    is_distinct: bool
    type: SqlType
    function: AggregateFunction = field(compare=False)
    is_star: bool = False
    position: int = field(default=0, compare=False)
    is_nullable: ClassVar[bool] = True  # type: ignore[misc]

    def children(self) -> Sequence[Expression]:
        return self.arguments

    def rebuild(self, children: Sequence[Expression]) -> Expression:
        return replace(self, arguments=tuple(children))


@immutable(eq=False)
class SubqueryExpression(Expression):
    """A query inside an expression. `outer_slots` are those it needs from around it."""

    plan: Plan
    outer_slots: tuple[SlotRef, ...]


@immutable(eq=False)
class ScalarQuery(SubqueryExpression):
    """One column, at most one row; no row is NULL."""

    slot: Slot
    is_nullable: ClassVar[bool] = True  # type: ignore[misc]

    @property
    def type(self) -> SqlType:  # type: ignore[override]
        return self.slot.type


@immutable(eq=False)
class ExistsQuery(SubqueryExpression):
    type: ClassVar[SqlType] = types.BOOLEAN  # type: ignore[misc]
    is_nullable: ClassVar[bool] = False  # type: ignore[misc]


@immutable(eq=False)
class InQuery(SubqueryExpression):
    """`operand IN (plan)`; `slot` is the plan's one column, of the operand's type."""

    operand: Expression
    slot: Slot
    type: ClassVar[SqlType] = types.BOOLEAN  # type: ignore[misc]

    @property
    def is_nullable(self) -> bool:  # type: ignore[override]
        return self.operand.is_nullable or self.slot.is_nullable

    def children(self) -> Sequence[Expression]:
        return (self.operand,)

    def rebuild(self, children: Sequence[Expression]) -> Expression:
        return replace(self, operand=children[0])


def transform(expression: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """Apply `change` to every node, children first."""
    children = expression.children()
    if children:
        changed = [transform(child, change) for child in children]
        if any(new is not old for new, old in zip(changed, children, strict=True)):
            expression = expression.rebuild(changed)
    return change(expression)


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and all below it; not into the plans of subqueries."""
    pending = [expression]
    while pending:
        node = pending.pop()
        yield node
        pending.extend(node.children())


def slots_of(expression: Expression) -> set[Slot]:
    """The slots that must have a value before the expression can be computed."""
    used: set[Slot] = set()
    pending = [expression]
    while pending:
        node = pending.pop()
        if isinstance(node, SlotRef):
            used.add(node.slot)
        elif isinstance(node, SubqueryExpression):
            used.update(ref.slot for ref in node.outer_slots)
        if isinstance(node, Let):
            # The slot is bound in the body alone: the same one may be free beside this Let.
            used |= slots_of(node.body) - {node.slot}
            pending.append(node.value)
        else:
            pending.extend(node.children())
    return used


def has_subquery(expression: Expression) -> bool:
    return any(isinstance(node, SubqueryExpression) for node in walk(expression))


def conjuncts(expression: Expression) -> tuple[Expression, ...]:
    """The conditions of which every one must be TRUE for the expression to be."""
    return expression.parts if isinstance(expression, And) else (expression,)


TRUE = Constant(True, types.BOOLEAN)
FALSE = Constant(False, types.BOOLEAN)
NULL_BOOLEAN = Constant(None, types.BOOLEAN)
