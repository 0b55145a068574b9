"""The shift-reduce loop: parse tables, tokens, and a stack.

    SELECT a FROM ...      states  0 4 17        token FROM: the row of state 17 says
                           values  SELECT a      "reduce column", so `a` becomes a ColumnRef

Each state's row says for the next token: shift it, or reduce the topmost values by a rule.
A reduction calls the rule's function and goes on with its result, so the tree grows from
its leaves and there is no tree of the parse besides it. LALR(1): DeRemer and Pennello,
"Efficient Computation of LALR(1) Look-Ahead Sets" (TOPLAS 1982).

The loop has no recursion, so a deep text costs memory but never a RecursionError.
`shift_all` and `expected` walk the same tables without values; they explain errors.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ferrisdb.query.parse.lexer import END, Token
from ferrisdb.query.parse.tables import Tables


class Rejected(Exception):
    """The token with this index does not fit."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


def parse(tables: Tables, start: str, sql: str, tokens: list[Token]) -> Any:
    """The value of the whole text. Raises Rejected, and whatever a reduce function raises."""
    rows, rules = tables.rows, tables.rules
    state = tables.starts[start]
    states = [state]
    values: list[Any] = []
    for index, token in enumerate(tokens):
        kind = token[0]
        while True:
            action = rows[state].get(kind)
            if action is None:
                raise Rejected(index)
            if action >= 0:
                break
            name, length, function = rules[~action]
            if function is None:
                state = rows[states[-2]][name]
                states[-1] = state
                continue
            if length:
                value = function(*values[-length:])
                del values[-length:]
                del states[-length:]
            else:
                value = function(sql, token)
            state = rows[states[-1]][name]
            states.append(state)
            values.append(value)
        state = action
        states.append(state)
        values.append(token)
    return values[0]


def shift_all(tables: Tables, start: str, kinds: Iterable[str]) -> list[int]:
    """The states after these tokens, which must fit."""
    states = [tables.starts[start]]
    for kind in kinds:
        if not shift(tables, states, kind):
            raise Rejected(0)
    return states


def shift(tables: Tables, states: list[int], kind: str) -> bool:
    """Take one token; False, with `states` spoiled, when it does not fit."""
    rows, rules = tables.rows, tables.rules
    while True:
        action = rows[states[-1]].get(kind)
        if action is None:
            return False
        if action >= 0:
            states.append(action)
            return True
        name, length, _ = rules[~action]
        if length:
            del states[-length:]
        states.append(rows[states[-1]][name])


def expected(tables: Tables, states: list[int]) -> set[str]:
    """The kinds of token that really fit here.

    The row alone says too much: LALR merges states, so some of its reductions lead to a
    state that refuses the token after all. Each is tried out on a copy of the stack.
    """
    terminals = [kind for kind in tables.rows[states[-1]] if kind == END or not kind.islower()]
    return {kind for kind in terminals if shift(tables, states.copy(), kind)}
