"""The syntax tree: what the parser says a statement means, before any name is looked up.

Every node is immutable and typed. `position` is a character offset into the SQL text, for
errors that point. Names are already folded (unquoted to lower case). Nothing here knows
the catalog; the binder (`ferrisdb.query.bind`) gives names and types their meaning.
"""

from __future__ import annotations

import enum
from decimal import Decimal

from ferrisdb.immutable import immutable
from ferrisdb.query.schema import ReferentialAction
from ferrisdb.txn.api import IsolationLevel, Waiting

# --- expressions ------------------------------------------------------------------------


@immutable
class Name:
    text: str
    position: int


@immutable
class Literal:
    """A number is int, float (with an exponent) or Decimal (with a point); a quoted string is str."""

    value: int | float | Decimal | str | bool | None
    position: int


@immutable
class TypedLiteral:
    """DATE '1994-01-01', TIMESTAMP '...'."""

    type: TypeName
    text: str
    position: int


@immutable
class Parameter:
    """`?` is numbered from 1 in order of appearance, `?3` says its number; `:a` has a name."""

    key: int | str
    position: int


@immutable
class ColumnRef:
    table: str | None
    column: str
    position: int


@immutable
class Unary:
    """`operator` is one of - + NOT."""

    operator: str
    operand: Expression
    position: int


@immutable
class Binary:
    """`operator` is one of + - * / % || = <> < <= > >= AND OR, IS [NOT] DISTINCT FROM."""

    operator: str
    left: Expression
    right: Expression
    position: int


@immutable
class IsTest:
    """`operand IS [NOT] test`; `test` is NULL, TRUE or FALSE."""

    operand: Expression
    test: str
    is_negated: bool
    position: int


@immutable
class Between:
    operand: Expression
    low: Expression
    high: Expression
    is_negated: bool
    position: int


@immutable
class InList:
    operand: Expression
    items: tuple[Expression, ...]
    is_negated: bool
    position: int


@immutable
class InSubquery:
    operand: Expression
    query: Query
    is_negated: bool
    position: int


@immutable
class Like:
    operand: Expression
    pattern: Expression
    escape: Expression | None
    is_case_insensitive: bool
    is_negated: bool
    position: int


@immutable
class Exists:
    query: Query
    position: int


@immutable
class ScalarSubquery:
    query: Query
    position: int


@immutable
class When:
    condition: Expression
    result: Expression


@immutable
class Case:
    """With `operand`, each condition is a value that it is compared to."""

    operand: Expression | None
    whens: tuple[When, ...]
    otherwise: Expression | None
    position: int


@immutable
class Cast:
    operand: Expression
    type: TypeName
    position: int


@immutable
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


@immutable
class TypeName:
    """As written, lower case, words joined by a blank: `double precision`, `varchar` (10,)."""

    name: str
    arguments: tuple[int, ...]
    position: int


# --- queries ----------------------------------------------------------------------------


@immutable
class Star:
    """`*`, or `t.*`."""

    table: str | None
    position: int


@immutable
class SelectItem:
    expression: Expression
    alias: str | None


class JoinKind(enum.Enum):
    INNER = "inner"
    LEFT = "left"
    CROSS = "cross"


@immutable
class TableRef:
    name: str
    alias: str | None
    position: int


@immutable
class DerivedTable:
    """A query in FROM."""

    query: Query
    alias: str
    columns: tuple[str, ...]
    position: int


@immutable
class Join:
    kind: JoinKind
    left: FromItem
    right: FromItem
    condition: Expression | None
    using: tuple[str, ...]
    position: int


FromItem = TableRef | DerivedTable | Join


@immutable
class OrderItem:
    """`nulls_first` None is the default: last when ascending, first when descending."""

    expression: Expression
    is_descending: bool
    nulls_first: bool | None


@immutable
class Select:
    """`from_items` are joined by commas; empty is SELECT without FROM."""

    items: tuple[SelectItem | Star, ...]
    is_distinct: bool
    from_items: tuple[FromItem, ...]
    where: Expression | None
    group_by: tuple[Expression, ...]
    having: Expression | None
    position: int


@immutable
class Values:
    rows: tuple[tuple[Expression, ...], ...]
    position: int


QueryBody = Select | Values


class LockStrength(enum.IntEnum):
    """How a SELECT ... FOR holds its rows, weakest first: see `ferrisdb.query.row_locks`."""

    KEY_SHARE = 1
    SHARE = 2
    NO_KEY_UPDATE = 3
    UPDATE = 4

    def __str__(self) -> str:
        return "FOR " + self.name.replace("_", " ")


@immutable
class Locking:
    """FOR UPDATE and its kin. `tables` empty is every table of FROM."""

    strength: LockStrength
    tables: tuple[Name, ...]
    waiting: Waiting
    position: int


