"""From a syntax tree to something that runs: one door for all statements that are planned.

    Query                   -> PreparedQuery      columns and a plan
    Insert, Update, Delete  -> PreparedInsert ... a count of rows
    Explain                 -> PreparedExplain    lines of text

A prepared statement holds for one catalog version and one signature of parameters. It keeps
no state of a run, so sessions share it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ferrisdb.query import ast
from ferrisdb.query.catalog import CatalogView
from ferrisdb.query.change.delete import PreparedDelete, prepare_delete
from ferrisdb.query.change.insert import PreparedInsert, prepare_insert
from ferrisdb.query.change.update import PreparedUpdate, prepare_update
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.plan import PlannedQuery, ResultColumn, plan_query
from ferrisdb.query.types import TEXT

EXPLAIN_COLUMNS = (ResultColumn("QUERY PLAN", TEXT),)


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    plan: PlannedQuery


@dataclass(frozen=True, slots=True)
class PreparedExplain:
    lines: tuple[str, ...]


ChangeStatement = ast.Insert | ast.Update | ast.Delete
PreparedChange = PreparedInsert | PreparedUpdate | PreparedDelete
Prepared = PreparedQuery | PreparedChange | PreparedExplain


def prepare_change(
    statement: ChangeStatement, catalog: CatalogView, parameters: Parameters
) -> PreparedChange:
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
