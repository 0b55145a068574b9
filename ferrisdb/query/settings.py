"""What a session can be told: SET, SHOW and RESET.

    lock_timeout                          how long one wait for a lock may take; 0 is for ever
    idle_in_transaction_session_timeout   how long a transaction may lie idle; 0 is for ever
    default_transaction_isolation         the level of transactions that do not say theirs
    default_transaction_read_only         whether they may write
    transaction_isolation                 the level of the one that is open
    transaction_read_only                 whether it may write

SET belongs to its transaction, as every other change does. Three sets of values are enough:

    session   what is there when no transaction is open
    kept      what will be the session's if the transaction commits     SET
    current   what is so now                                            SET, SET LOCAL

ROLLBACK forgets the last two, COMMIT makes `kept` the session's, and a savepoint is a pair of
both to go back to.

Times are written as in PostgreSQL: an integer is milliseconds, and text may have a unit (us, ms,
s, min, h, d). What is shown has the largest unit that leaves an integer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ferrisdb.errors import InvalidParameterValue, UndefinedObject
from ferrisdb.query.values.suggest import did_you_mean
from ferrisdb.txn.api import IsolationLevel

MAX_MS = 2**31 - 1
_UNITS_MS = {"us": 0.001, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_TIME = re.compile(r"\s*([+-]?\d+(?:\.\d*)?)\s*([a-z]*)\s*", re.IGNORECASE)
_LEVELS = {
    "read uncommitted": IsolationLevel.READ_COMMITTED,
    "repeatable read": IsolationLevel.SNAPSHOT,
    **{level.value: level for level in IsolationLevel},
}
_WORDS_OF_TRUTH = {
    **dict.fromkeys(("on", "true", "yes", "1"), True),
    **dict.fromkeys(("off", "false", "no", "0"), False),
}


@dataclass(frozen=True)
class Settings:
    """The values of one session. Times are in milliseconds, 0 for ever."""

    lock_timeout_ms: int = 0
    idle_in_transaction_session_timeout_ms: int = 0
    default_transaction_isolation: IsolationLevel = IsolationLevel.SNAPSHOT
    default_transaction_read_only: bool = False

    @property
    def lock_timeout_s(self) -> float | None:
        """As `Transaction.lock_timeout_s` takes it."""
        return self.lock_timeout_ms / 1000 or None

    @property
    def idle_in_transaction_session_timeout_s(self) -> float | None:
        """None is for ever."""
        return self.idle_in_transaction_session_timeout_ms / 1000 or None


def timeout_ms(timeout_s: float | None) -> int:
    """As settings have it: 0 is for ever, so the shortest is 1."""
    return 0 if timeout_s is None else min(max(1, round(timeout_s * 1000)), MAX_MS)


class _Kind(NamedTuple):
    field: str
    read: Callable[[str, str], Any]
    """From the setting's name and the text."""
    show: Callable[[Any], str]


def _time_ms(name: str, text: str) -> int:
    match = _TIME.fullmatch(text)
    unit = match[2].lower() if match else ""
    if match is None or (unit and unit not in _UNITS_MS):
        raise _bad_value(name, text, f"a time is an integer of milliseconds, or text as in \"{name} = '5s'\"")
    exactly_ms = float(match[1]) * _UNITS_MS[unit or "ms"]
    # A time so short that it rounds to 0 must not mean for ever.
    time_ms = max(1, round(exactly_ms)) if exactly_ms > 0 else round(exactly_ms)
    if not 0 <= time_ms <= MAX_MS:
        raise _bad_value(name, text, f"it goes from 0, which is for ever, to {MAX_MS} ms")
    return time_ms


def _show_time(time_ms: int) -> str:
    if not time_ms:
        return "0"
    for unit, unit_ms in reversed(_UNITS_MS.items()):
        if unit_ms >= 1 and time_ms % unit_ms == 0:
            return f"{time_ms // int(unit_ms)}{unit}"
    return f"{time_ms}ms"


def read_level(name: str, text: str) -> IsolationLevel:
    level = _LEVELS.get(" ".join(text.lower().split()))
    if level is None:
        raise _bad_value(name, text, "it is " + ", ".join(f'"{each.value}"' for each in IsolationLevel))
    return level


def show_level(level: IsolationLevel) -> str:
    return level.value


def read_truth(name: str, text: str) -> bool:
    truth = _WORDS_OF_TRUTH.get(text.strip().lower())
    if truth is None:
        raise _bad_value(name, text, "it is on or off")
    return truth


def show_truth(truth: bool) -> str:
    return "on" if truth else "off"


def _bad_value(name: str, text: str, hint: str) -> InvalidParameterValue:
    return InvalidParameterValue(f'invalid value for setting "{name}": "{text}"', hint=hint)


_KINDS = {
    "lock_timeout": _Kind("lock_timeout_ms", _time_ms, _show_time),
    "idle_in_transaction_session_timeout": _Kind(
        "idle_in_transaction_session_timeout_ms", _time_ms, _show_time
    ),
    "default_transaction_isolation": _Kind("default_transaction_isolation", read_level, show_level),
    "default_transaction_read_only": _Kind("default_transaction_read_only", read_truth, show_truth),
}

SESSION_NAMES = tuple(_KINDS)
OF_TRANSACTION = ("transaction_isolation", "transaction_read_only")
"""Not values of a session: SET TRANSACTION sets them."""

Mark = tuple[Settings, Settings]


class SessionSettings:
    """The settings of one session, in and out of transactions."""

    def __init__(self, initial: Settings) -> None:
        self._initial = initial
        self._session = initial
        self._kept = initial
        self.current = initial

    @property
    def are_initial(self) -> bool:
        return self._session == self._initial

    def show(self, name: str, position: int) -> str:
        kind = _kind(name, position)
        return kind.show(getattr(self.current, kind.field))

    def set(self, name: str, text: str | None, position: int, *, is_local: bool = False) -> None:
        """`text` None is the value at the beginning of the session.

        Raises UndefinedObject, InvalidParameterValue.
        """
        kind = _kind(name, position)
        value = getattr(self._initial, kind.field) if text is None else kind.read(name, text)
        self.change(is_local=is_local, **{kind.field: value})

    def change(self, *, is_local: bool = False, **values: Any) -> None:
        """As `set`, by fields of `Settings`."""
        self.current = replace(self.current, **values)
        if not is_local:
            self._kept = replace(self._kept, **values)

    def reset_all(self) -> None:
        self._kept = self.current = self._initial

    def mark(self) -> Mark:
        return self._kept, self.current

    def back_to(self, mark: Mark) -> None:
        self._kept, self.current = mark

    def commit(self) -> None:
        """The end of a transaction, or of a SET outside of one."""
        self._session = self.current = self._kept

    def rollback(self) -> None:
        self._kept = self.current = self._session


def _kind(name: str, position: int) -> _Kind:
    kind = _KINDS.get(name)
    if kind is None:
        raise UndefinedObject(
            f'there is no setting "{name}"',
            position=position,
            hint=did_you_mean(name, [*SESSION_NAMES, *OF_TRANSACTION]) or "SHOW ALL lists them",
        )
    return kind
