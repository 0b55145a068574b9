"""What a caller may choose by name: checked, and with the names in the error."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath

from ferrisdb.errors import InterfaceError, InvalidParameterValue
from ferrisdb.query.keyspace import SQL
from ferrisdb.storage.compaction_filter import Expiry
from ferrisdb.storage.options import CompactionStyle, Compression, Durability, RecoveryMode
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


def durability_of(given: Durability | str | None) -> Durability | None:
    """None stays None: what the database was opened with."""
    if given is None:
        return None
    for level in Durability:
        if given is level or given == level.value:
            return level
    raise InvalidParameterValue(
        f"there is no durability {given!r}", hint="it is " + ", ".join(f'"{d.value}"' for d in Durability)
    )


def compaction_style(given: CompactionStyle | str) -> CompactionStyle:
    for style in CompactionStyle:
        if given is style or given == style.value:
            return style
    raise InvalidParameterValue(
        f"there is no compaction style {given!r}",
        hint="it is " + " or ".join(f'"{style.value}"' for style in CompactionStyle),
    )


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


def compression_of(given: Compression | str) -> Compression:
    for kind in Compression:
        if given is kind or given == kind.value:
            return kind
    raise InvalidParameterValue(
        f"there is no compression {given!r}", hint="it is " + " or ".join(f'"{c.value}"' for c in Compression)
    )


def recovery_mode_of(given: RecoveryMode | str) -> RecoveryMode:
    for mode in RecoveryMode:
        if given is mode or given == mode.value:
            return mode
    raise InvalidParameterValue(
        f"there is no recovery mode {given!r}",
        hint="it is " + " or ".join(f'"{mode.value}"' for mode in RecoveryMode),
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
