"""Foreign keys kept: what follows from the rows that a statement has changed.

    changed rows -> keys that went     CASCADE, SET ...   rows that refer to them are changed, too,
         ^                                                and what follows from that is next
         |                             RESTRICT           nobody may refer to them
         +---------- once more         NO ACTION          looked at when all is done
                 -> keys referred to                      looked at when all is done

    all is done: every key referred to is there; nobody refers to a key that went and is not back

So a statement is judged by what it leaves behind, in whatever order its rows are met: rows that
refer to one another go in one DELETE, and two keys may be swapped.

Beside other transactions, at every level, the two sides meet at one lock, the key's guard:

    child    guard shared   is the key there?        here
    parent   guard whole    who refers to it?        locked by `RowChanges` and ON CONFLICT, which
                                                     take the key away

Whoever comes second waits, and looks when the first is done. Read committed looks in a new
snapshot and so sees what was committed. Above it a new child that the snapshot does not show has
left its trace on the guard, and a parent that is gone but in the snapshot is noticed by its
newest version: both are a SerializationFailure.

A child that stands in the way of its parent's going may itself be about to go: it is locked (KEY
SHARE), so who deletes it is waited for. Above read committed it stays in the snapshot all the
same, which is a SerializationFailure, too.

Limits: no MATCH FULL, and no check may be put off to the end of the transaction.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

from ferrisdb.errors import ForeignKeyViolation, SerializationFailure, StatementTooComplex
from ferrisdb.query.ast import LockStrength
from ferrisdb.query.catalog import CatalogView
from ferrisdb.query.change.constraints import check_not_null, key_text, not_null_positions
from ferrisdb.query.change.execution import Execution
from ferrisdb.query.change.index_maintenance import TableLayout
from ferrisdb.query.change.references import Reference, References, StoredRow, TableReferences
from ferrisdb.query.change.row_changes import RowChange, RowChanges
from ferrisdb.query.change.row_template import assignment_cast
from ferrisdb.query.row_locks import lock_row, row_pairs
from ferrisdb.query.schema import ReferentialAction
from ferrisdb.query.types import Value
from ferrisdb.txn.api import IsolationLevel, LockMode

MAX_CASCADES = 100_000
"""Changes that follow one from another, each of a table's rows. Keys that are swapped along a
circle of tables would never come to an end."""

KeyRows = dict[bytes, Sequence[Value]]
"""Keys, each with a row that had or has it: for the error's words."""


class ForeignKeyKeeper:
    """Keeps the foreign keys that changes of one table may break. Threads may share it."""

    def __init__(self, references: References, table: TableReferences) -> None:
        self._references = references
        self._table = table

    @property
    def is_of_itself(self) -> bool:
        """Whether rows of the table refer to others of it."""
        return any(each.parent.table.name == self._table.table.name for each in self._table.parents)

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of all tables whose rows may be read or changed besides the parents'."""
        return self._references.tables_below(self._table.table.name)

    def keep(self, changes: Sequence[RowChange], execution: Execution) -> None:
        """After `changes` were written: do what the foreign keys ask, and check them.

        Raises ForeignKeyViolation, NotNullViolation, UniqueViolation, StatementTooComplex, and as
        `Transaction.put` does.
        """
        keeping = _Keeping(self._references, execution)
        keeping.follow(self._table, changes)
        keeping.check()


def keeper_of_insertions(
    layout: TableLayout, assigned: Collection[int], catalog: CatalogView
) -> ForeignKeyKeeper | None:
    """None when nothing can break. `assigned` are the columns that ON CONFLICT changes."""
    references = References(catalog)
    table = references.of(layout)
    needs_it = table.parents or table.are_touched_by(assigned)
    return ForeignKeyKeeper(references, table) if needs_it else None


def keeper_of_updates(
    layout: TableLayout, assigned: Collection[int], catalog: CatalogView
) -> ForeignKeyKeeper | None:
    """None when no column of a foreign key is `assigned`, and none that one refers to."""
    references = References(catalog)
    table = references.of(layout)
    return ForeignKeyKeeper(references, table) if table.are_touched_by(assigned) else None


def keeper_of_deletions(layout: TableLayout, catalog: CatalogView) -> ForeignKeyKeeper | None:
    """None when nothing refers to the table."""
    references = References(catalog)
    table = references.of(layout)
    return ForeignKeyKeeper(references, table) if table.children else None


def tables_at_work(name: str, keeper: ForeignKeyKeeper | None) -> tuple[str, ...]:
    """The tables that a statement on one locks against DDL."""
    return (name,) if keeper is None else keeper.tables


