"""How deep a syntax tree may be.

What comes after the parser walks trees by recursion (binder, code generator), and Python
allows about a thousand frames, some of which the caller has used. So a tree is measured
here, level by level and without recursion, before anyone else sees it.

AND and OR do not count by their length (they are built as balanced trees), and parentheses
leave nothing in the tree. What counts: subqueries, NOT NOT NOT, chains of arithmetic and
joins, CASE in CASE.
"""

from __future__ import annotations

import dataclasses

from ferrisdb.errors import StatementTooComplex
from ferrisdb.query import ast

MAX_EXPRESSION_DEPTH = 100
"""In nodes, from the statement down to its deepest literal."""

_LEVELS_PER_TOKEN = 2
"""No statement has more levels than this for each of its tokens: `(SELECT 1)` has 4 and 5."""


def check_depth(root: object, token_count: int) -> None:
    """Raises StatementTooComplex when the tree has more than MAX_EXPRESSION_DEPTH levels."""
    if token_count * _LEVELS_PER_TOKEN <= MAX_EXPRESSION_DEPTH:
        return
    level = [root]
    position: int | None = None
    for _ in range(MAX_EXPRESSION_DEPTH):
        level = _children(level)
        if not level:
            return
        # Some nodes have none (When, SelectItem); then the error points at what is around them.
        position = next((node.position for node in level if hasattr(node, "position")), position)
    raise StatementTooComplex(
        f"statement is nested more than {MAX_EXPRESSION_DEPTH} levels deep",
        position=position,
        hint="split it, or shorten its longest chain of operators, subqueries or joins",
    )


def _children(level: list[object]) -> list[object]:
    below: list[object] = []
    for node in level:
        for name in _CHILD_FIELDS.get(type(node), ()):
            child = getattr(node, name)
            if isinstance(child, tuple):
                below += _flat(child)
            elif child is not None:
                below.append(child)
    return below


def _flat(items: tuple[object, ...]) -> list[object]:
    """The rows of VALUES are tuples of tuples; nothing is deeper than that."""
    if items and isinstance(items[0], tuple):
        return [item for row in items if isinstance(row, tuple) for item in row]
    return list(items)


def _may_hold_nodes(annotation: str) -> bool:
    plain = {"int", "str", "bool", "float", "Decimal", "None", "tuple[str, ...]", "tuple[int, ...]"}
    return not all(part in plain for part in annotation.split(" | "))


_CHILD_FIELDS: dict[type, tuple[str, ...]] = {
    node_type: tuple(
        field.name for field in dataclasses.fields(node_type) if _may_hold_nodes(str(field.type))
    )
    for node_type in vars(ast).values()
    if isinstance(node_type, type) and dataclasses.is_dataclass(node_type)
}
"""The fields of each node that may hold nodes. Other values, such as DEFAULT's text, have none."""
