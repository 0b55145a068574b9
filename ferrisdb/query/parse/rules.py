"""The register of reduce functions: what each production of the grammar builds.

A production `a: b "WORD" c -> alias` is carried out by the function registered as `alias`.
It is called with the values of b, WORD and c, one for one: what their own functions
returned, or the token. The function of an empty production gets the text and the token
in front of which it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ferrisdb.errors import invariant
from ferrisdb.query.parse.lexer import Token

Reducer = Callable[..., Any]
_F = TypeVar("_F", bound=Reducer)
_T = TypeVar("_T")

REDUCERS: dict[str, Reducer] = {}


def rule(alias: str) -> Callable[[_F], _F]:
    """Register the function for the productions of this alias."""

    def register(function: _F) -> _F:
        invariant(alias not in REDUCERS, f"two functions for the rule {alias}")
        REDUCERS[alias] = function
        return function

    return register


# --- rules that only pass on ------------------------------------------------------------


@rule("nothing")
def nothing(_sql: str, _next: Token) -> None:
    return None


@rule("nothing_word")
def nothing_word(_word: Token) -> None:
    return None


@rule("no")
def no(_sql: str, _next: Token) -> bool:
    return False


@rule("no_word")
def no_word(_word: Token) -> bool:
    return False


@rule("yes_word")
def yes_word(_word: Token) -> bool:
    return True


@rule("second")
def second(_first: object, value: _T, *_rest: object) -> _T:
    return value


@rule("third")
def third(_first: object, _second: object, value: _T) -> _T:
    return value


# --- lists ------------------------------------------------------------------------------
# They grow in place: a list belongs to the one parse that builds it.


@rule("no_items")
def no_items(_sql: str, _next: Token) -> list[Any]:
    return []


@rule("first")
def first(item: _T) -> list[_T]:
    return [item]


@rule("append")
def append(items: list[_T], item: _T) -> list[_T]:
    items.append(item)
    return items


@rule("append_after")
def append_after(items: list[_T], _comma: Token, item: _T) -> list[_T]:
    items.append(item)
    return items
