"""Text becomes tokens: words, names, strings, numbers, parameters, comments."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrisdb.errors import Error, SqlSyntaxError
from ferrisdb.query.parse.lexer import END, NAME, STRING, Lexer

LEXER = Lexer({"select": "SELECT", "from": "FROM"})


def lexed(sql: str) -> list[tuple[str, str]]:
    return [(kind, text) for kind, text, _ in LEXER.tokens(sql)][:-1]


def test_each_token_has_a_kind_a_meaning_and_a_place() -> None:
    assert LEXER.tokens('SELECT "Key" FROM t  ') == [
        ("SELECT", "select", 0),
        ("NAME", "Key", 7),
        ("FROM", "from", 13),
        ("NAME", "t", 18),
        ("$END", "", 19),
    ]


@pytest.mark.parametrize(
    ("sql", "tokens"),
    [
        # A reserved word stays one, wherever it stands.
        ("from FROM fRoM", [("FROM", "from")] * 3),
        # Unquoted names fold, quoted ones do not, and are never keywords.
        ('Abc "Abc" "from" "a""b"', [("NAME", "abc"), ("NAME", "Abc"), ("NAME", "from"), ("NAME", 'a"b')]),
        ("_a1$ Stra\u00dfe", [("NAME", "_a1$"), ("NAME", "stra\u00dfe")]),
        ("'' 'it''s' 'a\nb'", [("STRING", ""), ("STRING", "it's"), ("STRING", "a\nb")]),
        ("1 1. .5 1.5", [("INT", "1"), ("DECIMAL", "1."), ("DECIMAL", ".5"), ("DECIMAL", "1.5")]),
        ("1e3 1.E-3 .5e+2", [("FLOAT", "1e3"), ("FLOAT", "1.E-3"), ("FLOAT", ".5e+2")]),
        ("t.a", [("NAME", "t"), (".", "."), ("NAME", "a")]),
        ("a::b", [("NAME", "a"), ("::", "::"), ("NAME", "b")]),
        ("a==b", [("NAME", "a"), ("=", "="), ("NAME", "b")]),
        ("a!=b<=", [("NAME", "a"), ("COMPARISON", "<>"), ("NAME", "b"), ("COMPARISON", "<=")]),
        ("a-b--c\n-d", [("NAME", "a"), ("-", "-"), ("NAME", "b"), ("-", "-"), ("NAME", "d")]),
        ("a/b/*c*/||d", [("NAME", "a"), ("/", "/"), ("NAME", "b"), ("||", "||"), ("NAME", "d")]),
        ("a /* 1 /* 2 */ ' */ b", [("NAME", "a"), ("NAME", "b")]),
        ("a -- ' /* \n b", [("NAME", "a"), ("NAME", "b")]),
        ("? ?", [("PARAMETER", "1"), ("PARAMETER", "2")]),
        ("?2 $1 ?01", [("PARAMETER", "2"), ("PARAMETER", "1"), ("PARAMETER", "1")]),
        (":a $B", [("PARAMETER", "a"), ("PARAMETER", "B")]),
    ],
)  # fmt: skip
def test_texts_and_their_tokens(sql: str, tokens: list[tuple[str, str]]) -> None:
    assert lexed(sql) == tokens


@pytest.mark.parametrize(
    ("sql", "position"),
    [
        ("a 'b''", 2),
        ("a 'b''c''d", 2),
        ('a "b""', 2),
        ("a /* b", 2),
        ("a /* /* */", 2),
        ("a `b`", 2),
        ("a 12b", 2),
        ("a 1.5e", 2),
        ("a 0x1F", 2),
        ("a \x00", 2),
        ("a : b", 2),
        ("a ! b", 2),
        ('a ""', 2),
        ("? :a", 2),
        (":a $1", 3),
    ],
)
def test_what_is_no_token_is_pointed_at(sql: str, position: int) -> None:
    with pytest.raises(SqlSyntaxError) as raised:
        LEXER.tokens(sql)
    assert raised.value.position == position


def quoted(text: str, quote: str) -> str:
    return quote + text.replace(quote, quote * 2) + quote


@settings(deadline=None)
@given(st.text(), st.text(min_size=1))
def test_quoting_hides_any_text(text: str, name: str) -> None:
    sql = f"{quoted(text, chr(39))} {quoted(name, chr(34))}"
    assert lexed(sql) == [(STRING, text), (NAME, name)]


@settings(deadline=None)
@given(st.text(alphabet="ab1. '\"-/*\n;?:$=<>!|e+\u00e9"))
def test_tokens_lie_in_order_and_their_places_hold(sql: str) -> None:
    try:
        tokens = LEXER.tokens(sql)
    except Error as error:
        assert error.position is not None
        assert 0 <= error.position < len(sql)
        return
    positions = [position for _, _, position in tokens]
    assert tokens[-1][0] == END
    assert positions == sorted(positions)
    for kind, text, position in tokens[:-1]:
        if kind == NAME and sql[position] != '"':
            assert sql[position : position + len(text)].lower() == text
