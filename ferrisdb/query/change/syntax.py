"""Small questions to a syntax tree, asked of every node below one.

Nodes are dataclasses, and their fields hold nodes, tuples of nodes, or plain values.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import TypeVar

from ferrisdb.query import ast
from ferrisdb.query.parse import parse_expression


def nodes(root: object) -> Iterator[object]:
    """The root and every node below it, in the order of the text. Needs no deep stack."""
    pending = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, tuple):
            pending.extend(reversed(node))
        elif dataclasses.is_dataclass(node):
            yield node
            pending.extend(getattr(node, field.name) for field in reversed(dataclasses.fields(node)))


def parameter_keys(statement: ast.Statement) -> frozenset[int | str]:
    """The numbers and names of the parameters that a statement mentions."""
    return frozenset(node.key for node in nodes(statement) if isinstance(node, ast.Parameter))


def locks_rows(statement: ast.Statement) -> bool:
    """Whether a query, or one inside it, says FOR UPDATE or one of its kin."""
    return any(isinstance(node, ast.Locking) for node in nodes(statement))


@functools.lru_cache(maxsize=256)
def default_expression(default_sql: str | None, position: int) -> ast.Expression:
    """A column's default, as if its text stood at `position` of the statement that uses it.

    Its own positions count in its own text; left as they are, an error would point into
    the middle of an unrelated word.
    """
    if default_sql is None:
        return ast.Literal(None, position)
    return _moved(parse_expression(default_sql), position)


T = TypeVar("T")


def _moved(node: T, position: int) -> T:
    if isinstance(node, tuple):
        return type(node)(_moved(part, position) for part in node)
    if not dataclasses.is_dataclass(node) or isinstance(node, type):
        return node
    changed = {
        field.name: position if field.name == "position" else _moved(getattr(node, field.name), position)
        for field in dataclasses.fields(node)
    }
    return type(node)(**changed)


def indented(lines: Sequence[str]) -> list[str]:
    """A plan's lines as the input of the line above them."""
    return ["  " + line for line in lines]
