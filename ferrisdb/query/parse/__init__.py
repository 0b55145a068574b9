"""From SQL text to a syntax tree.

    text --lexer--> tokens --automaton--> syntax tree (ferrisdb.query.ast)
                                 ^
    grammar/sql.lark --Lark, once--> parse tables, stored

    lexer            one regular expression, one dictionary of words
    automaton        the shift-reduce loop, and what fits at a place
    reduce_*         one function for each production: what it builds
    tables           where the finished tables come from
    table_builder    Lark makes them from the grammar
    syntax_errors    what is wrong with a text that does not fit, and what would
    depth            the bound on nesting
    splitter         scripts into statements

To add to the language: write the production into grammar/sql.lark with an alias, and the
function of that name into a reduce_* module. The tables follow by themselves.
"""

from __future__ import annotations

from ferrisdb.query import ast
from ferrisdb.query.parse import tables as _tables
from ferrisdb.query.parse.depth import MAX_EXPRESSION_DEPTH
from ferrisdb.query.parse.parser import MAX_STATEMENT_CHARS, Parser
from ferrisdb.query.parse.splitter import is_complete, split_statements

__all__ = [
    "MAX_EXPRESSION_DEPTH",
    "MAX_STATEMENT_CHARS",
    "is_complete",
    "keywords",
    "parse_expression",
    "parse_statement",
    "split_statements",
]

_parser = Parser(_tables.load())


def parse_statement(sql: str) -> ast.Statement:
    """The tree of one statement; a `;` may follow it. Positions are offsets into `sql`.

    Raises SqlSyntaxError with `position` and mostly a `hint`; NotSupportedError for what
    PostgreSQL has and FerrisDB has not yet; StatementTooLarge above MAX_STATEMENT_CHARS;
    StatementTooComplex above MAX_EXPRESSION_DEPTH levels; NumericValueOutOfRange for a
    number that is too long.
    """
    statement: ast.Statement = _parser.parse("statement", sql)
    return statement


def parse_expression(sql: str) -> ast.Expression:
    """The tree of one expression, such as the text of a column's DEFAULT. Raises the same."""
    expression: ast.Expression = _parser.parse("expression", sql)
    return expression


def keywords() -> frozenset[str]:
    """All words with a meaning in the grammar, in upper case. Some may also be names."""
    return _parser.tables.keywords
