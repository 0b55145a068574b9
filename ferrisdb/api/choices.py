"""What a caller may choose by name: checked, and with the names in the error."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from os import PathLike, fspath
from pathlib import Path
from typing import TypeVar

from ferrisdb.errors import InterfaceError, InvalidParameterValue
from ferrisdb.query.keyspace import SQL
from ferrisdb.storage.compaction_filter import Expiry
from ferrisdb.txn.api import IsolationLevel

Choice = TypeVar("Choice", bound=Enum)


def checked_path(path: str | PathLike[str]) -> str:
    """Raises InterfaceError for what is no path. Bytes are none: a path is text in every message."""
    text = fspath(path) if isinstance(path, (str, PathLike)) else None
    if not isinstance(text, str):
        raise InterfaceError(f"path is a str or a Path, not {type(path).__name__}")
    if not text or "\0" in text:
        raise InterfaceError('path is empty or holds a null character; ":memory:" is a database in memory')
    return text


def path_outside(path: str | PathLike[str], folder: str | None, what: str) -> str:
    """`path`, checked. InvalidParameterValue when it lies in `folder`, which is `what`: who
    removes the one, or looks what is in it, would not think of the other."""
    text = checked_path(path)
    if folder is None:
        return text
    inner, outer = Path(text).resolve(), Path(folder).resolve()
    if outer in inner.parents:
        raise InvalidParameterValue(f"{text} lies in {what}", hint="name a folder outside of it")
    return text


def checked_statement(sql: str) -> str:
    """Raises InterfaceError for what is no text."""
    if not isinstance(sql, str):
        raise InterfaceError(f"a statement is a str, not {type(sql).__name__}")
    return sql


def one_of(kind: type[Choice], given: Choice | str | None, what: str) -> Choice | None:
    """The member of `kind` that is given, itself or by its value. None stays None: the default.

    Raises InvalidParameterValue, with all values, for anything else; `what` names it there.
    """
    if given is None:
        return None
    for member in kind:
        if given is member or given == member.value:
            return member
    *others, last = (f'"{member.value}"' for member in kind)
    raise InvalidParameterValue(f"there is no {what} {given!r}", hint=f"it is {', '.join(others)} or {last}")


def expiries_of(given: Mapping[bytes, float]) -> tuple[Expiry, ...]:
    """Prefixes of keys, and seconds. InvalidParameterValue where rows of SQL would be hit."""
    if not isinstance(given, Mapping):
        raise InvalidParameterValue(f"expire is a mapping of prefixes to seconds, not {type(given).__name__}")
    expiries = tuple(Expiry(prefix, ttl_s) for prefix, ttl_s in given.items())
    for each in expiries:
        if not each.prefix or each.prefix.startswith(SQL):
            raise InvalidParameterValue(
                f"the prefix {each.prefix!r} covers keys of SQL's tables, which cannot expire",
                hint="give the keys that should expire a prefix of their own",
            )
    return expiries


def checked_timeout(timeout_s: float | None) -> float | None:
    """Raises InvalidParameterValue for what is no time to wait. None is for ever."""
    if timeout_s is None:
        return None
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or not timeout_s >= 0:
        raise InvalidParameterValue(
            f"lock_timeout_s is {timeout_s!r}; it is a number of seconds from 0, or None for ever"
        )
    return timeout_s


def isolation_level(given: IsolationLevel | str) -> IsolationLevel:
    if isinstance(given, IsolationLevel):
        return given
    if given == "repeatable read":
        return IsolationLevel.SNAPSHOT
    if given == "read uncommitted":
        return IsolationLevel.READ_COMMITTED
    for level in IsolationLevel:
        if given == level.value:
            return level
    raise InvalidParameterValue(
        f"there is no isolation level {given!r}",
        hint="it is " + ", ".join(f'"{level.value}"' for level in IsolationLevel),
    )