class _Keeping:
    """The foreign keys of one statement."""

    def __init__(self, references: References, execution: Execution) -> None:
        self._references = references
        self._execution = execution
        self._transaction = execution.transaction
        self._is_read_committed = execution.transaction.isolation is IsolationLevel.READ_COMMITTED
        self._wanted: dict[Reference, KeyRows] = {}
        self._released: dict[Reference, KeyRows] = {}
        self._pending: deque[tuple[TableReferences, Sequence[RowChange]]] = deque()

    def follow(self, changed: TableReferences, changes: Sequence[RowChange]) -> None:
        """Cascade until nothing follows any more."""
        self._pending.append((changed, changes))
        for _ in range(MAX_CASCADES):
            if not self._pending:
                return
            table, rows = self._pending.popleft()
            for parent in table.parents:
                self._note_wanted(parent, rows)
            self._let_go(table.children, rows)
        raise StatementTooComplex(
            f"the foreign keys of the statement cascade more than {MAX_CASCADES} times",
            hint="change fewer rows at a time",
        )

    def check(self) -> None:
        for each, rows in self._wanted.items():
            self._check_wanted(each, rows)
        for each, rows in self._released.items():
            self._check_released(each, rows)

    def _note_wanted(self, each: Reference, changes: Sequence[RowChange]) -> None:
        wanted = self._wanted.setdefault(each, {})
        for old, new in changes:
            key = None if new is None else each.key_of_child(new)
            if key is None or new is None or (old is not None and each.key_of_child(old) == key):
                continue
            wanted.setdefault(key, new)

    # --- keys that go ---------------------------------------------------------------------

    def _let_go(self, children: Sequence[Reference], changes: Sequence[RowChange]) -> None:
        # Whoever wrote the changes holds the guards, so nobody else can come to refer to the keys.
        for each in children:
            keys = _keys_gone(each, changes)
            deleted = {key: change for key, change in keys.items() if change[1] is None}
            updated = {key: change for key, change in keys.items() if change[1] is not None}
            self._act(each, each.foreign_key.on_delete, deleted)
            self._act(each, each.foreign_key.on_update, updated)

    def _act(self, each: Reference, action: ReferentialAction, gone: Mapping[bytes, RowChange]) -> None:
        if not gone:
            return
        old_rows = {key: old for key, (old, _) in gone.items() if old is not None}
        if action in (ReferentialAction.NO_ACTION, ReferentialAction.SET_DEFAULT):
            # The default may be the very key that went: then nothing is changed by it.
            self._released.setdefault(each, {}).update(old_rows)
        if action is ReferentialAction.NO_ACTION:
            return
        if action is ReferentialAction.RESTRICT:
            self._refuse_children(each, old_rows)
            return
        changes = self._change_children(each, action, gone)
        if changes:
            self._pending.append((self._references.of(each.child), changes))

    def _change_children(
        self, each: Reference, action: ReferentialAction, gone: Mapping[bytes, RowChange]
    ) -> list[RowChange]:
        layout = each.child
        touched = [i for i in layout.indexes if not i.columns.isdisjoint(each.foreign_key.columns)]
        may_move = not set(layout.table.primary_key).isdisjoint(each.foreign_key.columns)
        not_null = [p for p in not_null_positions(layout.table) if p in each.foreign_key.columns]
        defaults: Sequence[Value] | None = None
        log: list[RowChange] = []
        changes = RowChanges(layout, log)
        deletes = action is ReferentialAction.CASCADE and any(new is None for _, new in gone.values())
        changes_keys = deletes or not layout.key_columns.isdisjoint(each.foreign_key.columns)
        for row_key, stored in self._locked_children(each, gone, changes_keys):
            old = layout.row_codec.decode(stored)
            _, parent = gone[each.key_of_child(old) or b""]
            if action is ReferentialAction.CASCADE and parent is None:
                changes.remove(row_key, stored)
                continue
            new = list(old)
            if action is ReferentialAction.CASCADE and parent is not None:
                _take_over(each, parent, new)
            elif action is ReferentialAction.SET_DEFAULT:
                if defaults is None:
                    defaults = self._references.defaults(each).values(self._execution)
                for position in each.foreign_key.columns:
                    new[position] = defaults[position]
            else:
                for position in each.foreign_key.columns:
                    new[position] = None
            check_not_null(layout.table, not_null, new)
            changes.change(row_key, stored, old, new, touched, may_move)
        changes.write(self._transaction)
        return log

    def _locked_children(self, each: Reference, keys: Iterable[bytes], changes_keys: bool) -> list[StoredRow]:
        """The rows that refer to the keys, held, as they are now; with their identities, if they
        change their keys."""
        wanted = set(keys)
        while True:
            self._look_anew()
            rows = list(each.children(self._transaction, wanted))
            row_keys = sorted(row_key for row_key, _ in rows)
            if changes_keys:
                locked = self._transaction.lock_pairs(row_pairs(row_keys))
            else:
                locked = self._transaction.lock(row_keys)
            if not locked.changed:
                return rows

    # --- checks ---------------------------------------------------------------------------

    def _check_wanted(self, each: Reference, rows: KeyRows) -> None:
        """Each key is there, and will be until this transaction is over."""
        transaction, keys = self._transaction, list(rows)
        guards = sorted(map(each.guard, keys))
        transaction.lock(guards, LockMode.SHARE, are_stored=each.has_stored_guards)
        self._look_anew()
        missing: KeyRows = {}
        for key, seen in zip(keys, transaction.get_many(keys), strict=True):
            if seen is None:
                missing[key] = rows[key]
            # The snapshot of a higher level may be older than the wait for the guard.
            elif not self._is_read_committed and transaction.get_newest(key) is None:
                raise SerializationFailure(
                    f"could not serialize: transaction {transaction.id} refers to a row of "
                    f'"{each.parent.table.name}" that was deleted since its snapshot was taken',
                    detail=f"{_wanted_text(each, rows[key])} was there then.",
                    hint="roll back and run the transaction again",
                )
        # A row that referred to a key in between may have gone by another cascade.
        key_in_use = self._key_in_use(each, missing) if missing else None
        if key_in_use is not None:
            raise _missing(each, missing[key_in_use])

    def _check_released(self, each: Reference, rows: KeyRows) -> None:
        """Nobody refers to a key that went, unless another row has taken it over."""
        self._look_anew()
        found = self._transaction.get_many(list(rows))
        gone = {key: row for (key, row), now in zip(rows.items(), found, strict=True) if now is None}
        self._refuse_children(each, gone)

    def _refuse_children(self, each: Reference, old_rows: KeyRows) -> None:
        transaction = self._transaction
        while old_rows:
            self._look_anew()
            child = next(each.children(transaction, old_rows.keys()), None)
            if child is None:
                return
            row_key, stored = child
            # It may be about to go: whoever deletes it is waited for.
            lock_row(transaction, row_key, LockStrength.KEY_SHARE)
            newest = transaction.get_newest(row_key)
            if newest == stored or not self._is_read_committed:
                key = self._key_of(each, stored)
                if newest is None or self._key_of(each, newest) != key:
                    raise _child_changed(each, transaction.id)
                raise _still_referenced(each, old_rows[key])

    def _key_in_use(self, each: Reference, keys: KeyRows) -> bytes | None:
        """One of `keys` that a row refers to."""
        for _, stored in each.children(self._transaction, keys.keys()):
            return self._key_of(each, stored)
        return None

    def _key_of(self, each: Reference, stored: bytes) -> bytes:
        """What a row of the child refers to; empty when nothing."""
        return each.key_of_child(each.child.row_codec.decode(stored)) or b""

    def _look_anew(self) -> None:
        """At read committed, see what was committed while this statement waited."""
        if self._is_read_committed:
            self._transaction.begin_statement()


