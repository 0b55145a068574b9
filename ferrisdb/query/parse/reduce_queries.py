"""Queries and changes of rows: SELECT, VALUES, INSERT, UPDATE, DELETE and their parts."""

from __future__ import annotations

from ferrisdb.query import ast
from ferrisdb.query.parse.lexer import Token
from ferrisdb.query.parse.rules import rule
from ferrisdb.txn.api import Waiting

# --- queries ----------------------------------------------------------------------------


Limits = tuple[ast.Expression | None, ast.Expression | None]
"""(limit, offset)"""

Tail = tuple[Limits, list[ast.Locking]]
"""What stands behind ORDER BY."""


@rule("query")
def query(body: ast.QueryBody, order_by: list[ast.OrderItem], tail: Tail) -> ast.Query:
    limits, lockings = tail
    return ast.Query(body, tuple(order_by), *limits, body.position, tuple(lockings))


@rule("values")
def values(word: Token, rows: list[tuple[ast.Expression, ...]]) -> ast.Values:
    return ast.Values(tuple(rows), word[2])


@rule("row")
def row(_open: Token, items: list[ast.Expression], _close: Token) -> tuple[ast.Expression, ...]:
    return tuple(items)


@rule("select")
def select(  # noqa: PLR0917 - a clause each
    word: Token,
    is_distinct: bool,
    items: list[ast.SelectItem | ast.Star],
    from_items: list[ast.FromItem],
    where: ast.Expression | None,
    group_by: list[ast.Expression],
    having: ast.Expression | None,
) -> ast.Select:
    return ast.Select(tuple(items), is_distinct, tuple(from_items), where, tuple(group_by), having, word[2])


@rule("star")
def star(token: Token) -> ast.Star:
    return ast.Star(None, token[2])


@rule("table_star")
def table_star(table: Token, _dot: Token, _star: Token) -> ast.Star:
    return ast.Star(table[1], table[2])


@rule("select_item")
def select_item(expression: ast.Expression, alias: Token | None) -> ast.SelectItem:
    return ast.SelectItem(expression, alias and alias[1])


# --- FROM -------------------------------------------------------------------------------


@rule("table_reference")
def table_reference(name: Token, alias: Token | None) -> ast.TableRef:
    return ast.TableRef(name[1], alias and alias[1], name[2])


@rule("derived_table")
def derived_table(
    opening: Token, inner: ast.Query, _close: Token, alias: Token, columns: list[ast.Name]
) -> ast.DerivedTable:
    return ast.DerivedTable(inner, alias[1], tuple(name.text for name in columns), opening[2])


JoinWords = tuple[ast.JoinKind, int]
"""(kind, position)"""


@rule("inner_join")
def inner_join(join: Token) -> JoinWords:
    return ast.JoinKind.INNER, join[2]


@rule("inner_join_words")
def inner_join_words(inner: Token, _join: Token) -> JoinWords:
    return ast.JoinKind.INNER, inner[2]


@rule("left_join_words")
def left_join_words(left: Token, *_words: Token) -> JoinWords:
    return ast.JoinKind.LEFT, left[2]


@rule("cross_join")
def cross_join(left: ast.FromItem, cross: Token, _join: Token, right: ast.FromItem) -> ast.Join:
    return ast.Join(ast.JoinKind.CROSS, left, right, None, (), cross[2])


@rule("join_on")
def join_on(
    left: ast.FromItem, words: JoinWords, right: ast.FromItem, _on: Token, condition: ast.Expression
) -> ast.Join:
    return ast.Join(words[0], left, right, condition, (), words[1])


@rule("join_using")
def join_using(
    left: ast.FromItem,
    words: JoinWords,
    right: ast.FromItem,
    _using: Token,
    _open: Token,
    columns: list[ast.Name],
    _close: Token,
) -> ast.Join:
    using = tuple(name.text for name in columns)
    return ast.Join(words[0], left, right, None, using, words[1])


