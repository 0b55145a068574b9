"""The rules a row must keep, and the words in which a broken one is reported.

NOT NULL is checked on each row. PRIMARY KEY and UNIQUE are checked for the statement as a
whole: first it is settled which keys go and which come, then every coming key must be new

  - among the coming ones, and
  - in the store, unless it is one of those that go.

So `UPDATE t SET id = id + 1`, and two rows that swap their values, succeed whatever order
the rows are met in. The SQL standard says the same; PostgreSQL checks row by row there and
refuses some of them unless the constraint is deferrable.

The keys are held before the store is asked, so two that insert the same one wait for each other,
and the second reports a duplicate, as in PostgreSQL: also at snapshot, where it does not see it.
Only at serializable that is a SerializationFailure: running the transaction again tells whether
it would have looked first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ferrisdb.errors import NotNullViolation, UniqueViolation
from ferrisdb.immutable import immutable
from ferrisdb.query.schema import Table
from ferrisdb.query.types import Value
from ferrisdb.query.values import format_value
from ferrisdb.txn.api import IsolationLevel, Transaction


@immutable
class KeyRule:
    """A PRIMARY KEY or UNIQUE rule. `columns` are positions in the table's columns."""

    name: str
    columns: tuple[int, ...]


Claim = tuple[KeyRule, Sequence[Value]]
"""A row's values, and the rule by which no other row may have the same key."""


def not_null_positions(table: Table) -> tuple[int, ...]:
    return tuple(position for position, column in enumerate(table.columns) if column.is_not_null)


def check_not_null(table: Table, positions: Iterable[int], values: Sequence[Value]) -> None:
    """Raises NotNullViolation for the first of `positions` that holds a NULL."""
    for position in positions:
        if values[position] is None:
            raise null_violation(table, position, values)


def check_claims(table: Table, transaction: Transaction, claims: Mapping[bytes, Claim]) -> None:
    """Every key must be free in the store; then they are held. Raises UniqueViolation for the
    first that is not."""
    # In one order for all, as writes are: see `row_changes`.
    taken = set(transaction.claim(sorted(claims)))
    if not taken:
        return
    key = next(key for key in claims if key in taken)
    violation = unique_violation(table, claims[key])
    if transaction.isolation is IsolationLevel.SNAPSHOT and transaction.get(key) is None:
        violation.hint = "another transaction has committed it since this one took its snapshot"
    raise violation


def unique_violation(table: Table, claim: Claim) -> UniqueViolation:
    rule, values = claim
    return UniqueViolation(
        f'duplicate key value violates unique constraint "{rule.name}"',
        detail=f"{key_text(table, rule.columns, values)} already exists.",
    )


def key_text(table: Table, columns: Sequence[int], values: Sequence[Value]) -> str:
    """`Key (a, b)=(1, x)`, where `values` are a whole row's."""
    names = ", ".join(table.columns[position].name for position in columns)
    return f"Key ({names})=({_shown(values[position] for position in columns)})"


def null_violation(table: Table, position: int, values: Sequence[Value]) -> NotNullViolation:
    return NotNullViolation(
        f'null value in column "{table.columns[position].name}" of table "{table.name}" '
        "violates not-null constraint",
        detail=f"Failing row contains ({_shown(values)}).",
    )


def _shown(values: Iterable[Value]) -> str:
    return ", ".join("null" if value is None else format_value(value) for value in values)
