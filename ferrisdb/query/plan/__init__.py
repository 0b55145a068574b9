"""Queries from syntax tree to rows: bind, optimise, compile, run.

    ast.Query --bind--> Plan --optimise--> Plan --compile--> def run(tx, parameters, now)

A `PlannedQuery` holds for every list of parameters of the same signature, and for as long
as the catalog that it was planned with is current. It is compiled when it first runs.
"""

from __future__ import annotations

import decimal
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ferrisdb.errors import StatementTooComplex, broken
from ferrisdb.query import ast, limits, types
from ferrisdb.query.algebra.operators import Filter, Plan, Project, TableSource, Values
from ferrisdb.query.algebra.row_locking import STORED_ROW, locked_tables
from ferrisdb.query.bind.expression_binder import ExpressionBinder
from ferrisdb.query.bind.expressions import ParameterRef, Slot, SlotRef, conjuncts
from ferrisdb.query.bind.from_binder import FromBinder
from ferrisdb.query.bind.query_binder import QueryBinder
from ferrisdb.query.bind.scope import Scope, derived_relation
from ferrisdb.query.catalog import CatalogView
from ferrisdb.query.compile.program import Run, compile_plan
from ferrisdb.query.explain import explain_plan
from ferrisdb.query.optimise import optimise
from ferrisdb.query.optimise.recheck_rows import recheck_plan
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.types import SqlType, Value
from ferrisdb.query.values import NUMERIC_CONTEXT, arithmetic_error
from ferrisdb.txn.api import Transaction

Row = tuple[Value, ...]

_NEVER = (TypeError, ValueError, LookupError, AttributeError, NameError)
"""What only a fault of the compiler can raise; the user gets an Error all the same."""


@dataclass(frozen=True)
class ResultColumn:
    name: str
    type: SqlType


class PlannedQuery:
    """A query that can run any number of times, by several threads at once.

    `locked_tables` are the names of the tables of which it locks rows.
    """

    def __init__(self, plan: Plan, names: Sequence[str]) -> None:
        self.locked_tables = locked_tables(plan)
        self.columns = tuple(
            ResultColumn(name, slot.type) for name, slot in zip(names, plan.output, strict=True)
        )
        self._plan = plan
        self._run: Run | None = None
        self._source = ""

    def explain(self) -> list[str]:
        """The plan as an indented tree, one operator a line with its conditions below."""
        return explain_plan(self._plan)

    def source(self) -> str:
        """The Python that the plan is compiled to."""
        self._compiled()
        return self._source

    def _compiled(self) -> Run:
        # Two threads may both compile; either result is good, so no lock is held meanwhile.
        run = self._run
        if run is None:
            try:
                run, self._source = compile_plan(self._plan)
            except RecursionError:
                raise _too_deep() from None
            except SyntaxError as error:
                # "too many nested parentheses", "too many levels of indentation": bounds of
                # CPython, which the compiler stays below as far as it can.
                if "too many" in str(error):
                    raise _too_deep() from None
                broken(f"generated code does not compile: {error}")
            self._run = run
        return run

    def run(self, tx: Transaction, parameters: Parameters, now: datetime) -> Iterator[list[Row]]:
        """Batches of rows, made as they are asked for, each inside NUMERIC_CONTEXT.

        Between batches the caller's own decimal context holds. Raises what the rows raise:
        DataError and CardinalityViolation of the query, and every error of the store.
        """
        return self._batches(tx, parameters.values, now)

    def _batches(self, tx: Transaction, given: Mapping[Any, Any], now: datetime) -> Iterator[list[Row]]:
        batches = self._compiled()(tx, given, now)
        while True:
            try:
                with decimal.localcontext(NUMERIC_CONTEXT):
                    batch = next(batches, None)
            except ArithmeticError as error:
                raise arithmetic_error(error) from None
            except _NEVER as error:
                broken(f"generated code raised {type(error).__name__}: {error}")
            if batch is None:
                return
            yield batch


class PlannedTargets(PlannedQuery):
    """The rows that an UPDATE or DELETE is about: see `plan_target_rows`."""

    def __init__(self, plan: Plan, names: Sequence[str], recheck: Plan, source: TableSource) -> None:
        super().__init__(optimise(plan), names)
        self._recheck = PlannedQuery(recheck_plan(recheck, optimise), names)
        self._target = source

    def look_again(
        self, stored: tuple[bytes, bytes], tx: Transaction, parameters: Parameters, now: datetime
    ) -> Row | None:
        """What the plan gives for a row with this key and these bytes; None: it is no target."""
        given: dict[Any, Any] = {**parameters.values, self._target: (stored,)}
        for rows in self._recheck._batches(tx, given, now):
            return rows[0]
        return None


def _planned(plan: Plan, names: Sequence[str]) -> PlannedQuery:
    return PlannedQuery(optimise(plan), names)


