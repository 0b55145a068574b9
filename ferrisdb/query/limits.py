"""Bounds on what one query may ask, each with an error that names it.

They keep a hostile or generated statement from taking the process with it: planning is
recursive over expressions, and the join order is found by comparing pairs.
"""

from __future__ import annotations

from ferrisdb.errors import StatementTooComplex, StatementTooLarge

MAX_RESULT_COLUMNS = 2000
MAX_TABLES_IN_FROM = 64
MAX_EXPRESSION_DEPTH = 200
MAX_SUBQUERY_DEPTH = 32


def check_result_columns(count: int, position: int) -> None:
    if count > MAX_RESULT_COLUMNS:
        raise StatementTooLarge(
            f"a result of {count} columns is over the limit of {MAX_RESULT_COLUMNS}", position=position
        )


def check_tables(count: int, position: int) -> None:
    if count > MAX_TABLES_IN_FROM:
        raise StatementTooLarge(f"more than {MAX_TABLES_IN_FROM} tables in one FROM", position=position)


def check_expression_depth(depth: int, position: int) -> None:
    if depth > MAX_EXPRESSION_DEPTH:
        raise StatementTooComplex(
            f"an expression is nested deeper than {MAX_EXPRESSION_DEPTH}",
            position=position,
            hint="long chains of AND, OR and IN do not count as nesting; split other ones",
        )


def check_subquery_depth(depth: int, position: int) -> None:
    if depth > MAX_SUBQUERY_DEPTH:
        raise StatementTooComplex(
            f"subqueries are nested deeper than {MAX_SUBQUERY_DEPTH}", position=position
        )
