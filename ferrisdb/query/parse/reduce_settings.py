"""SET, SHOW and RESET, and the modes of a transaction."""

from __future__ import annotations

from ferrisdb.query import ast
from ferrisdb.query.parse.lexer import Token
from ferrisdb.query.parse.reduce_statements import Mode, modes_of
from ferrisdb.query.parse.rules import rule

Value = Token | str | None
"""A word, a text or a number; `minus` has joined the sign to it. None is DEFAULT."""


@rule("set")
def set_plain(word: Token, name: Token, _to: Token, value: Value) -> ast.SetSetting:
    return _set(word, name, value, is_local=False)


@rule("set_session")
def set_session(word: Token, _session: Token, name: Token, _to: Token, value: Value) -> ast.SetSetting:
    return _set(word, name, value, is_local=False)


@rule("set_local")
def set_local(word: Token, _local: Token, name: Token, _to: Token, value: Value) -> ast.SetSetting:
    return _set(word, name, value, is_local=True)


def _set(word: Token, name: Token, value: Value, *, is_local: bool) -> ast.SetSetting:
    text = value[1] if isinstance(value, tuple) else value
    return ast.SetSetting(ast.Name(name[1], name[2]), text, is_local, word[2])


@rule("minus")
def minus(_sign: Token, number: Token) -> str:
    return f"-{number[1]}"


@rule("set_transaction")
def set_transaction(word: Token, _transaction: Token, modes: list[Mode]) -> ast.SetTransaction:
    return ast.SetTransaction(*modes_of(modes), False, word[2])


@rule("set_characteristics")
def set_characteristics(
    word: Token,
    _session: Token,
    _characteristics: Token,
    _as: Token,
    _transaction: Token,
    modes: list[Mode],
) -> ast.SetTransaction:
    return ast.SetTransaction(*modes_of(modes), True, word[2])


@rule("show")
def show(word: Token, name: Token) -> ast.ShowSetting:
    return ast.ShowSetting(ast.Name(name[1], name[2]), word[2])


@rule("show_all")
def show_all(word: Token, _all: Token) -> ast.ShowSetting:
    return ast.ShowSetting(None, word[2])


@rule("show_level")
def show_level(word: Token, transaction: Token, _isolation: Token, _level: Token) -> ast.ShowSetting:
    return ast.ShowSetting(ast.Name("transaction_isolation", transaction[2]), word[2])


@rule("reset")
def reset(word: Token, name: Token) -> ast.ResetSetting:
    return ast.ResetSetting(ast.Name(name[1], name[2]), word[2])


@rule("reset_all")
def reset_all(word: Token, _all: Token) -> ast.ResetSetting:
    return ast.ResetSetting(None, word[2])
