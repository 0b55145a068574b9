"""AS OF: a statement, or a transaction, that reads the database as it was.

    SELECT * FROM account AS OF VERSION 4711
    SELECT * FROM account WHERE id = 1 AS OF TIMESTAMP '2031-05-06 10:00:00'
    BEGIN AS OF TIMESTAMP '2031-05-06 10:00:00'

The moment belongs to the whole statement: all its tables, and the catalog, are those of then. So a
table can be read that was dropped since, and a column that was not there yet is not known. SQL:2011
and Oracle give each table of a statement a moment of its own; here, as in CockroachDB, there
is one snapshot for one statement, which is what makes its rows fit each other. Such a statement is
a transaction of its own, also where one is open: that one has its own moment.

Times are UTC, as everywhere in SQL here. A version is the number of a commit; SHOW current_version
gives the newest.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from ferrisdb.errors import InvalidParameterValue, ReadOnlyTransaction
from ferrisdb.query import ast
from ferrisdb.query.bind.coercion import located
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.shared_state import ParsedStatement
from ferrisdb.query.statement_runner import check_parameters
from ferrisdb.query.values.dates import parse_timestamp
from ferrisdb.txn.api import CommitToken, IsolationLevel, Store, Transaction


def begin_past(store: Store, moment: ast.Moment, given: Parameters) -> Transaction:
    """A transaction that reads at that moment. Raises PastNotKept, and what `version_of` does."""
    with located(moment.position):
        as_of = version_of(moment, given, store)
        return store.begin(IsolationLevel.SNAPSHOT, read_only=True, as_of=as_of)


def present_of(parsed: ParsedStatement, syntax: ast.PastQuery, given: Parameters) -> ParsedStatement:
    """The statement without its AS OF."""
    if parsed.locks_rows:
        raise ReadOnlyTransaction("rows of the past cannot be locked: nobody can change them")
    check_parameters(parsed, given)
    return replace(parsed, syntax=syntax.statement)


def check_level(level: IsolationLevel | None) -> None:
    """Of BEGIN AS OF. Raises InvalidParameterValue."""
    if level not in (None, IsolationLevel.SNAPSHOT):
        raise InvalidParameterValue(
            f"the past is read at level snapshot, not {level.value}",
            hint="what it shows is one moment, which nobody changes any more",
        )


def version_of(moment: ast.Moment, given: Parameters, store: Store) -> CommitToken:
    """Which version it names. Raises InvalidParameterValue and what reading a TIMESTAMP raises,
    with the position of the value."""
    with located(moment.position):
        value: object = moment.value
        if isinstance(value, ast.Parameter):
            given.type_of(value.key)
            value = given.values[value.key]
        if moment.is_version:
            if type(value) is not int:
                raise InvalidParameterValue(f"AS OF VERSION takes a number, not {value!r}")
            return CommitToken(value)
        if isinstance(value, str):
            value = parse_timestamp(value)
        if not isinstance(value, datetime):
            raise InvalidParameterValue(f"AS OF TIMESTAMP takes a time, not {value!r}")
        return store.token_at(seconds_of(value))


def seconds_of(moment: datetime) -> float:
    """Since 1970. Without a time zone it is UTC."""
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
