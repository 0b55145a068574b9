"""Expressions: one function for each production, from OR down to a literal.

The position of a node is that of its operator, where it has one, and else of its first
word: errors such as "no operator integer + text" point at the operator.
"""

from __future__ import annotations

import math
from decimal import Decimal

from ferrisdb.errors import NotSupportedError, NumericValueOutOfRange, SqlSyntaxError
from ferrisdb.query import ast
from ferrisdb.query.parse.lexer import Token
from ferrisdb.query.parse.rules import rule

MAX_NUMBER_DIGITS = 1_000
"""PostgreSQL's limit for NUMERIC; Python itself refuses integers of more than 4300 digits."""


# --- AND and OR -------------------------------------------------------------------------


Chain = tuple[list[ast.Expression], list[Token]]
"""Operands, and the words of one associative operator that join them."""


@rule("chain")
def chain(left: ast.Expression, operator: Token, right: ast.Expression) -> Chain:
    return [left, right], [operator]


@rule("longer_chain")
def longer_chain(longer: Chain, operator: Token, right: ast.Expression) -> Chain:
    operands, operators = longer
    operands.append(right)
    operators.append(operator)
    return longer


@rule("and_tree")
@rule("or_tree")
def balanced_tree(whole: Chain) -> ast.Expression:
    operands, operators = whole
    return _tree(operands, operators, 0, len(operands))


def _tree(operands: list[ast.Expression], operators: list[Token], start: int, end: int) -> ast.Expression:
    if end - start == 1:
        return operands[start]
    middle = (start + end + 1) // 2
    left = _tree(operands, operators, start, middle)
    right = _tree(operands, operators, middle, end)
    operator, _, position = operators[middle - 1]
    return ast.Binary(operator, left, right, position)


# --- operators --------------------------------------------------------------------------


@rule("binary")
def binary(left: ast.Expression, operator: Token, right: ast.Expression) -> ast.Binary:
    return ast.Binary(operator[1], left, right, operator[2])


@rule("unary")
def unary(operator: Token, operand: ast.Expression) -> ast.Unary:
    return ast.Unary(operator[0], operand, operator[2])


@rule("signed")
def signed(operator: Token, operand: ast.Expression) -> ast.Expression:
    """`-` before a number makes a negative number: -9223372036854775808 is one, its
    positive twin is out of range."""
    if operator[0] == "-" and isinstance(operand, ast.Literal):
        value = operand.value
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0:
            return ast.Literal(-value, operator[2])
        if isinstance(value, Decimal) and value > 0:
            # Unary minus would round to the precision of the caller's decimal context.
            return ast.Literal(value.copy_negate(), operator[2])
    return ast.Unary(operator[0], operand, operator[2])


@rule("is_test")
def is_test(operand: ast.Expression, word: Token, tested: Token) -> ast.IsTest:
    return ast.IsTest(operand, tested[0], False, word[2])


@rule("is_not_test")
def is_not_test(operand: ast.Expression, word: Token, _not: Token, tested: Token) -> ast.IsTest:
    return ast.IsTest(operand, tested[0], True, word[2])


@rule("is_distinct")
def is_distinct(
    left: ast.Expression, word: Token, _distinct: Token, _from: Token, right: ast.Expression
) -> ast.Binary:
    return ast.Binary("IS DISTINCT FROM", left, right, word[2])


@rule("is_not_distinct")
def is_not_distinct(
    left: ast.Expression, word: Token, _not: Token, _distinct: Token, _from: Token, right: ast.Expression
) -> ast.Binary:
    return ast.Binary("IS NOT DISTINCT FROM", left, right, word[2])


@rule("between")
def between(
    operand: ast.Expression, word: Token, low: ast.Expression, _and: Token, high: ast.Expression
) -> ast.Between:
    return ast.Between(operand, low, high, False, word[2])


@rule("not_between")
def not_between(
    operand: ast.Expression,
    word: Token,
    _between: Token,
    low: ast.Expression,
    _and: Token,
    high: ast.Expression,
) -> ast.Between:
    return ast.Between(operand, low, high, True, word[2])


@rule("in_list")
def in_list(
    operand: ast.Expression, word: Token, _open: Token, items: list[ast.Expression], _close: Token
) -> ast.InList:
    return ast.InList(operand, tuple(items), False, word[2])


@rule("not_in_list")
def not_in_list(
    operand: ast.Expression,
    word: Token,
    _in: Token,
    _open: Token,
    items: list[ast.Expression],
    _close: Token,
) -> ast.InList:
    return ast.InList(operand, tuple(items), True, word[2])


@rule("in_query")
def in_query(
    operand: ast.Expression, word: Token, _open: Token, query: ast.Query, _close: Token
) -> ast.InSubquery:
    return ast.InSubquery(operand, query, False, word[2])


