"""Foreign keys: REFERENCES with its actions, as a column has it and as a table does."""

from __future__ import annotations

from dataclasses import replace

from ferrisdb.errors import NotSupportedError
from ferrisdb.query import ast
from ferrisdb.query.parse.lexer import Token
from ferrisdb.query.parse.rules import rule
from ferrisdb.query.schema import ReferentialAction


@rule("foreign_key")
def foreign_key(
    word: Token,
    _key: Token,
    _open: Token,
    names: list[ast.Name],
    _close: Token,
    references: ast.ForeignKeyConstraint,
) -> ast.ForeignKeyConstraint:
    return replace(references, columns=tuple(names), position=word[2])


@rule("references")
def references(word: Token, parent: Token) -> ast.ForeignKeyConstraint:
    return _references(word, parent, ())


@rule("references_columns")
def references_columns(
    word: Token, parent: Token, _open: Token, names: list[ast.Name], _close: Token
) -> ast.ForeignKeyConstraint:
    return _references(word, parent, tuple(names))


def _references(word: Token, parent: Token, referenced: tuple[ast.Name, ...]) -> ast.ForeignKeyConstraint:
    """Its own columns are known where it stands in the statement."""
    return ast.ForeignKeyConstraint(
        None,
        (),
        ast.Name(parent[1], parent[2]),
        referenced,
        ReferentialAction.NO_ACTION,
        ReferentialAction.NO_ACTION,
        word[2],
    )


@rule("references_match")
def references_match(
    foreign_key: ast.ForeignKeyConstraint, _match: Token, kind: Token
) -> ast.ForeignKeyConstraint:
    if kind[0] != "SIMPLE":
        raise NotSupportedError(
            f"MATCH {kind[0]} is not supported",
            position=kind[2],
            hint="MATCH SIMPLE, which needs no word, leaves a key with a NULL in it unchecked",
        )
    return foreign_key


@rule("references_on_delete")
def references_on_delete(
    foreign_key: ast.ForeignKeyConstraint, _on: Token, _delete: Token, action: ReferentialAction
) -> ast.ForeignKeyConstraint:
    return replace(foreign_key, on_delete=action)


@rule("references_on_update")
def references_on_update(
    foreign_key: ast.ForeignKeyConstraint, _on: Token, _update: Token, action: ReferentialAction
) -> ast.ForeignKeyConstraint:
    return replace(foreign_key, on_update=action)


@rule("action_word")
def action_word(word: Token) -> ReferentialAction:
    return ReferentialAction(word[0])


@rule("action_words")
def action_words(first: Token, second: Token) -> ReferentialAction:
    return ReferentialAction(f"{first[0]} {second[0]}")


# --- DEFERRABLE ---------------------------------------------------------------------------


@rule("deferrable")
def deferrable(word: Token) -> int:
    raise _not_deferrable(word)


@rule("deferrable_words")
def deferrable_words(word: Token, _deferred: Token) -> int:
    raise _not_deferrable(word)


def _not_deferrable(word: Token) -> NotSupportedError:
    return NotSupportedError(
        "a constraint can't be deferred to the end of the transaction",
        position=word[2],
        hint="it is checked at the end of each statement; leave the word out",
    )


@rule("not_deferrable")
def not_deferrable(word: Token, _second: Token) -> int:
    """What is said is so anyway: the position is all that is left of it."""
    return word[2]


@rule("deferral_after")
def deferral_after(
    key: ast.KeyConstraint | ast.ForeignKeyConstraint, _position: int
) -> ast.KeyConstraint | ast.ForeignKeyConstraint:
    return key