def _keys_gone(each: Reference, changes: Sequence[RowChange]) -> dict[bytes, RowChange]:
    """The keys that rows had and have no more, each with its row's change."""
    gone: dict[bytes, RowChange] = {}
    for change in changes:
        old, new = change
        key = None if old is None else each.key_of_parent(old)
        if key is not None and (new is None or each.key_of_parent(new) != key):
            gone[key] = change
    return gone


def _take_over(each: Reference, parent: Sequence[Value], row: list[Value]) -> None:
    """Put the parent's new key into a row that refers to it."""
    columns, parent_columns = each.child.table.columns, each.parent.table.columns
    for target, source in zip(each.foreign_key.columns, each.foreign_key.referenced, strict=True):
        value = parent[source]
        convert = assignment_cast(parent_columns[source].type, columns[target], 0)
        row[target] = value if value is None or convert is None else convert(value)


def _missing(each: Reference, row: Sequence[Value]) -> ForeignKeyViolation:
    return ForeignKeyViolation(
        f'insert or update on table "{each.child.table.name}" violates foreign key constraint '
        f'"{each.foreign_key.name}"',
        detail=f'{_wanted_text(each, row)} is not present in table "{each.parent.table.name}".',
    )


def _still_referenced(each: Reference, row: Sequence[Value]) -> ForeignKeyViolation:
    parent, child = each.parent.table, each.child.table.name
    return ForeignKeyViolation(
        f'update or delete on table "{parent.name}" violates foreign key constraint '
        f'"{each.foreign_key.name}" on table "{child}"',
        detail=f"{key_text(parent, each.foreign_key.referenced, row)} is still referenced "
        f'from table "{child}".',
    )


def _child_changed(each: Reference, transaction_id: int) -> SerializationFailure:
    return SerializationFailure(
        f'could not serialize: a row of "{each.child.table.name}" that transaction {transaction_id} '
        "sees was deleted, or refers to another row, since its snapshot was taken",
        hint="roll back and run the transaction again",
    )


def _wanted_text(each: Reference, row: Sequence[Value]) -> str:
    return key_text(each.child.table, each.foreign_key.columns, row)