@rule("not_in_query")
def not_in_query(
    operand: ast.Expression, word: Token, _in: Token, _open: Token, query: ast.Query, _close: Token
) -> ast.InSubquery:
    return ast.InSubquery(operand, query, True, word[2])


@rule("like")
def like(
    operand: ast.Expression, word: Token, pattern: ast.Expression, escape: ast.Expression | None
) -> ast.Like:
    return ast.Like(operand, pattern, escape, word[0] == "ILIKE", False, word[2])


@rule("not_like")
def not_like(
    operand: ast.Expression,
    not_word: Token,
    word: Token,
    pattern: ast.Expression,
    escape: ast.Expression | None,
) -> ast.Like:
    return ast.Like(operand, pattern, escape, word[0] == "ILIKE", True, not_word[2])


# --- values -----------------------------------------------------------------------------


@rule("integer")
def integer(token: Token) -> ast.Literal:
    _check_digits(token)
    return ast.Literal(int(token[1]), token[2])


@rule("decimal")
def decimal(token: Token) -> ast.Literal:
    _check_digits(token)
    return ast.Literal(Decimal(token[1]), token[2])


@rule("float")
def floating(token: Token) -> ast.Literal:
    value = float(token[1])
    if math.isinf(value):
        raise NumericValueOutOfRange(
            "number is out of range for DOUBLE", position=token[2], hint="the largest is about 1.8e308"
        )
    return ast.Literal(value, token[2])


def _check_digits(token: Token) -> None:
    if len(token[1]) > MAX_NUMBER_DIGITS:
        raise NumericValueOutOfRange(
            f"number has {len(token[1])} digits; the limit is {MAX_NUMBER_DIGITS}", position=token[2]
        )


@rule("string")
def string(token: Token) -> ast.Literal:
    return ast.Literal(token[1], token[2])


@rule("null")
def null(token: Token) -> ast.Literal:
    return ast.Literal(None, token[2])


@rule("true")
def true(token: Token) -> ast.Literal:
    return ast.Literal(True, token[2])


@rule("false")
def false(token: Token) -> ast.Literal:
    return ast.Literal(False, token[2])


@rule("typed_literal")
def typed_literal(name: Token, text: Token) -> ast.TypedLiteral:
    if len(name[1]) == 1 and name[2] + 1 == text[2]:
        raise NotSupportedError(f"{name[1].upper()}'...' literals are not supported yet", position=name[2])
    return ast.TypedLiteral(ast.TypeName(name[1], (), name[2]), text[1], name[2])


@rule("parameter")
def parameter(token: Token) -> ast.Parameter:
    key = token[1]
    return ast.Parameter(int(key) if key[0] in "0123456789" else key, token[2])


@rule("column")
def column(name: Token) -> ast.ColumnRef:
    return ast.ColumnRef(None, name[1], name[2])


@rule("table_column")
def table_column(table: Token, _dot: Token, name: Token) -> ast.ColumnRef:
    return ast.ColumnRef(table[1], name[1], table[2])


# --- CAST, CASE, EXISTS -----------------------------------------------------------------


@rule("cast")
def cast(
    word: Token, _open: Token, operand: ast.Expression, _as: Token, type_name: ast.TypeName, _close: Token
) -> ast.Cast:
    return ast.Cast(operand, type_name, word[2])


@rule("colon_cast")
def colon_cast(operand: ast.Expression, colons: Token, type_name: ast.TypeName) -> ast.Cast:
    return ast.Cast(operand, type_name, colons[2])


@rule("case")
def case(
    word: Token,
    operand: ast.Expression | None,
    whens: list[ast.When],
    otherwise: ast.Expression | None,
    _end: Token,
) -> ast.Case:
    return ast.Case(operand, tuple(whens), otherwise, word[2])


@rule("when")
def when(_when: Token, condition: ast.Expression, _then: Token, result: ast.Expression) -> ast.When:
    return ast.When(condition, result)


@rule("exists")
def exists(word: Token, _open: Token, query: ast.Query, _close: Token) -> ast.Exists:
    return ast.Exists(query, word[2])


@rule("scalar_subquery")
def scalar_subquery(opening: Token, query: ast.Query, _close: Token) -> ast.ScalarSubquery:
    return ast.ScalarSubquery(query, opening[2])


# --- functions --------------------------------------------------------------------------


@rule("call_without_arguments")
def call_without_arguments(name: Token, _open: Token, _close: Token) -> ast.FunctionCall:
    return ast.FunctionCall(name[1], (), False, False, name[2])


@rule("call_of_word")
def call_of_word(word: Token) -> ast.FunctionCall:
    return ast.FunctionCall(word[1], (), False, False, word[2])


@rule("call_star")
def call_star(name: Token, _open: Token, _star: Token, _close: Token) -> ast.FunctionCall:
    return ast.FunctionCall(name[1], (), True, False, name[2])


@rule("call")
def call(name: Token, _open: Token, arguments: list[ast.Expression], _close: Token) -> ast.FunctionCall:
    return ast.FunctionCall(name[1], tuple(arguments), False, False, name[2])


