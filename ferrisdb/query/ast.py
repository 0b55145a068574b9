"""The syntax tree: what the parser says a statement means, before any name is looked up.

Every node is immutable and typed. `position` is a character offset into the SQL text, for
errors that point. Names are already folded (unquoted to lower case). Nothing here knows
the catalog; the binder (`ferrisdb.query.bind`) gives names and types their meaning.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from decimal import Decimal

from ferrisdb.txn.api import IsolationLevel

# --- expressions ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Name:
    text: str
    position: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A number is int, float (with an exponent) or Decimal (with a point); a quoted string is str."""

    value: int | float | Decimal | str | bool | None
    position: int


@dataclass(frozen=True, slots=True)
class TypedLiteral:
    """DATE '1994-01-01', TIMESTAMP '...'."""

    type: TypeName
    text: str
    position: int


@dataclass(frozen=True, slots=True)
class Parameter:
    """`?` is numbered from 1 in order of appearance, `?3` says its number; `:a` has a name."""

    key: int | str
    position: int


@dataclass(frozen=True, slots=True)
class ColumnRef:
    table: str | None
    column: str
    position: int


@dataclass(frozen=True, slots=True)
class Unary:
    """`operator` is one of - + NOT."""

    operator: str
    operand: Expression
    position: int


@dataclass(frozen=True, slots=True)
class Binary:
    """`operator` is one of + - * / % || = <> < <= > >= AND OR, IS [NOT] DISTINCT FROM."""

    operator: str
    left: Expression
    right: Expression
    position: int


@dataclass(frozen=True, slots=True)
class IsTest:
    """`operand IS [NOT] test`; `test` is NULL, TRUE or FALSE."""

    operand: Expression
    test: str
    is_negated: bool
    position: int


@dataclass(frozen=True, slots=True)
class Between:
    operand: Expression
    low: Expression
    high: Expression
    is_negated: bool
    position: int


@dataclass(frozen=True, slots=True)
class InList:
    operand: Expression
    items: tuple[Expression, ...]
    is_negated: bool
    position: int


@dataclass(frozen=True, slots=True)
class InSubquery:
    operand: Expression
    query: Query
    is_negated: bool
    position: int


@dataclass(frozen=True, slots=True)
class Like:
    operand: Expression
    pattern: Expression
    escape: Expression | None
    is_case_insensitive: bool
    is_negated: bool
    position: int


@dataclass(frozen=True, slots=True)
class Exists:
    query: Query
    position: int


@dataclass(frozen=True, slots=True)
class ScalarSubquery:
    query: Query
    position: int


@dataclass(frozen=True, slots=True)
class When:
    condition: Expression
    result: Expression


@dataclass(frozen=True, slots=True)
class Case:
    """With `operand`, each condition is a value that it is compared to."""

    operand: Expression | None
    whens: tuple[When, ...]
    otherwise: Expression | None
    position: int


@dataclass(frozen=True, slots=True)
class Cast:
    operand: Expression
    type: TypeName
    position: int


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """`is_star` is count(*). Special syntax arrives as plain calls: EXTRACT(year FROM d) is
    `extract` with the literal 'year' first; CURRENT_DATE is `current_date` without arguments."""

    name: str
    arguments: tuple[Expression, ...]
    is_star: bool
    is_distinct: bool
    position: int


Expression = (
    Literal
    | TypedLiteral
    | Parameter
    | ColumnRef
    | Unary
    | Binary
    | IsTest
    | Between
    | InList
    | InSubquery
    | Like
    | Exists
    | ScalarSubquery
    | Case
    | Cast
    | FunctionCall
)


@dataclass(frozen=True, slots=True)
class TypeName:
    """As written, lower case, words joined by a blank: `double precision`, `varchar` (10,)."""

    name: str
    arguments: tuple[int, ...]
    position: int


# --- queries ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Star:
    """`*`, or `t.*`."""

    table: str | None
    position: int


@dataclass(frozen=True, slots=True)
class SelectItem:
    expression: Expression
    alias: str | None


class JoinKind(enum.Enum):
    INNER = "inner"
    LEFT = "left"
    CROSS = "cross"


@dataclass(frozen=True, slots=True)
class TableRef:
    name: str
    alias: str | None
    position: int


