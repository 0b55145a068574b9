"""One text, one tree: lexer, automaton and limits put together."""

from __future__ import annotations

from typing import Any

from ferrisdb.errors import SqlSyntaxError, StatementTooLarge

# Importing these registers what the grammar's productions build.
from ferrisdb.query.parse import (  # noqa: F401
    reduce_expressions,
    reduce_foreign_keys,
    reduce_queries,
    reduce_settings,
    reduce_statements,
)
from ferrisdb.query.parse.automaton import Rejected, parse
from ferrisdb.query.parse.depth import check_depth
from ferrisdb.query.parse.lexer import END, Lexer
from ferrisdb.query.parse.tables import Tables

MAX_STATEMENT_CHARS = 1_000_000


class Parser:
    """Holds tables and lexer, and nothing of any one text: threads may share it."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.lexer = Lexer({word.lower(): word for word in tables.keywords})

    def parse(self, start: str, sql: str) -> Any:
        """The tree of the whole text, read as `start` (a rule of the grammar).

        Raises SqlSyntaxError, NotSupportedError, StatementTooLarge, StatementTooComplex,
        NumericValueOutOfRange.
        """
        check_text(sql)
        tokens = self.lexer.tokens(sql)
        while len(tokens) > 1 and tokens[-2][0] == ";":
            tokens[-2:] = [(END, "", tokens[-2][2])]
        try:
            tree = parse(self.tables, start, sql, tokens)
        except Rejected as rejected:
            # Most texts are right, so what explains the wrong ones is loaded only for them.
            from ferrisdb.query.parse.syntax_errors import explain  # noqa: PLC0415

            raise explain(self.tables, start, sql, tokens, rejected.index) from None
        check_depth(tree, len(tokens))
        return tree


def check_text(sql: str) -> None:
    if len(sql) > MAX_STATEMENT_CHARS:
        raise StatementTooLarge(
            f"statement has {len(sql)} characters; the limit is {MAX_STATEMENT_CHARS}",
            hint="send its values as parameters, or split it",
        )
    if not sql.isascii():
        try:
            sql.encode()
        except UnicodeEncodeError as error:
            raise SqlSyntaxError(
                f"half a surrogate pair, U+{ord(sql[error.start]):04X}, is not a character",
                position=error.start,
            ) from None
