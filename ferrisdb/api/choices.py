"""What a caller may choose by name: checked, and with the names in the error."""

from __future__ import annotations

from os import PathLike, fspath

from ferrisdb.errors import InterfaceError, InvalidParameterValue
from ferrisdb.storage.options import Durability
from ferrisdb.txn.api import IsolationLevel


def checked_path(path: str | PathLike[str]) -> str:
    """Raises InterfaceError for what is no path. Bytes are none: a path is text in every message."""
    text = fspath(path) if isinstance(path, (str, PathLike)) else None
    if not isinstance(text, str):
        raise InterfaceError(f"path is a str or a Path, not {type(path).__name__}")
    if not text or "\0" in text:
        raise InterfaceError('path is empty or holds a null character; ":memory:" is a database in memory')
    return text


def checked_statement(sql: str) -> str:
    """Raises InterfaceError for what is no text."""
    if not isinstance(sql, str):
        raise InterfaceError(f"a statement is a str, not {type(sql).__name__}")
    return sql


def durability_of(given: Durability | str) -> Durability:
    for level in Durability:
        if given is level or given == level.value:
            return level
    raise InvalidParameterValue(
        f"there is no durability {given!r}", hint="it is " + " or ".join(f'"{d.value}"' for d in Durability)
    )


def isolation_level(given: IsolationLevel | str) -> IsolationLevel:
    if isinstance(given, IsolationLevel):
        return given
    if given == "repeatable read":
        return IsolationLevel.SNAPSHOT
    for level in IsolationLevel:
        if given == level.value:
            return level
    raise InvalidParameterValue(
        f"there is no isolation level {given!r}",
        hint="it is " + ", ".join(f'"{level.value}"' for level in IsolationLevel),
    )