@dataclass(frozen=True, slots=True)
class DerivedTable:
    """A query in FROM."""

    query: Query
    alias: str
    columns: tuple[str, ...]
    position: int


@dataclass(frozen=True, slots=True)
class Join:
    kind: JoinKind
    left: FromItem
    right: FromItem
    condition: Expression | None
    using: tuple[str, ...]
    position: int


FromItem = TableRef | DerivedTable | Join


@dataclass(frozen=True, slots=True)
class OrderItem:
    """`nulls_first` None is the default: last when ascending, first when descending."""

    expression: Expression
    is_descending: bool
    nulls_first: bool | None


@dataclass(frozen=True, slots=True)
class Select:
    """`from_items` are joined by commas; empty is SELECT without FROM."""

    items: tuple[SelectItem | Star, ...]
    is_distinct: bool
    from_items: tuple[FromItem, ...]
    where: Expression | None
    group_by: tuple[Expression, ...]
    having: Expression | None
    position: int


@dataclass(frozen=True, slots=True)
class Values:
    rows: tuple[tuple[Expression, ...], ...]
    position: int


QueryBody = Select | Values


@dataclass(frozen=True, slots=True)
class Query:
    """A body with what is applied to its result."""

    body: QueryBody
    order_by: tuple[OrderItem, ...]
    limit: Expression | None
    offset: Expression | None
    position: int


# --- changes ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Default:
    """The word DEFAULT in VALUES or SET."""

    position: int


@dataclass(frozen=True, slots=True)
class InsertRows:
    rows: tuple[tuple[Expression | Default, ...], ...]


@dataclass(frozen=True, slots=True)
class Insert:
    """`source` None is DEFAULT VALUES. `columns` empty is all of them, in order."""

    table: TableRef
    columns: tuple[Name, ...]
    source: InsertRows | Query | None
    position: int


@dataclass(frozen=True, slots=True)
class Assignment:
    column: Name
    value: Expression | Default


@dataclass(frozen=True, slots=True)
class Update:
    table: TableRef
    assignments: tuple[Assignment, ...]
    where: Expression | None
    position: int


@dataclass(frozen=True, slots=True)
class Delete:
    table: TableRef
    where: Expression | None
    position: int


# --- schema -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ColumnDefinition:
    """`default_sql` is the source text of `default`."""

    name: Name
    type: TypeName | None
    is_not_null: bool
    is_unique: bool
    is_primary_key: bool
    default: Expression | None
    default_sql: str | None


@dataclass(frozen=True, slots=True)
class KeyConstraint:
    """PRIMARY KEY (...) or UNIQUE (...)."""

    name: str | None
    columns: tuple[Name, ...]
    is_primary: bool
    position: int


@dataclass(frozen=True, slots=True)
class CreateTable:
    table: Name
    if_not_exists: bool
    columns: tuple[ColumnDefinition, ...]
    constraints: tuple[KeyConstraint, ...]
    position: int


@dataclass(frozen=True, slots=True)
class DropTable:
    tables: tuple[Name, ...]
    if_exists: bool
    position: int


@dataclass(frozen=True, slots=True)
class CreateIndex:
    index: Name
    table: Name
    columns: tuple[Name, ...]
    is_unique: bool
    if_not_exists: bool
    position: int


@dataclass(frozen=True, slots=True)
class DropIndex:
    indexes: tuple[Name, ...]
    if_exists: bool
    position: int


# --- transactions and the rest ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begin:
    isolation: IsolationLevel | None
    is_read_only: bool
    position: int


@dataclass(frozen=True, slots=True)
class Commit:
    position: int


@dataclass(frozen=True, slots=True)
class Rollback:
    position: int


@dataclass(frozen=True, slots=True)
class CreateSavepoint:
    name: str
    position: int


@dataclass(frozen=True, slots=True)
class RollbackToSavepoint:
    name: str
    position: int


@dataclass(frozen=True, slots=True)
class ReleaseSavepoint:
    name: str
    position: int


@dataclass(frozen=True, slots=True)
class Explain:
    statement: Query | Insert | Update | Delete
    position: int


Statement = (
    Query
    | Insert
    | Update
    | Delete
    | CreateTable
    | DropTable
    | CreateIndex
    | DropIndex
    | Begin
    | Commit
    | Rollback
    | CreateSavepoint
    | RollbackToSavepoint
    | ReleaseSavepoint
    | Explain
)
