"""FOREIGN KEY and REFERENCES in CREATE TABLE: what is referred to, and by which key.

    child.a REFERENCES parent          the primary key of parent
    child.a REFERENCES parent (b)      b, which must be its primary key or a unique index
    FOREIGN KEY (a, b) REFERENCES parent (c, d)

Each column needs the kind of type that the one it refers to has: equal values then have equal
keys, and the parent's row is found by one read. A constraint without a name gets the one that
PostgreSQL would make: child_a_fkey.
"""

from __future__ import annotations

from collections.abc import Sequence

from ferrisdb.errors import (
    DatatypeMismatch,
    DependentObjectsExist,
    DuplicateObject,
    InvalidForeignKey,
    UndefinedObject,
)
from ferrisdb.query import ast
from ferrisdb.query.change.targets import find_table
from ferrisdb.query.define.definition import Definition, key_columns
from ferrisdb.query.schema import Column, ForeignKey, Index, Table


def foreign_keys_of(
    statement: ast.CreateTable, own: Table, taken: Sequence[str], definition: Definition
) -> list[ForeignKey]:
    """`own` is the table that is being created, without an id; it may refer to itself. `taken` are
    names of its other constraints.

    Raises UndefinedTable, UndefinedColumn, UndefinedObject, InvalidForeignKey, DatatypeMismatch,
    DuplicateObject.
    """
    names = set(taken)
    for written in statement.foreign_keys:
        if written.name in names:
            raise DuplicateObject(
                f'constraint "{written.name}" for relation "{own.name}" already exists',
                position=written.position,
            )
        if written.name is not None:
            names.add(written.name)
    found: list[ForeignKey] = []
    for written in statement.foreign_keys:
        name = written.name or _free_name(written, own, names)
        names.add(name)
        found.append(_foreign_key(written, name, own, definition))
    return found


def _free_name(written: ast.ForeignKeyConstraint, own: Table, names: set[str]) -> str:
    base = default_name(own.name, [column.text for column in written.columns])
    name, number = base, 0
    while name in names:
        number += 1
        name = f"{base}{number}"
    return name


def default_name(table: str, columns: Sequence[str]) -> str:
    return "_".join([table, *columns, "fkey"])


def _foreign_key(
    written: ast.ForeignKeyConstraint, name: str, own: Table, definition: Definition
) -> ForeignKey:
    columns = key_columns(written.columns, own.columns, "the foreign key")
    parent_name = written.parent
    is_own = parent_name.text == own.name
    parent = own if is_own else find_table(definition.catalog, parent_name.text, parent_name.position)
    referenced, index_id = _referenced(written, parent)
    if len(columns) != len(referenced):
        raise InvalidForeignKey(
            "number of referencing and referenced columns for foreign key disagree",
            position=written.position,
        )
    for column, other in zip(columns, referenced, strict=True):
        _check_kinds(name, own.columns[column], parent.columns[other], written.position)
    return ForeignKey(name, columns, parent.name, referenced, index_id, written.on_delete, written.on_update)


def _referenced(written: ast.ForeignKeyConstraint, parent: Table) -> tuple[tuple[int, ...], int]:
    """Column positions in the parent, and the id of its unique index over them; 0 for its key."""
    if not written.referenced:
        if not parent.primary_key:
            raise UndefinedObject(
                f'there is no primary key for referenced table "{parent.name}"',
                position=written.parent.position,
                hint="name the columns of a unique key behind the table",
            )
        return parent.primary_key, 0
    positions = key_columns(written.referenced, parent.columns, "the foreign key")
    if set(positions) == set(parent.primary_key):
        return positions, 0
    for index in parent.indexes:
        if index.is_unique and set(positions) == set(index.columns):
            return positions, index.id
    raise InvalidForeignKey(
        f'there is no unique constraint matching given keys for referenced table "{parent.name}"',
        position=written.referenced[0].position,
    )


def _check_kinds(name: str, column: Column, other: Column, position: int) -> None:
    if column.type.kind is not other.type.kind:
        raise DatatypeMismatch(
            f'foreign key constraint "{name}" cannot be implemented',
            position=position,
            detail=f'Key columns "{column.name}" and "{other.name}" are of incompatible types: '
            f"{column.type} and {other.type}.",
            hint="give both the same type",
        )


# --- what a DROP may not take away ----------------------------------------------------------


def check_unreferenced(table: Table, going: Sequence[str], definition: Definition, position: int) -> None:
    """Raises DependentObjectsExist when a table that is not `going` refers to this one."""
    for other, foreign_key in definition.catalog.references_to(table.name):
        if other.name not in going:
            raise DependentObjectsExist(
                f'cannot drop table "{table.name}" because other objects depend on it',
                position=position,
                detail=f'constraint "{foreign_key.name}" on table "{other.name}" '
                f'depends on table "{table.name}"',
                hint="DROP TABLE ... CASCADE drops that constraint, too",
            )


def check_unneeded(table: Table, index: Index, definition: Definition, position: int) -> None:
    """Raises DependentObjectsExist when a foreign key refers to the index."""
    for other, foreign_key in definition.catalog.references_to(table.name):
        if foreign_key.parent_index == index.id:
            raise DependentObjectsExist(
                f'cannot drop index "{index.name}" because other objects depend on it',
                position=position,
                detail=f'constraint "{foreign_key.name}" on table "{other.name}" '
                f'depends on index "{index.name}"',
            )
