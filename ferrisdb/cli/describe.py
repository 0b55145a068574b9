"""The schema as SQL: what `.schema` prints can be run to make the same tables.

A table comes behind those that its foreign keys refer to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ferrisdb.query.parse import keywords
from ferrisdb.query.schema import Column, ForeignKey, ReferentialAction, Table

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)


def identifier(name: str) -> str:
    """The name as SQL text: quoted where it must be."""
    if _PLAIN.fullmatch(name) and name.upper() not in keywords():
        return name
    return '"' + name.replace('"', '""') + '"'


def parents_first(tables: Sequence[Table]) -> list[Table]:
    """The tables in their order, but each behind the ones it refers to: there are no circles of
    tables, as one can only refer to another that is there."""
    by_name = {table.name: table for table in tables}
    ordered: dict[str, Table] = {}
    pending = list(reversed(tables))
    while pending:
        table = pending[-1]
        missing = {each.parent for each in table.foreign_keys} - ordered.keys() - {table.name}
        waiting = [by_name[name] for name in sorted(missing) if name in by_name]
        if waiting and table.name not in ordered:
            pending += waiting
        else:
            ordered.setdefault(table.name, pending.pop())
    return list(ordered.values())


def create_table_sql(table: Table, parents: Sequence[Table] = ()) -> str:
    """CREATE TABLE and its CREATE INDEX statements, each ended by a semicolon. `parents` are the
    tables that its foreign keys refer to, and may be more."""
    parts = [_column(column) for column in table.columns]
    if table.primary_key:
        parts.append(f"PRIMARY KEY ({_names(table, table.primary_key)})")
    parts += [f"UNIQUE ({_names(table, index.columns)})" for index in table.indexes if index.is_constraint]
    parts += [_foreign_key(table, each, parents) for each in table.foreign_keys]
    statements = [f"CREATE TABLE {identifier(table.name)} (\n  " + ",\n  ".join(parts) + "\n);"]
    statements += [
        f"CREATE {'UNIQUE ' if index.is_unique else ''}INDEX {identifier(index.name)} "
        f"ON {identifier(table.name)} ({_names(table, index.columns)});"
        for index in table.indexes
        if not index.is_constraint
    ]
    return "\n".join(statements)


def _column(column: Column) -> str:
    text = f"{identifier(column.name)} {column.type}"
    if column.default_sql is not None:
        text += f" DEFAULT {column.default_sql}"
    return text + (" NOT NULL" if column.is_not_null else "")


def _foreign_key(table: Table, foreign_key: ForeignKey, parents: Sequence[Table]) -> str:
    parent = next(each for each in (table, *parents) if each.name == foreign_key.parent)
    text = (
        f"CONSTRAINT {identifier(foreign_key.name)} FOREIGN KEY ({_names(table, foreign_key.columns)}) "
        f"REFERENCES {identifier(parent.name)} ({_names(parent, foreign_key.referenced)})"
    )
    for event, action in (("DELETE", foreign_key.on_delete), ("UPDATE", foreign_key.on_update)):
        if action is not ReferentialAction.NO_ACTION:
            text += f" ON {event} {action.value}"
    return text


def _names(table: Table, positions: Iterable[int]) -> str:
    return ", ".join(identifier(table.columns[position].name) for position in positions)
