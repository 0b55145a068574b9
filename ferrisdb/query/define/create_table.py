"""CREATE TABLE: columns, their defaults, and the keys.

    id INTEGER PRIMARY KEY     the row's own key: no index, but NOT NULL
    a TEXT UNIQUE              an index that the constraint owns, t_a_key
    UNIQUE (a, b)              likewise, t_a_b_key
    DEFAULT expression         kept as text; computed once now, so that a wrong one is
                               refused here and not at some later INSERT
    REFERENCES parent          see `foreign_keys`

Constraints without a name get the one that PostgreSQL would make: t_pkey, t_a_key.
"""

from __future__ import annotations

from ferrisdb.errors import (
    DuplicateColumn,
    DuplicateTable,
    InvalidTableDefinition,
    NotSupportedError,
    StatementTooLarge,
    UndefinedParameter,
)
from ferrisdb.query import ast, catalog
from ferrisdb.query.change.row_template import RowTemplate
from ferrisdb.query.change.syntax import nodes
from ferrisdb.query.define.definition import MAX_COLUMNS, Definition, key_columns
from ferrisdb.query.define.foreign_keys import foreign_keys_of
from ferrisdb.query.parameters import NO_PARAMETERS
from ferrisdb.query.schema import Column, Index, Table
from ferrisdb.query.values import resolve_type


def create_table(statement: ast.CreateTable, definition: Definition) -> None:
    """Raises DuplicateTable, DuplicateColumn, InvalidTableDefinition, UndefinedColumn, ..."""
    name = statement.table.text
    if definition.is_taken(name):
        if statement.if_not_exists:
            return
        raise _taken(name, statement.table.position)
    columns = _columns(statement)
    primary_key = _primary_key(statement, columns)
    columns = [
        Column(column.name, column.type, column.is_not_null or position in primary_key, column.default_sql)
        for position, column in enumerate(columns)
    ]
    primary_key_name = _primary_key_name(statement, definition) if primary_key else ""
    indexes = _unique_indexes(statement, columns, primary_key, primary_key_name, definition)
    for written, column in zip(statement.columns, columns, strict=True):
        if written.default is not None:
            _check_default(written.default, column, definition)
    own = Table(0, name, tuple(columns), primary_key, tuple(indexes), primary_key_name)
    constraints = [primary_key_name, *(index.name for index in indexes)]
    catalog.create_table(
        definition.transaction,
        definition.catalog,
        name,
        columns,
        primary_key,
        indexes,
        primary_key_name=primary_key_name,
        foreign_keys=foreign_keys_of(statement, own, constraints, definition),
    )


def _columns(statement: ast.CreateTable) -> list[Column]:
    if len(statement.columns) > MAX_COLUMNS:
        raise StatementTooLarge(
            f"a table has at most {MAX_COLUMNS} columns",
            position=statement.columns[MAX_COLUMNS].name.position,
        )
    seen: set[str] = set()
    columns: list[Column] = []
    for written in statement.columns:
        name = written.name
        if name.text in seen:
            raise DuplicateColumn(f'column "{name.text}" is specified twice', position=name.position)
        seen.add(name.text)
        if written.type is None:
            raise InvalidTableDefinition(
                f'column "{name.text}" has no type',
                position=name.position,
                hint=f"write one behind its name, as in: {name.text} TEXT",
            )
        columns.append(
            Column(name.text, resolve_type(written.type), written.is_not_null, written.default_sql)
        )
    return columns


def _primary_key(statement: ast.CreateTable, columns: list[Column]) -> tuple[int, ...]:
    keys: list[tuple[tuple[ast.Name, ...], int]] = [
        ((column.name,), column.name.position) for column in statement.columns if column.is_primary_key
    ]
    keys += [(rule.columns, rule.position) for rule in statement.constraints if rule.is_primary]
    if len(keys) > 1:
        raise InvalidTableDefinition(
            f'multiple primary keys for table "{statement.table.text}" are not allowed',
            position=keys[1][1],
            hint="a key of several columns is written PRIMARY KEY (a, b) behind the columns",
        )
    return key_columns(keys[0][0], columns, "the primary key") if keys else ()


def _primary_key_name(statement: ast.CreateTable, definition: Definition) -> str:
    """The name that was given, or one that no constraint of the statement was given either."""
    table_name = statement.table.text
    for rule in statement.constraints:
        if rule.is_primary and rule.name is not None:
            if rule.name == table_name or definition.is_taken(rule.name):
                raise _taken(rule.name, rule.position)
            return rule.name
    reserved = {table_name, *(rule.name for rule in statement.constraints if rule.name is not None)}
    return definition.free_name(f"{table_name}_pkey", reserved)


def _taken(name: str, position: int) -> DuplicateTable:
    return DuplicateTable(f'relation "{name}" already exists', position=position)


def _unique_indexes(
    statement: ast.CreateTable,
    columns: list[Column],
    primary_key: tuple[int, ...],
    primary_key_name: str,
    definition: Definition,
) -> list[Index]:
    rules = [
        ast.KeyConstraint(None, (column.name,), False, column.name.position)
        for column in statement.columns
        if column.is_unique
    ]
    rules += [rule for rule in statement.constraints if not rule.is_primary]
    table_name = statement.table.text
    names = {table_name, primary_key_name}
    covered = {primary_key}
    indexes: list[Index] = []
    # Names that the user chose come first, so that no made name can take one of them.
    for rule in sorted(rules, key=lambda rule: rule.name is None):
        positions = key_columns(rule.columns, columns, "a unique constraint")
        if rule.name is None and positions in covered:
            continue
        covered.add(positions)
        if rule.name is None:
            made = "_".join([table_name, *(columns[position].name for position in positions), "key"])
            name = definition.free_name(made, names)
        elif rule.name in names or definition.is_taken(rule.name):
            raise _taken(rule.name, rule.position)
        else:
            name = rule.name
        names.add(name)
        indexes.append(Index(len(indexes) + 1, name, positions, is_unique=True, is_constraint=True))
    return indexes


def _check_default(default: ast.Expression, column: Column, definition: Definition) -> None:
    """Compute it once: types, names and constant values are judged now."""
    for node in nodes(default):
        if isinstance(node, ast.ColumnRef):
            raise NotSupportedError("a DEFAULT can't use the value of a column", position=node.position)
        if isinstance(node, (ast.ScalarSubquery, ast.Exists, ast.InSubquery)):
            raise NotSupportedError("a DEFAULT can't hold a subquery", position=node.position)
        if isinstance(node, ast.Parameter):
            raise UndefinedParameter("a DEFAULT can't hold a parameter", position=node.position)
    template = RowTemplate([column], [(0, default)], definition.catalog, NO_PARAMETERS)
    template.values(definition.execution)
