"""Text becomes a tree: shapes, precedence, limits, and other people's statements."""

from __future__ import annotations

import dataclasses
import enum
import random
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrisdb.errors import (
    Error,
    NotSupportedError,
    NumericValueOutOfRange,
    SqlSyntaxError,
    StatementTooComplex,
    StatementTooLarge,
)
from ferrisdb.query import ast
from ferrisdb.query.parse import (
    MAX_EXPRESSION_DEPTH,
    MAX_STATEMENT_CHARS,
    is_complete,
    keywords,
    parse_expression,
    parse_statement,
    split_statements,
)

FOLDER = Path(__file__).parent / "sql"
SUITES = Path(__file__).parents[3] / "shared" / "suites"
needs_suites = pytest.mark.skipif(not SUITES.is_dir(), reason=f"the suites are not at {SUITES}")


# --- a tree as text ---------------------------------------------------------------------


def show(node: object) -> str:
    """A tree as an s-expression: fields by name, without positions and what is empty."""
    match node:
        case ast.Literal(value) | ast.Parameter(value):
            sign = "?" if isinstance(node, ast.Parameter) else ""
            return f"{sign}{value!r}" if not isinstance(value, Decimal) else f"{value}d"
        case ast.ColumnRef(table, column):
            return column if table is None else f"{table}.{column}"
        case ast.Name(text):
            return text
        case ast.TypeName(name, arguments):
            return f"<{name}{' ' if arguments else ''}{','.join(map(str, arguments))}>"
        case ast.Binary(operator, left, right):
            return f"({operator} {show(left)} {show(right)})"
        case ast.Unary(operator, operand):
            return f"({operator} {show(operand)})"
        case tuple():
            return f"[{' '.join(map(show, node))}]"
        case enum.Enum():
            return str(node.value)
    if not dataclasses.is_dataclass(node):
        return str(node)
    shown = [
        f"{field.name}={show(value)}"
        for field in dataclasses.fields(node)
        if field.name != "position" and (value := getattr(node, field.name)) not in (None, False, ())
    ]
    return f"({' '.join([type(node).__name__, *shown])})"


def transcripts(name: str) -> list[tuple[str, str]]:
    """(statement, what stands indented under it), where `#` lines are prose."""
    pairs = []
    for block in re.split(r"\n\n+", (FOLDER / name).read_text(encoding="utf-8")):
        lines = [line for line in block.split("\n") if line and not line.startswith("#")]
        told = [line.strip() for line in lines if line.startswith("    ")]
        if told:
            pairs.append(("\n".join(line for line in lines if not line.startswith("    ")), " ".join(told)))
    return pairs


@pytest.mark.parametrize(("sql", "tree"), transcripts("trees.txt"))
def test_a_statement_becomes_this_tree(sql: str, tree: str) -> None:
    assert show(parse_statement(sql)) == tree


def precedence_pairs() -> list[tuple[str, str]]:
    lines = (FOLDER / "precedence.txt").read_text(encoding="utf-8").splitlines()
    return [tuple(re.split(r"\s{2,}==\s{2,}", line)) for line in lines if line and line[0] != "#"]  # type: ignore[misc]


@pytest.mark.parametrize(("bare", "parenthesised"), precedence_pairs())
def test_operators_bind_as_in_postgresql(bare: str, parenthesised: str) -> None:
    assert show(parse_expression(bare)) == show(parse_expression(parenthesised))


@pytest.mark.parametrize(
    ("one", "other"),
    [("(a + b) * c", "a + b * c"), ("a - (b - c)", "a - b - c"), ("(NOT a) = b", "NOT a = b")],
)
def test_parentheses_matter(one: str, other: str) -> None:
    assert show(parse_expression(one)) != show(parse_expression(other))


# --- positions, names, numbers ----------------------------------------------------------


def test_a_node_points_at_its_operator_or_its_first_word() -> None:
    sql = "SELECT a + bb, f(c) FROM t WHERE d IS NULL"
    query = parse_statement(sql)
    assert isinstance(query, ast.Query)
    assert isinstance(query.body, ast.Select)
    positions = [item.expression.position for item in query.body.items if isinstance(item, ast.SelectItem)]
    assert [sql[position:][0] for position in positions] == ["+", "f"]
    assert query.body.where is not None
    assert sql[query.body.where.position :] == "IS NULL"


@pytest.mark.parametrize("word", sorted(keywords()))
def test_a_keyword_is_a_name_unless_it_is_reserved_and_always_when_quoted(word: str) -> None:
    quoted = f'SELECT "{word.lower()}" FROM t AS "{word.lower()}"'
    assert word.lower() in show(parse_statement(quoted))
    try:
        bare = parse_statement(f"SELECT t.{word} FROM {word} AS {word}")
    except Error as error:
        assert error.position is not None
        return
    assert show(bare) == show(
        parse_statement(f'SELECT t."{word.lower()}" FROM "{word.lower()}" AS "{word.lower()}"')
    )


