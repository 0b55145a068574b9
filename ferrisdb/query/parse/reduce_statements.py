"""Schema statements, transaction statements and EXPLAIN."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from ferrisdb.errors import SqlSyntaxError
from ferrisdb.query import ast
from ferrisdb.query.parse.lexer import Token, end_of_last_token
from ferrisdb.query.parse.rules import rule
from ferrisdb.txn.api import IsolationLevel

# --- names ------------------------------------------------------------------------------


def _name(token: Token) -> ast.Name:
    return ast.Name(token[1], token[2])


@rule("first_name")
def first_name(token: Token) -> list[ast.Name]:
    return [_name(token)]


@rule("append_name")
def append_name(names: list[ast.Name], _comma: Token, token: Token) -> list[ast.Name]:
    names.append(_name(token))
    return names


# --- tables -----------------------------------------------------------------------------

Constraint = ast.KeyConstraint | ast.ForeignKeyConstraint
Column = tuple[ast.ColumnDefinition, list[Constraint]]
"""A column, and the named keys and the foreign keys that were written with it."""


class Flag(enum.Enum):
    NOT_NULL = "NOT NULL"
    NULL = "NULL"
    UNIQUE = "UNIQUE"
    PRIMARY_KEY = "PRIMARY KEY"
    DEFAULT = "DEFAULT"
    REFERENCES = "REFERENCES"
    NOT_DEFERRABLE = "NOT DEFERRABLE"


@dataclass
class ColumnOption:
    flag: Flag
    position: int
    default: ast.Expression | None = None
    default_sql: str | None = None
    constraint_name: str | None = None
    foreign_key: ast.ForeignKeyConstraint | None = None


@rule("create_table")
def create_table(
    word: Token,
    _table: Token,
    name: Token,
    _open: Token,
    elements: list[Column | Constraint],
    _close: Token,
) -> ast.CreateTable:
    return _create_table(word, name, elements, if_not_exists=False)


@rule("create_table_if")
def create_table_if(
    word: Token,
    _table: Token,
    _if: Token,
    _not: Token,
    _exists: Token,
    name: Token,
    _open: Token,
    elements: list[Column | Constraint],
    _close: Token,
) -> ast.CreateTable:
    return _create_table(word, name, elements, if_not_exists=True)


def _create_table(
    word: Token, name: Token, elements: list[Column | Constraint], *, if_not_exists: bool
) -> ast.CreateTable:
    columns: list[ast.ColumnDefinition] = []
    constraints: list[Constraint] = []
    for element in elements:
        if isinstance(element, Constraint):
            constraints.append(element)
        else:
            definition, own_constraints = element
            columns.append(definition)
            constraints += own_constraints
    keys = tuple(each for each in constraints if isinstance(each, ast.KeyConstraint))
    foreign_keys = tuple(each for each in constraints if isinstance(each, ast.ForeignKeyConstraint))
    return ast.CreateTable(_name(name), if_not_exists, tuple(columns), keys, foreign_keys, word[2])


@rule("primary_key")
def primary_key(
    word: Token, _key: Token, _open: Token, names: list[ast.Name], _close: Token
) -> ast.KeyConstraint:
    return ast.KeyConstraint(None, tuple(names), True, word[2])


@rule("unique_key")
def unique_key(word: Token, _open: Token, names: list[ast.Name], _close: Token) -> ast.KeyConstraint:
    return ast.KeyConstraint(None, tuple(names), False, word[2])


@rule("named_key")
def named_key(_constraint: Token, name: Token, key: Constraint) -> Constraint:
    return replace(key, name=name[1])


# --- columns ----------------------------------------------------------------------------


@rule("column_definition")
def column_definition(name: Token, type_name: ast.TypeName | None, options: list[ColumnOption]) -> Column:
    """A named key (`CONSTRAINT pk PRIMARY KEY`) becomes a key of the table: a column's own
    has no place for the name."""
    given = _options_by_flag(name, options)
    keys: list[Constraint] = [
        ast.KeyConstraint(option.constraint_name, (_name(name),), flag is Flag.PRIMARY_KEY, option.position)
        for flag, option in given.items()
        if option.constraint_name is not None and flag is not Flag.REFERENCES
    ]
    for option in options:
        if option.foreign_key is not None:
            keys.append(replace(option.foreign_key, name=option.constraint_name, columns=(_name(name),)))
    unnamed = {flag for flag, option in given.items() if option.constraint_name is None}
    default = given.get(Flag.DEFAULT, ColumnOption(Flag.DEFAULT, name[2]))
    definition = ast.ColumnDefinition(
        name=_name(name),
        type=type_name,
        is_not_null=Flag.NOT_NULL in unnamed,
        is_unique=Flag.UNIQUE in unnamed,
        is_primary_key=Flag.PRIMARY_KEY in unnamed,
        default=default.default,
        default_sql=default.default_sql,
    )
    return definition, keys


def _options_by_flag(name: Token, options: list[ColumnOption]) -> dict[Flag, ColumnOption]:
    given: dict[Flag, ColumnOption] = {}
    for option in options:
        if option.flag in given and option.flag in (Flag.DEFAULT, Flag.PRIMARY_KEY):
            raise SqlSyntaxError(
                f'column "{name[1]}" has two {option.flag.value} clauses', position=option.position
            )
        given[option.flag] = option
        opposite = Flag.NOT_NULL if Flag.NOT_NULL in given else Flag.PRIMARY_KEY
        if Flag.NULL in given and opposite in given:
            raise SqlSyntaxError(
                f'column "{name[1]}" is declared NULL and {opposite.value}', position=option.position
            )
    return given


@rule("not_null")
def not_null(word: Token, _null: Token) -> ColumnOption:
    return ColumnOption(Flag.NOT_NULL, word[2])


@rule("nullable")
def nullable(word: Token) -> ColumnOption:
    return ColumnOption(Flag.NULL, word[2])


@rule("column_primary_key")
def column_primary_key(word: Token, _key: Token) -> ColumnOption:
    return ColumnOption(Flag.PRIMARY_KEY, word[2])


@rule("column_unique")
def column_unique(word: Token) -> ColumnOption:
    return ColumnOption(Flag.UNIQUE, word[2])


@rule("column_reference")
def column_reference(foreign_key: ast.ForeignKeyConstraint) -> ColumnOption:
    return ColumnOption(Flag.REFERENCES, foreign_key.position, foreign_key=foreign_key)


@rule("column_deferral")
def column_deferral(position: int) -> ColumnOption:
    return ColumnOption(Flag.NOT_DEFERRABLE, position)


@rule("named_column_key")
def named_column_key(_constraint: Token, name: Token, option: ColumnOption) -> ColumnOption:
    option.constraint_name = name[1]
    return option


Mark = tuple[str, int]
"""(the whole text, a position in it)"""


@rule("mark")
def mark(sql: str, following: Token) -> Mark:
    return sql, following[2]


@rule("column_default")
def column_default(word: Token, start: Mark, default: ast.Expression, end: Mark) -> ColumnOption:
    """The catalog keeps the text of a default, so it is cut out of the statement as it stands."""
    sql, begin = start
    text = sql[begin : end[1]]
    text = text[: end_of_last_token(text)]
    return ColumnOption(Flag.DEFAULT, word[2], default, text)


# --- indexes, DROP ----------------------------------------------------------------------


@rule("create_index")
def create_index(
    word: Token,
    is_unique: bool,
    _index: Token,
    name: Token,
    _on: Token,
    table: Token,
    _open: Token,
    columns: list[ast.Name],
    _close: Token,
) -> ast.CreateIndex:
    return ast.CreateIndex(_name(name), _name(table), tuple(columns), is_unique, False, word[2])


@rule("create_index_if")
def create_index_if(
    word: Token,
    is_unique: bool,
    _index: Token,
    _if: Token,
    _not: Token,
    _exists: Token,
    name: Token,
    _on: Token,
    table: Token,
    _open: Token,
    columns: list[ast.Name],
    _close: Token,
) -> ast.CreateIndex:
    return ast.CreateIndex(_name(name), _name(table), tuple(columns), is_unique, True, word[2])


@rule("index_column")
def index_column(name: Token, _is_descending: bool) -> ast.Name:
    """The direction is read and not kept: an index is scanned both ways at the same cost."""
    return _name(name)


@rule("drop_table")
def drop_table(word: Token, _table: Token, names: list[ast.Name], is_cascade: bool) -> ast.DropTable:
    return ast.DropTable(tuple(names), False, is_cascade, word[2])


@rule("drop_table_if")
def drop_table_if(
    word: Token, _table: Token, _if: Token, _exists: Token, names: list[ast.Name], is_cascade: bool
) -> ast.DropTable:
    return ast.DropTable(tuple(names), True, is_cascade, word[2])


@rule("drop_index")
def drop_index(word: Token, _index: Token, names: list[ast.Name]) -> ast.DropIndex:
    return ast.DropIndex(tuple(names), False, word[2])


@rule("drop_index_if")
def drop_index_if(
    word: Token, _index: Token, _if: Token, _exists: Token, names: list[ast.Name]
) -> ast.DropIndex:
    return ast.DropIndex(tuple(names), True, word[2])


# --- transactions -----------------------------------------------------------------------


@dataclass
class Mode:
    """One of the three is given; `position` is that of its first word."""

    position: int
    isolation: IsolationLevel | None = None
    is_read_only: bool | None = None
    as_of: ast.Moment | None = None


@rule("begin")
def begin(word: Token, _transaction: Token | None, modes: list[Mode]) -> ast.Begin:
    moments = [mode for mode in modes if mode.as_of is not None]
    if not moments:
        return ast.Begin(*modes_of(modes), word[2])
    if len(moments) > 1:
        raise SqlSyntaxError("a transaction mode is given twice", position=moments[1].position)
    isolation, is_read_only = modes_of([mode for mode in modes if mode.as_of is None])
    if is_read_only is False:
        raise SqlSyntaxError("nobody can write in the past: AS OF is READ ONLY", position=moments[0].position)
    return ast.Begin(isolation, True, word[2], moments[0].as_of)


def modes_of(modes: list[Mode]) -> tuple[IsolationLevel | None, bool | None]:
    """Level and read-only, each None where it is not said."""
    moments = [mode for mode in modes if mode.as_of is not None]
    if moments:
        raise SqlSyntaxError(
            "AS OF is no mode of a transaction that is open", position=moments[0].position, hint="BEGIN AS OF"
        )
    isolations = [mode for mode in modes if mode.isolation is not None]
    accesses = [mode for mode in modes if mode.is_read_only is not None]
    for repeated in (isolations[1:], accesses[1:]):
        if repeated:
            raise SqlSyntaxError("a transaction mode is given twice", position=repeated[0].position)
    isolation = isolations[0].isolation if isolations else None
    return isolation, accesses[0].is_read_only if accesses else None


@rule("isolation_mode")
def isolation_mode(word: Token, _level: Token, isolation: IsolationLevel) -> Mode:
    return Mode(word[2], isolation=isolation)


@rule("read_only")
def read_only(word: Token, _only: Token) -> Mode:
    return Mode(word[2], is_read_only=True)


@rule("read_write")
def read_write(word: Token, _write: Token) -> Mode:
    return Mode(word[2], is_read_only=False)


@rule("as_of_mode")
def as_of_mode(moment: ast.Moment) -> Mode:
    return Mode(moment.position, as_of=moment)


@rule("as_of")
def as_of(_as_of: Token, kind: Token, value: Token | ast.Parameter) -> ast.Moment:
    is_version = kind[1] == "version"
    if isinstance(value, ast.Parameter):
        return ast.Moment(is_version, value, value.position)
    if is_version is not (value[0] == "INT"):
        raise SqlSyntaxError("AS OF VERSION takes a number, AS OF TIMESTAMP a text", position=value[2])
    return ast.Moment(is_version, int(value[1]) if is_version else value[1], value[2])


@rule("past_query")
def past_query(statement: ast.Query | ast.Explain, moment: ast.Moment) -> ast.PastQuery:
    return ast.PastQuery(statement, moment, statement.position)


@rule("serializable")
def serializable(_word: Token) -> IsolationLevel:
    return IsolationLevel.SERIALIZABLE


@rule("snapshot")
def snapshot(*_words: Token) -> IsolationLevel:
    """Also REPEATABLE READ: its other name."""
    return IsolationLevel.SNAPSHOT


@rule("read_committed")
def read_committed(*_words: Token) -> IsolationLevel:
    return IsolationLevel.READ_COMMITTED


@rule("commit")
def commit(word: Token, _transaction: Token | None) -> ast.Commit:
    return ast.Commit(word[2])


@rule("rollback")
def rollback(word: Token, _transaction: Token | None) -> ast.Rollback:
    return ast.Rollback(word[2])


@rule("savepoint")
def savepoint(word: Token, name: Token) -> ast.CreateSavepoint:
    return ast.CreateSavepoint(name[1], word[2])


@rule("rollback_to")
def rollback_to(word: Token, _transaction: Token | None, _to: Token, name: Token) -> ast.RollbackToSavepoint:
    return ast.RollbackToSavepoint(name[1], word[2])


@rule("rollback_to_savepoint")
def rollback_to_savepoint(
    word: Token, _transaction: Token | None, _to: Token, _savepoint: Token, name: Token
) -> ast.RollbackToSavepoint:
    return ast.RollbackToSavepoint(name[1], word[2])


@rule("release")
def release(word: Token, name: Token) -> ast.ReleaseSavepoint:
    return ast.ReleaseSavepoint(name[1], word[2])


@rule("release_savepoint")
def release_savepoint(word: Token, _savepoint: Token, name: Token) -> ast.ReleaseSavepoint:
    return ast.ReleaseSavepoint(name[1], word[2])


@rule("shared_mode")
def shared_mode(*_words: Token) -> bool:
    return True


@rule("exclusive_mode")
def exclusive_mode(*_words: Token) -> bool:
    return False


@rule("lock_table")
def lock_table(word: Token, names: list[ast.Name], is_shared: bool | None, is_nowait: bool) -> ast.LockTable:
    return ast.LockTable(tuple(names), bool(is_shared), is_nowait, word[2])


@rule("lock_table_words")
def lock_table_words(
    word: Token, _table: Token, names: list[ast.Name], is_shared: bool | None, is_nowait: bool
) -> ast.LockTable:
    return ast.LockTable(tuple(names), bool(is_shared), is_nowait, word[2])


@rule("explain")
def explain(word: Token, statement: ast.Query | ast.Insert | ast.Update | ast.Delete) -> ast.Explain:
    return ast.Explain(statement, word[2])