# --- ORDER BY, LIMIT --------------------------------------------------------------------


@rule("order_item")
def order_item(expression: ast.Expression, is_descending: bool, nulls_first: bool | None) -> ast.OrderItem:
    return ast.OrderItem(expression, is_descending, nulls_first)


@rule("nulls_first")
def nulls_first(_nulls: Token, _first: Token) -> bool:
    return True


@rule("nulls_last")
def nulls_last(_nulls: Token, _last: Token) -> bool:
    return False


@rule("no_tail")
def no_tail(_sql: str, _next: Token) -> Tail:
    return (None, None), []


@rule("tail_of_limits")
def tail_of_limits(limits: Limits) -> Tail:
    return limits, []


@rule("tail_of_lockings")
def tail_of_lockings(lockings: list[ast.Locking]) -> Tail:
    return (None, None), lockings


@rule("limits_lockings")
def limits_lockings(limits: Limits, lockings: list[ast.Locking]) -> Tail:
    return limits, lockings


@rule("lockings_limits")
def lockings_limits(lockings: list[ast.Locking], limits: Limits) -> Tail:
    return limits, lockings


@rule("limit")
def limit(_limit: Token, count: ast.Expression | None) -> Limits:
    return count, None


@rule("limit_offset")
def limit_offset(_limit: Token, count: ast.Expression | None, offset: ast.Expression) -> Limits:
    return count, offset


@rule("limit_comma")
def limit_comma(_limit: Token, offset: ast.Expression, _comma: Token, count: ast.Expression) -> Limits:
    """SQLite's and MySQL's spelling, in which the offset comes first."""
    return count, offset


@rule("only_offset")
def only_offset(offset: ast.Expression) -> Limits:
    return None, offset


@rule("offset_limit")
def offset_limit(offset: ast.Expression, _limit: Token, count: ast.Expression | None) -> Limits:
    return count, offset


@rule("offset_fetch")
def offset_fetch(offset: ast.Expression, count: ast.Expression) -> Limits:
    return count, offset


@rule("only_fetch")
def only_fetch(count: ast.Expression) -> Limits:
    return count, None


@rule("offset_rows")
def offset_rows(_offset: Token, count: ast.Expression, _rows: Token) -> ast.Expression:
    return count


@rule("fetch")
def fetch(_fetch: Token, _first: Token, count: ast.Expression, _rows: Token, _only: Token) -> ast.Expression:
    return count


@rule("one")
def one(_sql: str, following: Token) -> ast.Literal:
    return ast.Literal(1, following[2])


# --- FOR UPDATE ---------------------------------------------------------------------------


@rule("locking")
def locking(word: Token, strength: ast.LockStrength, tables: list[ast.Name], waiting: Waiting) -> ast.Locking:
    return ast.Locking(strength, tuple(tables), waiting, word[2])


@rule("for_update")
def for_update(_update: Token) -> ast.LockStrength:
    return ast.LockStrength.UPDATE


@rule("for_no_key_update")
def for_no_key_update(_no: Token, _key: Token, _update: Token) -> ast.LockStrength:
    return ast.LockStrength.NO_KEY_UPDATE


@rule("for_share")
def for_share(_share: Token) -> ast.LockStrength:
    return ast.LockStrength.SHARE


@rule("for_key_share")
def for_key_share(_key: Token, _share: Token) -> ast.LockStrength:
    return ast.LockStrength.KEY_SHARE


@rule("wait")
def wait(_sql: str, _next: Token) -> Waiting:
    return Waiting.WAIT


@rule("nowait")
def nowait(_nowait: Token) -> Waiting:
    return Waiting.NOWAIT


@rule("skip_locked")
def skip_locked(_skip: Token, _locked: Token) -> Waiting:
    return Waiting.SKIP_LOCKED


# --- changes ----------------------------------------------------------------------------


@rule("table_name")
def table_name(name: Token) -> ast.TableRef:
    return ast.TableRef(name[1], None, name[2])