@pytest.mark.parametrize(
    "name", ["date", "key", "value", "level", "name", "index", "user", "time", "first", "set"]
)
def test_common_column_names_are_free(name: str) -> None:
    parse_statement(f"CREATE TABLE {name} ({name} date NOT NULL, PRIMARY KEY ({name}))")
    parse_statement(f"INSERT INTO {name} ({name}) VALUES (?)")
    parse_statement(f"SELECT {name}, {name}.{name} AS {name} FROM {name} WHERE {name} = 1 ORDER BY {name}")
    parse_statement(f"UPDATE {name} SET {name} = {name} + 1")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("1.50", Decimal("1.50")),
        (".5", Decimal("0.5")),
        ("1.", Decimal(1)),
        ("-0.10", Decimal("-0.10")),
        ("1e3", 1000.0),
        ("-1.5E-3", -0.0015),
        ("'it''s'", "it's"),
        ("''", ""),
        ("NULL", None),
        ("true", True),
    ],
)
def test_a_literal_keeps_its_kind_and_its_digits(text: str, value: object) -> None:
    literal = parse_expression(text)
    assert isinstance(literal, ast.Literal)
    assert (literal.value, type(literal.value)) == (value, type(value))
    assert str(literal.value) == str(value)


def test_a_negative_decimal_is_not_rounded_by_the_callers_context() -> None:
    digits = "1." + "3" * 60
    literal = parse_expression("-" + digits)
    assert isinstance(literal, ast.Literal)
    assert str(literal.value) == "-" + digits


def test_a_default_keeps_its_own_text_without_the_comment_behind_it() -> None:
    statement = parse_statement(
        "CREATE TABLE t (a int DEFAULT  1 +\n 2 -- three\n NOT NULL, b int DEFAULT 'x')"
    )
    assert isinstance(statement, ast.CreateTable)
    assert [column.default_sql for column in statement.columns] == ["1 +\n 2", "'x'"]
    assert show(parse_expression("1 +\n 2")) == show(statement.columns[0].default)


def test_parameters_are_numbered_in_the_order_of_the_text() -> None:
    keys = re.findall(r"\?(\S+?)[\])]", show(parse_expression("f(?, g(?)) + h(?)")).replace(" ", "] "))
    assert keys == ["1", "2", "3"]


# --- limits -----------------------------------------------------------------------------


def test_a_thousand_ors_are_ten_deep() -> None:
    tree = parse_expression(" OR ".join(f"a = {number}" for number in range(1000)))
    assert depth(tree) <= 12
    assert re.findall(r"\d+", show(tree)) == [str(number) for number in range(1000)]


def depth(tree: Any) -> int:
    if not isinstance(tree, ast.Binary):
        return 1
    return 1 + max(depth(tree.left), depth(tree.right))


NESTED = {
    "parentheses": lambda n: "SELECT " + "(" * n + "1" + ")" * n,
    "not": lambda n: "SELECT " + "NOT " * n + "a",
    "signs": lambda n: "SELECT " + "- " * n + "a",
    "sum": lambda n: "SELECT 1" + " + 1" * n,
    "concatenation": lambda n: "SELECT 'a'" + " || 'a'" * n,
    "casts": lambda n: "SELECT a" + "::int" * n,
    "is": lambda n: "SELECT a" + " IS NULL" * n,
    "case": lambda n: "SELECT " + "CASE WHEN " * n + "a" + " THEN 1 END" * n,
    "calls": lambda n: "SELECT " + "f(" * n + "a" + ")" * n,
    "scalar subqueries": lambda n: "(SELECT " * n + "1" + ")" * n,
    "derived tables": lambda n: "SELECT * FROM (" * n + "VALUES (1)" + ") AS t" * n,
    "in": lambda n: "SELECT * FROM t WHERE " + "a IN (SELECT b FROM t WHERE " * n + "a" + ")" * n,
    "joins": lambda n: "SELECT * FROM t" + " CROSS JOIN t" * n,
    "nested joins": lambda n: "SELECT * FROM " + "(" * n + "t" + " CROSS JOIN t)" * n,
    "and in or": lambda n: "SELECT " + "(a AND (b OR " * n + "c" + "))" * n,
    "default": lambda n: "CREATE TABLE t (a int DEFAULT " + "- " * n + "1)",
    "rows": lambda n: "INSERT INTO t VALUES (1), (" + "- " * n + "a)",
    "set": lambda n: "UPDATE t SET a = " + "- " * n + "a",
}


