"""ON CONFLICT: what an INSERT does about a row whose key another row has.

    proposed row   a=1 b='x'                       INSERT INTO t VALUES (1, 'x')
        |
    its unique keys: does one stand already?       ON CONFLICT (a)
        no     it is inserted
        yes    DO NOTHING   it is left out
               DO UPDATE    the standing row is locked and changed; the proposed one is `excluded`

The columns in parentheses name a primary key or unique index over just these columns, the
arbiter. A row that takes another key is a UniqueViolation all the same. Without them, which
only DO NOTHING may, every unique key is an arbiter.

Rows are taken in their order, and each meets those before it. They are kept here until the
last one is settled (`pending`), so that a subquery in SET sees the table as it was before the
statement. A command may not change a row twice, as the outcome would hang on the order of its
rows (CardinalityViolation). In executemany each row of parameters is a command.

Beside other transactions: all keys are locked, in their order, before they are looked at, so
what another one has inserted and not yet committed is waited for. DO UPDATE takes the rows that
it finds standing before them, in the order in which UPDATE does. Then

    read committed   the newest version is what conflicts, and what is updated, seen or not
    snapshot, above  a key that was committed after the snapshot is a SerializationFailure

DO NOTHING takes no lock for a key that stands in its snapshot: many may find out at once that
there is nothing to do. (PostgreSQL waits there, if that row is just being deleted.)

Limits: no partial unique indexes, hence no WHERE behind the columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ferrisdb.errors import (
    CardinalityViolation,
    InvalidColumnReference,
    SqlSyntaxError,
    UndefinedObject,
    invariant,
)
from ferrisdb.immutable import immutable
from ferrisdb.query import ast
from ferrisdb.query.catalog import CatalogView
from ferrisdb.query.change.constraints import KeyRule, check_not_null, not_null_positions, unique_violation
from ferrisdb.query.change.execution import Execution
from ferrisdb.query.change.index_maintenance import Entry, TableLayout
from ferrisdb.query.change.row_changes import RowChange
from ferrisdb.query.change.row_ids import encode_row_id
from ferrisdb.query.change.syntax import default_expression, nodes
from ferrisdb.query.change.targets import find_columns
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.plan import PlannedQuery, conflict_parameters, plan_conflict_update
from ferrisdb.query.row_locks import identity_key, row_pairs
from ferrisdb.query.types import SqlType, Value
from ferrisdb.query.values.suggest import did_you_mean

PROPOSED_BATCH_ROWS = 1000


@immutable
class ConflictUpdate:
    """SET and WHERE. `assigned` are column positions, in the order of the plan's new values."""

    plan: PlannedQuery
    assigned: tuple[int, ...]
    not_null: tuple[int, ...]
    is_of_rows_alone: bool
    """Neither a parameter nor a subquery stands in it: it may run for many commands at once."""

    def new_values(
        self, execution: Execution, standing: tuple[Value, ...], excluded: Sequence[Value]
    ) -> list[Value] | None:
        """The standing row with its new values; None where WHERE is not true."""
        given = execution.parameters.beside(conflict_parameters(standing, excluded))
        made = [row for batch in self.plan.run(execution.transaction, given, execution.now) for row in batch]
        if not made:
            return None
        new = list(standing)
        for target, value in zip(self.assigned, made[0], strict=True):
            new[target] = value
        return new


class OnConflict:
    """The clause, prepared for one schema and one signature of parameters. Threads may share it."""

    def __init__(
        self, layout: TableLayout, arbiters: Sequence[KeyRule], update: ConflictUpdate | None
    ) -> None:
        """`update` None is DO NOTHING."""
        self.layout = layout
        self.arbiters = frozenset(arbiters)
        self.update = update

    @property
    def may_run_many(self) -> bool:
        return self.update is None or self.update.is_of_rows_alone

    def insert(
        self,
        execution: Execution,
        rows: Sequence[Sequence[Value]],
        log: list[RowChange] | None,
        *,
        is_each_a_command: bool,
    ) -> int:
        """Insert or update what the rows say: the number of rows that did change. What becomes of
        each is noted in `log`."""
        run = _Run(self, execution, log)
        count = run.take(rows, is_each_a_command)
        run.write()
        return count

    def explain(self) -> list[str]:
        lines = [f"  Conflict Resolution: {'NOTHING' if self.update is None else 'UPDATE'}"]
        if self.arbiters:
            lines.append(f"  Conflict Arbiters: {', '.join(sorted(rule.name for rule in self.arbiters))}")
        return lines