@immutable
class Query:
    """A body with what is applied to its result."""

    body: QueryBody
    order_by: tuple[OrderItem, ...]
    limit: Expression | None
    offset: Expression | None
    position: int
    lockings: tuple[Locking, ...] = ()


# --- changes ----------------------------------------------------------------------------


@immutable
class Default:
    """The word DEFAULT in VALUES or SET."""

    position: int


@immutable
class InsertRows:
    rows: tuple[tuple[Expression | Default, ...], ...]


@immutable
class Assignment:
    column: Name
    value: Expression | Default


@immutable
class OnConflict:
    """ON CONFLICT (columns) or ON CONSTRAINT constraint, or neither: whatever unique key it is.

    `assignments` empty is DO NOTHING.
    """

    columns: tuple[Name, ...]
    constraint: Name | None
    assignments: tuple[Assignment, ...]
    where: Expression | None
    position: int


@immutable
class Insert:
    """`source` None is DEFAULT VALUES. `columns` empty is all of them, in order."""

    table: TableRef
    columns: tuple[Name, ...]
    source: InsertRows | Query | None
    on_conflict: OnConflict | None
    position: int


@immutable
class Update:
    table: TableRef
    assignments: tuple[Assignment, ...]
    where: Expression | None
    position: int


@immutable
class Delete:
    table: TableRef
    where: Expression | None
    position: int


# --- schema -----------------------------------------------------------------------------


@immutable
class ColumnDefinition:
    """`default_sql` is the source text of `default`."""

    name: Name
    type: TypeName | None
    is_not_null: bool
    is_unique: bool
    is_primary_key: bool
    default: Expression | None
    default_sql: str | None


@immutable
class KeyConstraint:
    """PRIMARY KEY (...) or UNIQUE (...)."""

    name: str | None
    columns: tuple[Name, ...]
    is_primary: bool
    position: int


@immutable
class ForeignKeyConstraint:
    """`parent` is the table; `referenced` empty is its primary key."""

    name: str | None
    columns: tuple[Name, ...]
    parent: Name
    referenced: tuple[Name, ...]
    on_delete: ReferentialAction
    on_update: ReferentialAction
    position: int


@immutable
class CreateTable:
    table: Name
    if_not_exists: bool
    columns: tuple[ColumnDefinition, ...]
    constraints: tuple[KeyConstraint, ...]
    foreign_keys: tuple[ForeignKeyConstraint, ...]
    position: int


@immutable
class DropTable:
    """`is_cascade` drops the foreign keys of other tables that refer to these, too."""

    tables: tuple[Name, ...]
    if_exists: bool
    is_cascade: bool
    position: int


@immutable
class CreateIndex:
    index: Name
    table: Name
    columns: tuple[Name, ...]
    is_unique: bool
    if_not_exists: bool
    position: int


@immutable
class DropIndex:
    indexes: tuple[Name, ...]
    if_exists: bool
    position: int


# --- transactions and the rest ----------------------------------------------------------


@immutable
class Moment:
    """AS OF VERSION n, or AS OF TIMESTAMP '...'. `position` is that of the value."""

    is_version: bool
    value: int | str | Parameter
    position: int


@immutable
class Begin:
    isolation: IsolationLevel | None
    is_read_only: bool | None
    """None where it is not said, which is READ WRITE where the store can be written."""
    position: int
    as_of: Moment | None = None


@immutable
class Commit:
    position: int


@immutable
class Rollback:
    position: int


@immutable
class CreateSavepoint:
    name: str
    position: int


@immutable
class RollbackToSavepoint:
    name: str
    position: int


@immutable
class ReleaseSavepoint:
    name: str
    position: int


@immutable
class LockTable:
    """`is_shared` is for the weakest three of PostgreSQL's modes."""

    tables: tuple[Name, ...]
    is_shared: bool
    is_nowait: bool
    position: int


@immutable
class SetSetting:
    """`text` None is DEFAULT."""

    setting: Name
    text: str | None
    is_local: bool
    position: int


@immutable
class ResetSetting:
    """`setting` None is ALL."""

    setting: Name | None
    position: int


@immutable
class ShowSetting:
    """`setting` None is ALL."""

    setting: Name | None
    position: int


@immutable
class SetTransaction:
    """Modes of the open transaction, or of those that the session begins from now on."""

    isolation: IsolationLevel | None
    is_read_only: bool | None
    is_for_session: bool
    position: int


SettingStatement = SetSetting | ResetSetting | ShowSetting | SetTransaction


@immutable
class Explain:
    statement: Query | Insert | Update | Delete
    position: int


@immutable
class PastQuery:
    """A statement that reads the database as it was."""

    statement: Query | Explain
    as_of: Moment
    position: int


Statement = (
    Query
    | PastQuery
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
    | LockTable
    | SettingStatement
    | Explain
)
