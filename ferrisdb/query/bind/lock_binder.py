"""Binding FOR UPDATE and its kin: which tables of FROM are locked, how, and what can't be.

    FROM a JOIN (SELECT ... FROM b) AS d ON ...  FOR UPDATE         a, and b inside of d
                                                 FOR UPDATE OF a    a alone

A row of the result must be one row of each locked table, or there is nothing to lock:
DISTINCT, GROUP BY, HAVING, aggregates and VALUES are refused, and so is the nullable side of
an outer join, where there may be no row at all. All as in PostgreSQL.

Where several clauses name a table the strongest lock counts, and NOWAIT before SKIP LOCKED
before waiting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ferrisdb.errors import NotSupportedError, UndefinedTable
from ferrisdb.query import ast, types
from ferrisdb.query.algebra.operators import Filter, Join, Plan, Project, Scan, walk_plan
from ferrisdb.query.algebra.row_locking import STORED_ROW, KeptRow, LockRows, RowLock
from ferrisdb.query.bind.expressions import Expression, Slot, slots_of
from ferrisdb.query.bind.scope import Relation, Scope, SlotNumbers, did_you_mean
from ferrisdb.txn.api import Waiting

_PATIENCE = (Waiting.WAIT, Waiting.SKIP_LOCKED, Waiting.NOWAIT)


def push_into_derived(
    items: Sequence[ast.FromItem], lockings: Sequence[ast.Locking]
) -> tuple[ast.FromItem, ...]:
    """FROM with the clauses handed on to the queries inside that they concern."""
    return tuple(_pushed(item, lockings) for item in items)


def _pushed(item: ast.FromItem, lockings: Sequence[ast.Locking]) -> ast.FromItem:
    if isinstance(item, ast.Join):
        return replace(item, left=_pushed(item.left, lockings), right=_pushed(item.right, lockings))
    if isinstance(item, ast.TableRef):
        return item
    inner = []
    for locking in lockings:
        is_named = any(name.text == item.alias for name in locking.tables)
        if isinstance(item.query.body, ast.Values):
            if is_named:
                raise _not_with(locking, "VALUES")
        elif is_named or not locking.tables:
            inner.append(replace(locking, tables=()))
    return replace(item, query=replace(item.query, lockings=(*item.query.lockings, *inner)))


def refuse_unlockable(select: ast.Select, lockings: Sequence[ast.Locking], *, is_grouped: bool) -> None:
    """Raises NotSupportedError where a row of the result is not one row of each table."""
    reasons = (
        (select.is_distinct, "DISTINCT"),
        (select.group_by, "GROUP BY"),
        (select.having is not None, "HAVING"),
        (is_grouped, "aggregate functions"),
    )
    for reason, word in reasons:
        if reason:
            raise _not_with(lockings[0], word)


def refuse_values(lockings: Sequence[ast.Locking]) -> None:
    if lockings:
        raise _not_with(lockings[0], "VALUES")


def _not_with(locking: ast.Locking, word: str) -> NotSupportedError:
    return NotSupportedError(
        f"{locking.strength} is not allowed with {word}",
        position=locking.position,
        hint="lock the rows in a query of their own, or in a subquery of FROM",
    )


class LockBinder:
    """The locks of one SELECT, whose FROM is bound."""

    def __init__(self, scope: Scope, numbers: SlotNumbers, lockings: Sequence[ast.Locking]) -> None:
        self._numbers = numbers
        found: dict[str, tuple[Relation, ast.LockStrength, Waiting]] = {}
        for locking in lockings:
            for relation in _concerned(scope, locking):
                _, strength, waiting = found.get(relation.alias, (None, locking.strength, locking.waiting))
                found[relation.alias] = (
                    relation,
                    max(strength, locking.strength),
                    max(waiting, locking.waiting, key=_PATIENCE.index),
                )
        self._locks = tuple(
            RowLock(relation.source, strength, waiting)
            for relation, strength, waiting in found.values()
            if relation.source is not None
        )
        for lock in self._locks:
            lock.source.row_key = self._numbers("row key", types.UNKNOWN, is_nullable=False)
            lock.source.row_value = self._numbers("row", types.UNKNOWN, is_nullable=False)
        self._kept: list[KeptRow] = []

    def has_locks(self) -> bool:
        return bool(self._locks)

    def recheck(self, rows: Plan, shown: Sequence[tuple[Slot, Expression]]) -> Plan:
        """The query again, about one row: `rows` is its FROM and WHERE."""
        used: set[Slot] = set().union(*(slots_of(expression) for _, expression in shown))
        for node in walk_plan(rows):
            used.update(*(slots_of(expression) for expression in node.expressions()))
        return Project(self._given(rows, used, is_optional=False), tuple(shown))

    def extra_slots(self) -> Iterator[Slot]:
        """What LockRows must be given beside what it shows. After `recheck`."""
        for lock in self._locks:
            yield from (slot for slot in (lock.source.row_key, lock.source.row_value) if slot is not None)
        for kept in self._kept:
            yield from kept.slots

    def plan(self, rows: Plan, shown: Sequence[Slot], recheck: Plan) -> LockRows:
        return LockRows(rows, tuple(shown), self._locks, tuple(self._kept), recheck)

    def _given(self, plan: Plan, used: set[Slot], *, is_optional: bool) -> Plan:
        if isinstance(plan, Join):
            is_left_join = plan.kind is ast.JoinKind.LEFT
            left = self._given(plan.left, used, is_optional=is_optional)
            right = self._given(plan.right, used, is_optional=is_optional or is_left_join)
            return plan.with_inputs((left, right))
        if isinstance(plan, Filter):
            return plan.with_inputs((self._given(plan.input, used, is_optional=is_optional),))
        if isinstance(plan, Scan):
            if any(lock.source is plan.source for lock in self._locks):
                return replace(plan, access=STORED_ROW)
            columns = tuple(plan.source.slots.values())
        else:
            columns = plan.output
        kept = KeptRow(tuple(slot for slot in columns if slot in used), is_optional)
        self._kept.append(kept)
        return kept


def _concerned(scope: Scope, locking: ast.Locking) -> Iterator[Relation]:
    """The relations that a clause names, or all. Raises UndefinedTable, NotSupportedError."""
    if not locking.tables:
        relations = scope.relations
    else:
        relations = [_named(scope, name, locking) for name in locking.tables]
    for relation in relations:
        if relation.is_nullable:
            raise NotSupportedError(
                f"{locking.strength} cannot be applied to the nullable side of an outer join",
                position=locking.position,
                hint=f"name the tables to lock: {locking.strength} OF ...",
            )
        yield relation


def _named(scope: Scope, name: ast.Name, locking: ast.Locking) -> Relation:
    relation = scope.relation(name.text)
    if relation is None:
        aliases = {each.alias: each.alias for each in scope.relations}
        raise UndefinedTable(
            f'there is no "{name.text}" in FROM for {locking.strength}',
            position=name.position,
            hint=did_you_mean(name.text, aliases),
        )
    return relation