class _Run:
    """The rows of one statement, or of a batch of executemany."""

    def __init__(self, on_conflict: OnConflict, execution: Execution, log: list[RowChange] | None) -> None:
        self._log = log
        self._layout = on_conflict.layout
        self._arbiters = on_conflict.arbiters
        self._update = on_conflict.update
        self._execution = execution
        self._transaction = execution.transaction
        self._pending: dict[bytes, bytes | None] = {}
        self._affected: set[bytes] = set()

    def take(self, rows: Sequence[Sequence[Value]], is_each_a_command: bool) -> int:
        count = 0
        for start in range(0, len(rows), PROPOSED_BATCH_ROWS):
            for entries, row in self._proposed(rows[start : start + PROPOSED_BATCH_ROWS]):
                if is_each_a_command:
                    self._affected.clear()
                count += self._settle(entries, row)
        return count

    def write(self) -> None:
        """In the order of the keys: see `RowChanges.write`."""
        for key in sorted(self._pending):
            value = self._pending[key]
            if value is None:
                self._transaction.delete(key)
            else:
                self._transaction.put(key, value)

    def _proposed(self, rows: Sequence[Sequence[Value]]) -> list[tuple[list[Entry], Sequence[Value]]]:
        """The rows, with what they would be in the store, and the keys in question locked."""
        proposed = list(zip(map(self._layout.entries, self._row_keys(rows), rows), rows, strict=True))
        if self._update is None:
            proposed = self._without_the_standing(proposed)
        else:
            self._hold_the_standing([entries for entries, _ in proposed], self._update)
        claims = {key for entries, _ in proposed for key, _, rule in entries if rule is not None}
        self._transaction.lock(sorted(claims))
        return proposed

    def _hold_the_standing(self, proposed: list[list[Entry]], update: ConflictUpdate) -> None:
        """Lock what DO UPDATE is about to change, as far as the snapshot shows it.

        An UPDATE takes a row before its index entries. Whoever took an entry first and then waited for
        the row would be a deadlock with it.
        """
        arbiters, prefix = self._arbiters, self._layout.prefix
        keys = [key for entries in proposed for key, _, rule in entries[1:] if rule in arbiters]
        rows = {prefix + found for found in self._transaction.get_many(keys) if found is not None}
        rows.update(entries[0][0] for entries in proposed if entries[0][2] in arbiters)
        if self._layout.key_columns.isdisjoint(update.assigned):
            self._transaction.lock(sorted(rows))
        else:
            self._transaction.lock_pairs(row_pairs(sorted(rows)))

    def _row_keys(self, rows: Sequence[Sequence[Value]]) -> Iterable[bytes]:
        layout = self._layout
        if layout.has_primary_key:
            return map(layout.row_key, rows)
        first = self._execution.row_ids.take(self._transaction, layout.table.id, len(rows))
        return [layout.prefix + encode_row_id(first + number) for number in range(len(rows))]

    def _without_the_standing(
        self, proposed: list[tuple[list[Entry], Sequence[Value]]]
    ) -> list[tuple[list[Entry], Sequence[Value]]]:
        """Without the rows for which DO NOTHING has nothing to do as the snapshot shows."""
        keys = [key for entries, _ in proposed for key, _, rule in entries if rule in self._arbiters]
        found = self._transaction.get_many(keys)
        standing = {key for key, value in zip(keys, found, strict=True) if value is not None}
        if not standing:
            return proposed
        return [each for each in proposed if standing.isdisjoint(key for key, _, _ in each[0])]

    def _settle(self, entries: list[Entry], row: Sequence[Value]) -> int:
        """Insert, update or leave out one row: the number of rows that change."""
        for key, _, rule in entries:
            if rule in self._arbiters:
                found = self._find(key)
                if found is not None:
                    is_row = key == entries[0][0]
                    return self._resolve(key if is_row else self._layout.prefix + found, row)
        for key, _, rule in entries:
            if rule is not None and rule not in self._arbiters and self._find(key) is not None:
                raise unique_violation(self._layout.table, (rule, row))
        for key, value, _ in entries:
            self._pending[key] = value
        self._affected.add(entries[0][0])
        self._note(None, row)
        return 1

    def _resolve(self, row_key: bytes, excluded: Sequence[Value]) -> int:
        if self._update is None:
            return 0
        if row_key in self._affected:
            raise CardinalityViolation(
                "ON CONFLICT DO UPDATE command cannot affect row a second time",
                hint="no two rows of one command may have the same key",
            )
        self._transaction.lock([row_key])
        stored = self._find(row_key)
        invariant(stored is not None, "the row of a unique entry stands")
        standing = self._layout.row_codec.decode(stored or b"")
        new = self._update.new_values(self._execution, standing, excluded)
        if new is None:
            return 0
        check_not_null(self._layout.table, self._update.not_null, new)
        self._affected.add(self._change(row_key, standing, new))
        self._note(standing, new)
        return 1

    def _note(self, old: Sequence[Value] | None, new: Sequence[Value]) -> None:
        if self._log is not None:
            self._log.append((old, new))

    def _change(self, row_key: bytes, standing: Sequence[Value], new: Sequence[Value]) -> bytes:
        """Put the new row in place of the standing one: its key."""
        layout = self._layout
        new_key = layout.row_key(new) if layout.has_primary_key else row_key
        entries = layout.entries(row_key, standing)
        coming = layout.entries(new_key, new)
        if _claims(entries) != _claims(coming):
            self._transaction.lock([identity_key(row_key)], are_stored=False)
        going = {key: value for key, value, _ in entries}
        for key, value, rule in coming:
            if rule is not None and key not in going:
                self._transaction.lock([key])
                if self._find(key) is not None:
                    raise unique_violation(layout.table, (rule, new))
            if key == new_key or going.get(key) != value:
                self._pending[key] = value
            going.pop(key, None)
        self._pending.update(dict.fromkeys(going))
        return new_key

    def _find(self, key: bytes) -> bytes | None:
        """What stands under a locked key, by now."""
        if key in self._pending:
            return self._pending[key]
        return self._transaction.get_newest(key)