@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize("times", [20_000, 300, 30, 3])
def test_nesting_ends_in_a_tree_that_recursion_can_walk_or_in_one_error(kind: str, times: int) -> None:
    sql = NESTED[kind](times)
    sql = sql.removeprefix("(").removesuffix(")") if kind == "scalar subqueries" else sql
    try:
        tree = parse_statement(sql)
    except StatementTooComplex as error:
        assert times > 3
        assert error.sqlstate == "54001"
        assert error.position is not None
    else:
        assert times < 300 or kind == "parentheses"
        assert levels(tree) <= MAX_EXPRESSION_DEPTH


def levels(node: object) -> int:
    """By recursion, as the binder walks: the opposite of what depth.py does."""
    if isinstance(node, tuple):
        return max(map(levels, node), default=0)
    if not dataclasses.is_dataclass(node):
        return 0
    return 1 + max((levels(getattr(node, field.name)) for field in dataclasses.fields(node)), default=0)


@pytest.mark.parametrize("times", [MAX_EXPRESSION_DEPTH - 1, MAX_EXPRESSION_DEPTH])
def test_the_deepest_tree_has_exactly_the_allowed_levels(times: int) -> None:
    sql = "NOT " * times + "a"
    if times == MAX_EXPRESSION_DEPTH:
        with pytest.raises(StatementTooComplex):
            parse_expression(sql)
    else:
        assert levels(parse_expression(sql)) == MAX_EXPRESSION_DEPTH


def test_a_statement_may_have_a_million_characters_and_not_one_more() -> None:
    longest = "SELECT '" + "x" * (MAX_STATEMENT_CHARS - 9) + "'"
    parse_statement(longest)
    with pytest.raises(StatementTooLarge, match="1000001 characters; the limit is 1000000") as raised:
        parse_statement(longest + " ")
    assert raised.value.sqlstate == "54000"


def test_a_number_longer_than_python_reads_is_an_error_of_ours() -> None:
    for text in ("9" * 5000, "0." + "9" * 5000, "1e999"):
        with pytest.raises(NumericValueOutOfRange):
            parse_expression(text)


def test_half_a_surrogate_pair_is_refused_before_it_reaches_a_file() -> None:
    with pytest.raises(SqlSyntaxError) as raised:
        parse_statement("SELECT '\ud800'")
    assert raised.value.position == 8


# --- scripts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "statements"),
    [
        ("", []),
        (" ;; -- nothing\n /* ; */ ;", []),
        ("SELECT 1", [(0, "SELECT 1")]),
        ("SELECT 1; SELECT 2;", [(0, "SELECT 1"), (10, "SELECT 2")]),
        ("-- one\n SELECT ';' ; ", [(8, "SELECT ';'")]),
        ('SELECT ";", /* ; /* ; */ ; */ 2;', [(0, 'SELECT ";", /* ; /* ; */ ; */ 2')]),
        ("SELECT 1 -- ;\n, 2; x", [(0, "SELECT 1 -- ;\n, 2"), (19, "x")]),
        ("SELECT 'a; b", [(0, "SELECT 'a; b")]),
        ("SELECT 1; /* ; x", [(0, "SELECT 1"), (10, "/* ; x")]),
        ("a - b / c; d", [(0, "a - b / c"), (11, "d")]),
    ],
)
def test_a_script_is_cut_at_its_semicolons(script: str, statements: list[tuple[int, str]]) -> None:
    assert list(split_statements(script)) == statements


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        ("SELECT 1;", True),
        ("SELECT 1; -- done", True),
        ("SELECT 1; /* done */ \n", True),
        ("SELECT 1", False),
        ("SELECT ';", False),
        ("SELECT 1 -- ;", False),
        ("SELECT 1 /* ;", False),
        ("SELECT 1; /* open", False),
        ("SELECT 'it''s;", False),
        ("", False),
        (";", True),
    ],
)
def test_a_shell_knows_when_to_run(text: str, complete: bool) -> None:
    assert is_complete(text) is complete


SCRIPT_PIECES = st.sampled_from(
    ["'", "''", '"', ";", "--", "\n", "/*", "*/", "/", "-", " ", "a", "SELECT 1", "'x;'", "\\", "\u00e9"]
)


@settings(deadline=None)
@given(st.lists(SCRIPT_PIECES).map("".join))
def test_nothing_but_blanks_comments_and_semicolons_is_lost_between_statements(script: str) -> None:
    found = list(split_statements(script))
    end = 0
    for offset, text in found:
        assert text
        assert script[offset : offset + len(text)] == text
        assert list(split_statements(script[end:offset])) == []
        end = offset + len(text)
    assert list(split_statements(script[end:])) == []
    if is_complete(script):
        assert list(split_statements(script + "\nSELECT 1")) == [*found, (len(script) + 1, "SELECT 1")]