@rule("call_all")
def call_all(
    name: Token, _open: Token, _all: Token, arguments: list[ast.Expression], _close: Token
) -> ast.FunctionCall:
    return ast.FunctionCall(name[1], tuple(arguments), False, False, name[2])


@rule("call_distinct")
def call_distinct(
    name: Token, _open: Token, _distinct: Token, arguments: list[ast.Expression], _close: Token
) -> ast.FunctionCall:
    return ast.FunctionCall(name[1], tuple(arguments), False, True, name[2])


@rule("call_from")
def call_from(
    name: Token,
    _open: Token,
    argument: ast.Expression,
    from_word: Token,
    source: ast.Expression,
    _close: Token,
) -> ast.FunctionCall:
    """EXTRACT(year FROM d), SUBSTRING(s FROM 2), TRIM(characters FROM s)."""
    if name[1] == "extract":
        return ast.FunctionCall("extract", (_field(argument, name), source), False, False, name[2])
    if name[1] == "substring":
        return ast.FunctionCall("substring", (argument, source), False, False, name[2])
    if name[1] == "trim":
        return ast.FunctionCall("btrim", (source, argument), False, False, name[2])
    raise _no_from(name, from_word)


@rule("call_from_for")
def call_from_for(
    name: Token,
    _open: Token,
    argument: ast.Expression,
    from_word: Token,
    start: ast.Expression,
    _for: Token,
    length: ast.Expression,
    _close: Token,
) -> ast.FunctionCall:
    if name[1] == "substring":
        return ast.FunctionCall("substring", (argument, start, length), False, False, name[2])
    raise _no_from(name, from_word)


_TRIMS = {"BOTH": "btrim", "LEADING": "ltrim", "TRAILING": "rtrim"}


@rule("trim_blanks")
def trim_blanks(
    name: Token, _open: Token, side: Token, _from: Token, text: ast.Expression, _close: Token
) -> ast.FunctionCall:
    _check_trim(name, side)
    return ast.FunctionCall(_TRIMS[side[0]], (text,), False, False, name[2])


@rule("trim_characters")
def trim_characters(
    name: Token,
    _open: Token,
    side: Token,
    characters: ast.Expression,
    _from: Token,
    text: ast.Expression,
    _close: Token,
) -> ast.FunctionCall:
    _check_trim(name, side)
    return ast.FunctionCall(_TRIMS[side[0]], (text, characters), False, False, name[2])


def _check_trim(name: Token, side: Token) -> None:
    if name[1] != "trim":
        raise SqlSyntaxError(f"{side[0]} is for trim() only, not for {name[1]}()", position=side[2])


@rule("position_in")
@rule("position_of")
def position_in(
    word: Token, _open: Token, wanted: ast.Expression, _in: Token, text: ast.Expression, _close: Token
) -> ast.FunctionCall:
    """POSITION('b' IN 'abc'), or with a comma for the IN."""
    return ast.FunctionCall("position", (wanted, text), False, False, word[2])


def _no_from(name: Token, from_word: Token) -> SqlSyntaxError:
    return SqlSyntaxError(
        f"{name[1]}() does not take its arguments with FROM",
        position=from_word[2],
        hint="separate them by commas",
    )


def _field(argument: ast.Expression, name: Token) -> ast.Literal:
    if isinstance(argument, ast.ColumnRef) and argument.table is None:
        return ast.Literal(argument.column, argument.position)
    if isinstance(argument, ast.Literal) and isinstance(argument.value, str):
        return ast.Literal(argument.value.lower(), argument.position)
    raise SqlSyntaxError(
        "EXTRACT takes the name of a field before FROM", position=name[2], hint="like EXTRACT(year FROM d)"
    )


# --- types ------------------------------------------------------------------------------


@rule("type")
def type_name(name: Token, arguments: list[int]) -> ast.TypeName:
    return ast.TypeName(name[1], tuple(arguments), name[2])


@rule("two_word_type")
def two_word_type(name: Token, word: Token) -> ast.TypeName:
    return ast.TypeName(f"{name[1]} {word[1]}", (), name[2])


@rule("varying_type")
def varying_type(name: Token, word: Token, arguments: list[int]) -> ast.TypeName:
    return ast.TypeName(f"{name[1]} {word[1]}", tuple(arguments), name[2])


@rule("zoned_type")
def zoned_type(name: Token, arguments: list[int], word: Token, _time: Token, _zone: Token) -> ast.TypeName:
    return ast.TypeName(f"{name[1]} {word[1]} time zone", tuple(arguments), name[2])


@rule("first_integer")
def first_integer(token: Token) -> list[int]:
    _check_digits(token)
    return [int(token[1])]


@rule("append_integer")
def append_integer(integers: list[int], _comma: Token, token: Token) -> list[int]:
    _check_digits(token)
    integers.append(int(token[1]))
    return integers