def _claims(entries: Sequence[Entry]) -> list[bytes]:
    return [key for key, _, rule in entries if rule is not None]


# --- preparing ----------------------------------------------------------------------------


def prepare_on_conflict(
    statement: ast.Insert, layout: TableLayout, catalog: CatalogView, parameters: Parameters
) -> OnConflict | None:
    """Raises UndefinedColumn, UndefinedObject, InvalidColumnReference where no unique key is over the
    columns, SqlSyntaxError, and what planning raises."""
    clause = statement.on_conflict
    if clause is None:
        return None
    if clause.assignments and not clause.columns and clause.constraint is None:
        raise SqlSyntaxError(
            "ON CONFLICT DO UPDATE requires inference specification or constraint name",
            position=clause.position,
            hint="say which key: ON CONFLICT (column, ...) DO UPDATE",
        )
    arbiters = _arbiters(clause, layout)
    if not clause.assignments:
        return OnConflict(layout, arbiters, None)
    table = layout.table
    assigned = find_columns(table, [assignment.column for assignment in clause.assignments])
    new_values: list[tuple[ast.Expression, SqlType]] = []
    for target, assignment in zip(assigned, clause.assignments, strict=True):
        value, column = assignment.value, table.columns[target]
        if isinstance(value, ast.Default):
            value = default_expression(column.default_sql, value.position)
        new_values.append((value, column.type))
    plan = plan_conflict_update(statement.table, clause.where, new_values, catalog, parameters)
    not_null = tuple(position for position in not_null_positions(table) if position in assigned)
    is_of_rows_alone = not any(isinstance(node, (ast.Parameter, ast.Query)) for node in nodes(clause))
    return OnConflict(layout, arbiters, ConflictUpdate(plan, tuple(assigned), not_null, is_of_rows_alone))


def _arbiters(clause: ast.OnConflict, layout: TableLayout) -> list[KeyRule]:
    rules = [layout.rule] if layout.has_primary_key else []
    rules += [index.rule for index in layout.indexes if index.index.is_unique]
    if clause.constraint is not None:
        return [_constraint(clause.constraint, layout)]
    if not clause.columns:
        return rules
    wanted = set(find_columns(layout.table, clause.columns))
    found = [rule for rule in rules if set(rule.columns) == wanted]
    if not found:
        raise InvalidColumnReference(
            "there is no unique or exclusion constraint matching the ON CONFLICT specification",
            position=clause.columns[0].position,
            hint="it needs a PRIMARY KEY, UNIQUE or unique index over just these columns",
        )
    return found


def _constraint(name: ast.Name, layout: TableLayout) -> KeyRule:
    named = {index.rule.name: index.rule for index in layout.indexes if index.index.is_constraint}
    if layout.has_primary_key:
        named[layout.rule.name] = layout.rule
    if name.text not in named:
        raise UndefinedObject(
            f'constraint "{name.text}" for table "{layout.table.name}" does not exist',
            position=name.position,
            hint=did_you_mean(name.text, list(named)),
        )
    return named[name.text]