# --- whatever the text, a statement or one of our errors ------------------------------------


def outcome(sql: str) -> object:
    try:
        return parse_statement(sql)
    except Error as error:
        assert error.position is None or 0 <= error.position <= len(sql)
        return error


PIECES = st.one_of(
    st.sampled_from(sorted(keywords())),
    st.sampled_from(
        ["(", ")", ",", ".", ";", "+", "-", "*", "/", "||", "::", "=", "<>", "!=", "<", "?", ":a", "$1"]
    ),
    st.sampled_from(["a", "t", "f(", "'x'", "''", '"q"', "1", "2.5", "1e3", "--\n", "/* */", "int", "%"]),
    st.text(max_size=3),
)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=25).map(" ".join))
def test_words_in_any_order_give_a_statement_or_an_error(sql: str) -> None:
    outcome(sql)


@settings(deadline=None)
@given(st.text())
def test_any_text_gives_a_statement_or_an_error(sql: str) -> None:
    outcome(sql)


def samples() -> list[str]:
    return [sql for sql, _ in transcripts("trees.txt")]


def test_mutated_statements_give_a_statement_or_an_error() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    originals = [re.findall(r"\w+|\s+|.", sql, re.DOTALL) for sql in samples()]
    for _ in range(3000):
        pieces = list(rng.choice(originals))
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(pieces) + 1)
            donor = rng.choice(rng.choice(originals))
            pieces[place : place + rng.randint(0, 2)] = [donor] * rng.randint(0, 2)
        sql = "".join(pieces)
        try:
            outcome(sql)
        except Exception:
            print(sql)
            raise


# --- other people's statements ----------------------------------------------------------

OUT_OF_SCOPE = {
    "UNION is not supported yet",
    "CREATE VIEW is not supported yet",
    "DROP VIEW is not supported yet",
    "INSERT OR is not supported yet",
    "REPLACE is not supported yet",
    "X'...' literals are not supported yet",
    "WITH is not supported yet",
    "RETURNING is not supported yet",
    "SET is not supported yet",
}
"""Why a statement of the suites may be refused. Anything else is a fault of ours."""


def refusals(statements: Iterator[str]) -> tuple[int, list[tuple[str, str]]]:
    count, refused = 0, []
    for sql in statements:
        count += 1
        try:
            parse_statement(sql)
        except NotSupportedError as error:
            if error.message not in OUT_OF_SCOPE:
                refused.append((error.message, sql))
        except SqlSyntaxError as error:
            refused.append((error.message, sql))
    return count, refused


def sqllogictest_statements(path: Path) -> Iterator[str]:
    """Statements and queries that every database should take, from one file."""
    for record in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")):
        lines = [line for line in record.split("\n") if line and not line.startswith("#")]
        if lines and lines[0].startswith(("statement ok", "query ")):
            yield "\n".join(lines[1:]).split("\n----")[0]


@needs_suites
@pytest.mark.shared
@pytest.mark.parametrize(
    "pattern", ["select1.test", "select2.test", "select3.test", "random/*/*.test", "evidence/*.test"]
)
def test_sqllogictest_parses(pattern: str) -> None:
    paths = sorted((SUITES / "sqllogictest").glob(pattern))
    count, refused = refusals(sql for path in paths for sql in sqllogictest_statements(path))
    assert count > 50
    assert refused == []


@needs_suites
@pytest.mark.shared
def test_tpch_parses_without_exception() -> None:
    files = [SUITES / "tpch" / "schema.sql", *sorted((SUITES / "tpch" / "queries").glob("*.sql"))]
    statements = [text for path in files for _, text in split_statements(path.read_text(encoding="utf-8"))]
    assert len(statements) == 8 + 11
    for sql in statements:
        parse_statement(sql)


def spec_statements(path: Path) -> Iterator[str]:
    """The SQL in the braces of an isolation spec."""
    text = re.sub(r"^\s*#.*$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for body in re.findall(r"\{([^{}]*)\}", text):
        for _, sql in split_statements(body.replace("@LEVEL@", "SERIALIZABLE")):
            yield sql


@needs_suites
@pytest.mark.shared
@pytest.mark.parametrize("suite", ["hermitage", "postgresql"])
def test_isolation_specs_parse(suite: str) -> None:
    paths = sorted((SUITES / "isolation" / suite).glob("*.spec"))
    count, refused = refusals(sql for path in paths for sql in spec_statements(path))
    assert count > 50
    assert refused == []
