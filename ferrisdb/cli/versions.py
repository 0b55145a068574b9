"""`.versions TABLE KEY`: all versions of a row, and which session sees which.

    account(1), newest first

     commit | row             | where         | seen by
    --------+-----------------+---------------+----------------------------
            | (1, 'Ada', 90)  | not committed | b
          7 | (1, 'Ada', 110) | memory        | whoever begins to read now
          5 | (1, 'Ada', 100) | memory        | a (reads as of 6)
          2 | deleted         | level 0       |

    locked by b; wanted by c

A session sees what it has written itself, else the newest version at or below its snapshot.
One without a snapshot (no transaction, or none that has read) takes the newest when it reads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final

from ferrisdb.cli.inspect_names import KeyNames
from ferrisdb.cli.output import drawn_lines
from ferrisdb.cli.surroundings import Surroundings
from ferrisdb.errors import UndefinedTable
from ferrisdb.query.schema import Table
from ferrisdb.txn.lock_waits import KeyLocks
from ferrisdb.txn.looking import LookAtKey, OpenTransaction

_SHOWN_CHARACTERS: Final = 60
_MOST_VERSIONS: Final = 50
_HEADERS: Final = ("commit", "row", "where", "seen by")
_ALIGNED: Final = ("right", "left", "left", "left")


def show_versions(surroundings: Surroundings, table_name: str, values: Sequence[str]) -> Iterator[str]:
    """Raises UndefinedTable, InvalidParameterValue."""
    database = surroundings.database
    tables = database.tables()
    table = next((each for each in tables if each.name in (table_name, table_name.lower())), None)
    if table is None:
        raise UndefinedTable(f'table "{table_name}" does not exist', hint=".tables lists the tables")
    names = KeyNames([table], _SHOWN_CHARACTERS)
    key = names.parse_key(_call(table, values))
    # A transaction that commits between the two looks is then seen as still open; at rest none does.
    transactions = {each.id: each for each in database.open_transactions()}
    seen = database.look_at(key)
    rows = _uncommitted_rows(surroundings, names, key, seen)
    rows += _version_rows(surroundings, names, key, seen, transactions)
    yield names.key(key) + ", newest first"
    yield ""
    yield from (
        drawn_lines(_HEADERS, rows, _ALIGNED)
        if rows
        else ("  nobody has ever written it, or all its versions are collected",)
    )
    if len(seen.versions) > _MOST_VERSIONS:
        yield f"... and {len(seen.versions) - _MOST_VERSIONS} older versions"
    locks = _locks(surroundings, seen.locks)
    if locks:
        yield ""
        yield locks


def _call(table: Table, values: Sequence[str]) -> str:
    """As `KeyNames.parse_key` takes it: account('1')."""
    name = table.name.replace('"', '""')
    if not table.primary_key:
        return f'"{name}"({" ".join(values)})'
    quoted = ["'" + value.replace("'", "''") + "'" for value in values]
    return f'"{name}"({", ".join(quoted)})'


def _uncommitted_rows(
    surroundings: Surroundings, names: KeyNames, key: bytes, seen: LookAtKey
) -> list[tuple[str, str, str, str]]:
    return [
        ("", names.value(key, value), "not committed", surroundings.name_of(writer))
        for writer, value in seen.uncommitted
    ]


def _version_rows(
    surroundings: Surroundings,
    names: KeyNames,
    key: bytes,
    seen: LookAtKey,
    transactions: dict[int, OpenTransaction],
) -> list[tuple[str, str, str, str]]:
    writers = {writer for writer, _ in seen.uncommitted}
    seen_by: defaultdict[int, list[str]] = defaultdict(list)
    blind: list[str] = []
    for transaction in transactions.values():
        at = transaction.snapshot
        if at is None or transaction.id in writers:
            continue
        who = f"{surroundings.name_of(transaction.id)} (reads as of {at})"
        index = next((i for i, each in enumerate(seen.versions) if each.timestamp <= at), None)
        if index is None:
            blind.append(who)
        else:
            seen_by[index].append(who)
    rows = []
    for index, version in enumerate(seen.versions[:_MOST_VERSIONS]):
        readers = seen_by[index] + (["whoever begins to read now"] if index == 0 else [])
        shown = "deleted, with a range" if version.is_range else names.value(key, version.value)
        rows.append((f"{version.timestamp}", shown, version.place, ", ".join(readers)))
    if blind:
        rows.append(("", "no row", "", ", ".join(blind)))
    return rows


def _locks(surroundings: Surroundings, locks: KeyLocks) -> str:
    def listed(ids: Sequence[int]) -> str:
        return ", ".join(dict.fromkeys(surroundings.name_of(each) for each in ids))

    parts = []
    if locks.exclusive:
        parts.append(f"locked by {listed(locks.exclusive)}")
    if locks.sharing:
        parts.append(f"shared by {listed(locks.sharing)}: nobody may change it")
    if locks.waiting:
        parts.append(f"wanted by {listed(locks.waiting)}")
    return "; ".join(parts)
