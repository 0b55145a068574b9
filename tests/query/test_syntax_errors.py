"""A wrong statement is told what is wrong, where, and mostly what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrisdb.errors import Error, SqlSyntaxError, render
from ferrisdb.query.parse import automaton, keywords, parse_expression, parse_statement
from ferrisdb.query.parse.automaton import expected, shift, shift_all
from ferrisdb.query.parse.lexer import END
from ferrisdb.query.parse.not_yet import missing_feature
from ferrisdb.query.parse.parser import Parser
from ferrisdb.query.parse.tables import load

TRANSCRIPT = Path(__file__).parent / "sql" / "syntax_errors.txt"
PARSER = Parser(load())


def transcripts() -> list[tuple[str, str]]:
    pairs = []
    for block in re.split(r"\n\n+", TRANSCRIPT.read_text(encoding="utf-8").rstrip("\n")):
        lines = block.split("\n")
        sql = "\n".join(line[2:] for line in lines if line.startswith("> "))
        if sql:
            pairs.append((sql, "\n".join(line for line in lines if line[:2] not in ("> ", "# "))))
    return pairs


@pytest.mark.parametrize(("sql", "told"), transcripts())
def test_a_wrong_statement_is_told_this(sql: str, told: str) -> None:
    with pytest.raises(Error) as raised:
        parse_statement(sql)
    assert render(raised.value, sql) == told


@pytest.mark.parametrize("sql", ["", " \n ", "-- nothing", ";"])
def test_an_empty_text_is_no_statement(sql: str) -> None:
    with pytest.raises(SqlSyntaxError, match="there is no statement here"):
        parse_statement(sql)


def test_an_expression_is_not_a_statement() -> None:
    with pytest.raises(SqlSyntaxError, match="near 'SELECT'"):
        parse_expression("SELECT 1")
    with pytest.raises(SqlSyntaxError, match="near 'a'"):
        parse_expression("1 a")


def test_a_long_word_is_not_repeated_in_full() -> None:
    with pytest.raises(SqlSyntaxError) as raised:
        parse_statement("SELECT a b " + "c" * 1000)
    assert len(raised.value.message) < 120


# --- the expected set is exact ----------------------------------------------------------

SAMPLES = {
    "NAME": "a",
    "STRING": "'x'",
    "INT": "1",
    "DECIMAL": "1.5",
    "FLOAT": "1e3",
    "PARAMETER": "?",
    "COMPARISON": "<",
    "AS_OF": "AS OF VERSION",
}
ALL_KINDS = [*SAMPLES, *sorted(keywords()), *"(),.+-*/%=", "||", "::"]

BEGINNINGS = """
SELECT
SELECT a
SELECT a +
SELECT (a
SELECT a IS
SELECT a NOT
SELECT CASE
SELECT a FROM t
SELECT a FROM t ORDER
INSERT INTO t
UPDATE t SET a =
CREATE TABLE t (a int
BEGIN
"""


@pytest.mark.parametrize("beginning", BEGINNINGS[:-1].split("\n"))
def test_a_token_is_expected_exactly_when_the_parser_gets_past_it(beginning: str) -> None:
    kinds = [kind for kind, _, _ in PARSER.lexer.tokens(beginning)][:-1]
    fitting = expected(PARSER.tables, shift_all(PARSER.tables, "statement", kinds)) - {END}
    assert fitting
    assert fitting == {kind for kind in ALL_KINDS if parser_gets_past(beginning, SAMPLES.get(kind, kind))}


def parser_gets_past(beginning: str, word: str) -> bool:
    sql = f"{beginning} {word}"
    tokens = PARSER.lexer.tokens(sql)
    try:
        automaton.parse(PARSER.tables, "statement", sql, tokens)
    except automaton.Rejected as rejected:
        return tokens[rejected.index][0] == END
    return True


@settings(deadline=None)
@given(st.lists(st.sampled_from(ALL_KINDS), max_size=12))
def test_a_hint_to_write_another_word_is_true(words: list[str]) -> None:
    """Whatever `did you mean X?` says, X does fit at that place."""
    sql = " ".join(SAMPLES.get(word, word) for word in words).replace("SELECT", "SELCT")
    try:
        parse_statement(sql)
    except Error as error:
        meant = re.fullmatch(r"did you mean (\w+)\?", error.hint or "")
        if meant is None or error.position is None:
            return
        kinds = [kind for kind, _, position in PARSER.lexer.tokens(sql) if position < error.position]
        assert shift(PARSER.tables, shift_all(PARSER.tables, "statement", kinds), meant[1])


def test_no_word_of_the_language_is_called_missing() -> None:
    """What the grammar can shift at the start of a statement is not in the list of missing ones."""
    starts = expected(PARSER.tables, shift_all(PARSER.tables, "statement", []))
    for kind in starts:
        assert missing_feature([(kind, kind.lower(), 0)], 0, is_name_wanted=False) is None
