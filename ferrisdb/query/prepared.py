"""From a syntax tree to something that runs: one door for all statements that are planned.

    Query                   -> PreparedQuery      columns and a plan
    Insert, Update, Delete  -> PreparedInsert ... a count of rows
    Explain                 -> PreparedExplain    lines of text

A prepared statement holds for one catalog version and one signature of parameters. It keeps
no state of a run, so sessions share it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ferrisdb.immutable import immutable
from ferrisdb.query import ast
from ferrisdb.query.catalog import CatalogView
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.plan import PlannedQuery, ResultColumn, plan_query
from ferrisdb.query.types import TEXT

if TYPE_CHECKING:
    from ferrisdb.query.change.delete import PreparedDelete
    from ferrisdb.query.change.insert import PreparedInsert
    from ferrisdb.query.change.update import PreparedUpdate

EXPLAIN_COLUMNS = (ResultColumn("QUERY PLAN", TEXT),)


@immutable
class PreparedQuery:
    plan: PlannedQuery


@immutable
class PreparedExplain:
    lines: tuple[str, ...]


ChangeStatement = ast.Insert | ast.Update | ast.Delete
PreparedChange: TypeAlias = "PreparedInsert | PreparedUpdate | PreparedDelete"
Prepared: TypeAlias = "PreparedQuery | PreparedChange | PreparedExplain"


def prepare_change(
    statement: ChangeStatement, catalog: CatalogView, parameters: Parameters
) -> PreparedChange:
    # A process that only asks must not pay for what writes: start-up is counted in milliseconds.
    from ferrisdb.query.change.delete import prepare_delete  # noqa: PLC0415
    from ferrisdb.query.change.insert import prepare_insert  # noqa: PLC0415
    from ferrisdb.query.change.update import prepare_update  # noqa: PLC0415

    if isinstance(statement, ast.Insert):
        return prepare_insert(statement, catalog, parameters)
    if isinstance(statement, ast.Update):
        return prepare_update(statement, catalog, parameters)
    return prepare_delete(statement, catalog, parameters)


def prepare_query(query: ast.Query, catalog: CatalogView, parameters: Parameters) -> PreparedQuery:
    return PreparedQuery(plan_query(query, catalog, parameters))


def prepare_explain(explain: ast.Explain, catalog: CatalogView, parameters: Parameters) -> PreparedExplain:
    statement = explain.statement
    if isinstance(statement, ast.Query):
        return PreparedExplain(tuple(plan_query(statement, catalog, parameters).explain()))
    return PreparedExplain(tuple(prepare_change(statement, catalog, parameters).explain()))