def _too_deep() -> StatementTooComplex:
    return StatementTooComplex("the statement is nested too deeply")


def plan_query(query: ast.Query, catalog: CatalogView, parameters: Parameters) -> PlannedQuery:
    """Raises ProgrammingError, with a position, for a query that means nothing."""
    try:
        bound = QueryBinder(catalog, parameters).bind(query)
        return _planned(bound.plan, bound.names)
    except RecursionError:
        raise _too_deep() from None


def plan_target_rows(
    table_ref: ast.TableRef,
    where: ast.Expression | None,
    new_values: Sequence[tuple[ast.Expression, SqlType]],
    catalog: CatalogView,
    parameters: Parameters,
) -> PlannedTargets:
    """For UPDATE and DELETE: (row key, raw row, *new values cast to the types by assignment).

    The rows are read as they are asked for: a caller that writes the table takes them all
    first, or it may meet its own new rows.
    """
    try:
        queries = QueryBinder(catalog, parameters)
        scope = Scope(None)
        scan, _ = FromBinder(queries, scope).table(table_ref)
        plan: Plan = scan
        given: Plan = replace(scan, access=STORED_ROW)
        if where is not None:
            condition = ExpressionBinder(queries, scope, "WHERE").condition(where)
            plan = Filter(plan, conjuncts(condition))
            given = Filter(given, conjuncts(condition))
        key = scan.source.row_key = queries.numbers("row key", types.UNKNOWN, is_nullable=False)
        raw = scan.source.row_value = queries.numbers("row", types.UNKNOWN, is_nullable=False)
        values = queries.expressions(new_values, scope, "SET")
        items = ((key, SlotRef(key, False)), (raw, SlotRef(raw, False)), *values)
        names = [slot.name for slot, _ in items]
        return PlannedTargets(Project(plan, items), names, Project(given, items), scan.source)
    except RecursionError:
        raise _too_deep() from None


def plan_row_values(
    expressions: Sequence[tuple[ast.Expression, SqlType]], catalog: CatalogView, parameters: Parameters
) -> PlannedQuery:
    """One row of expressions without a FROM, each cast to its type by assignment."""
    try:
        queries = QueryBinder(catalog, parameters)
        if expressions:
            limits.check_result_columns(len(expressions), expressions[0][0].position)
        items = tuple(queries.expressions(expressions, Scope(None), "VALUES"))
        return _planned(Project(Values((), ((),)), items), [slot.name for slot, _ in items])
    except RecursionError:
        raise _too_deep() from None


def plan_conflict_update(
    table_ref: ast.TableRef,
    where: ast.Expression | None,
    new_values: Sequence[tuple[ast.Expression, SqlType]],
    catalog: CatalogView,
    parameters: Parameters,
) -> PlannedQuery:
    """For ON CONFLICT DO UPDATE: one row of the new values, or none where WHERE is not true.

    The row that stands and the one that was to be inserted, `excluded`, are given as parameters:
    `conflict_parameters`.
    """
    try:
        queries = QueryBinder(catalog, parameters)
        scope = Scope(None)
        scan, standing = FromBinder(queries, Scope(None)).table(table_ref)
        columns = scan.source.table.columns
        slots: list[Slot] = []
        refs: list[ParameterRef] = []
        for side, alias in enumerate((standing.alias, "excluded")):
            own = [queries.numbers(c.name, c.type, is_nullable=True, table=alias) for c in columns]
            scope.add(derived_relation(alias, [c.name for c in columns], tuple(own)), table_ref.position)
            slots += own
            refs += (
                ParameterRef(key, column.type, is_of_column=True)
                for key, column in zip(_conflict_keys(side, len(columns)), columns, strict=True)
            )
        plan: Plan = Values(tuple(slots), (tuple(refs),))
        if where is not None:
            condition = ExpressionBinder(queries, scope, "WHERE").condition(where)
            plan = Filter(plan, conjuncts(condition))
        items = tuple(queries.expressions(new_values, scope, "SET"))
        return _planned(Project(plan, items), [slot.name for slot, _ in items])
    except RecursionError:
        raise _too_deep() from None


def conflict_parameters(standing: Sequence[Value], excluded: Sequence[Value]) -> dict[int | str, Value]:
    """The two rows, as a plan of `plan_conflict_update` asks for them."""
    given: dict[int | str, Value] = {}
    for side, row in enumerate((standing, excluded)):
        given.update(zip(_conflict_keys(side, len(row)), row, strict=True))
    return given


@functools.lru_cache(maxsize=256)
def _conflict_keys(side: int, count: int) -> tuple[str, ...]:
    # No parameter of a user can have a blank in its name.
    return tuple(f"{('standing', 'excluded')[side]} {position}" for position in range(count))
