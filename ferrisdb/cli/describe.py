"""The schema as SQL: what `.schema` prints can be run to make the same tables."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ferrisdb.query.parse import keywords
from ferrisdb.query.schema import Column, Table

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)


def identifier(name: str) -> str:
    """The name as SQL text: quoted where it must be."""
    if _PLAIN.fullmatch(name) and name.upper() not in keywords():
        return name
    return '"' + name.replace('"', '""') + '"'


def create_table_sql(table: Table) -> str:
    """CREATE TABLE and its CREATE INDEX statements, each ended by a semicolon."""
    parts = [_column(column) for column in table.columns]
    if table.primary_key:
        parts.append(f"PRIMARY KEY ({_names(table, table.primary_key)})")
    parts += [f"UNIQUE ({_names(table, index.columns)})" for index in table.indexes if index.is_constraint]
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


def _names(table: Table, positions: Iterable[int]) -> str:
    return ", ".join(identifier(table.columns[position].name) for position in positions)