@rule("table_as")
def table_as(name: Token, _as: Token, alias: Token) -> ast.TableRef:
    return ast.TableRef(name[1], alias[1], name[2])


@rule("insert")
def insert(
    word: Token,
    _into: Token,
    table: ast.TableRef,
    columns: list[ast.Name],
    source: ast.InsertRows | ast.Query | None,
    on_conflict: ast.OnConflict | None,
) -> ast.Insert:
    return ast.Insert(table, tuple(columns), source, on_conflict, word[2])


@rule("insert_parenthesized")
def insert_parenthesized(
    word: Token,
    _into: Token,
    table: ast.TableRef,
    _open: Token,
    query: ast.Query,
    _close: Token,
    on_conflict: ast.OnConflict | None,
) -> ast.Insert:
    return ast.Insert(table, (), _insert_source(query), on_conflict, word[2])


@rule("insert_columns_parenthesized")
def insert_columns_parenthesized(
    word: Token,
    _into: Token,
    table: ast.TableRef,
    _open_names: Token,
    columns: list[ast.Name],
    _close_names: Token,
    _open: Token,
    query: ast.Query,
    _close: Token,
    on_conflict: ast.OnConflict | None,
) -> ast.Insert:
    return ast.Insert(table, tuple(columns), _insert_source(query), on_conflict, word[2])


def _insert_source(query: ast.Query) -> ast.InsertRows | ast.Query:
    """VALUES alone mean the same with parentheses as without: each value takes its column's type."""
    is_plain = not (query.order_by or query.lockings) and query.limit is None and query.offset is None
    return ast.InsertRows(query.body.rows) if isinstance(query.body, ast.Values) and is_plain else query


@rule("default_values")
def default_values(_default: Token, _values: Token) -> None:
    return None


@rule("insert_rows")
def insert_rows(_values: Token, rows: list[tuple[ast.Expression | ast.Default, ...]]) -> ast.InsertRows:
    return ast.InsertRows(tuple(rows))


@rule("default")
def default(word: Token) -> ast.Default:
    return ast.Default(word[2])


ConflictTarget = list[ast.Name] | ast.Name | None
"""Columns, or the name of a constraint."""


@rule("conflict_constraint")
def conflict_constraint(_on: Token, _constraint: Token, name: Token) -> ast.Name:
    return ast.Name(name[1], name[2])


@rule("conflict_do_nothing")
def conflict_do_nothing(
    word: Token, _conflict: Token, target: ConflictTarget, _do: Token, _nothing: Token
) -> ast.OnConflict:
    return _on_conflict(word, target, (), None)


@rule("conflict_do_update")
def conflict_do_update(
    word: Token,
    _conflict: Token,
    target: ConflictTarget,
    _do: Token,
    _update: Token,
    _set: Token,
    assignments: list[ast.Assignment],
    where: ast.Expression | None,
) -> ast.OnConflict:
    return _on_conflict(word, target, tuple(assignments), where)


def _on_conflict(
    word: Token,
    target: ConflictTarget,
    assignments: tuple[ast.Assignment, ...],
    where: ast.Expression | None,
) -> ast.OnConflict:
    columns = tuple(target) if isinstance(target, list) else ()
    constraint = target if isinstance(target, ast.Name) else None
    return ast.OnConflict(columns, constraint, assignments, where, word[2])


@rule("update")
def update(
    word: Token,
    table: ast.TableRef,
    _set: Token,
    assignments: list[ast.Assignment],
    where: ast.Expression | None,
) -> ast.Update:
    return ast.Update(table, tuple(assignments), where, word[2])


@rule("assignment")
def assignment(column: Token, _equal: Token, value: ast.Expression | ast.Default) -> ast.Assignment:
    return ast.Assignment(ast.Name(column[1], column[2]), value)


@rule("delete")
def delete(word: Token, _from: Token, table: ast.TableRef, where: ast.Expression | None) -> ast.Delete:
    return ast.Delete(table, where, word[2])
