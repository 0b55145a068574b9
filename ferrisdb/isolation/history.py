"""A history: what each transaction of a run did and saw, and in which order.

It is all that an isolation test knows of a database. It has a text form, one transaction a
line, which `parse` reads and `str` gives back:

    initial x=0 y=0
    T1 alice 1-4: r(x)=0 r(y)=0 w(x)=1 commit#1
    T2 bob   2-5: r(x)=0 r(y)=0 w(y)=2 commit#2
    T3       6-7: r(x)=1 s(a..z)={x:1,y:2} abort

    r(k)=v          read a register; nil: there was none        r(k)=[1,2]   read a list
    w(k)=v          write it; nil deletes it                    a(k)=3       append to a list
    s(lo..hi)={..}  read all keys with lo <= key < hi, the ones that were found in braces

After the name come the session and two moments on one clock: it began after the first and was
over before the second. Both may be left out. `commit#2` is the second in the order in which
the database says that it committed; without a number that order is unknown. `unknown` is the
end of a transaction that nobody was told about. A version order that is known and is not the
order of the commits has a line of its own, as in Adya's thesis: `x: T1 << T2`.

The checker can tell who wrote a value because no value is written to one key twice. That is a
rule for whoever makes histories, and `History` refuses one that breaks it. So does Elle
(Kingsbury, Alvaro, VLDB 2020), which calls it recoverability.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import field

from ferrisdb.errors import InvalidParameterValue
from ferrisdb.immutable import immutable

Value = int | str | None
"""None: there is nothing under the key."""

INITIAL = 0
"""The transaction that wrote what was there before all others."""


class Outcome(enum.Enum):
    COMMITTED = "commit"
    ABORTED = "abort"
    UNKNOWN = "unknown"


@immutable
class Read:
    key: str
    value: Value | tuple[int, ...]

    def __str__(self) -> str:
        return f"r({self.key})={_shown(self.value)}"


@immutable
class Write:
    key: str
    value: Value

    def __str__(self) -> str:
        return f"w({self.key})={_shown(self.value)}"


@immutable
class Append:
    key: str
    element: int

    def __str__(self) -> str:
        return f"a({self.key})={self.element}"


@immutable
class RangeRead:
    """All keys with lo <= key < hi. `found` is in key order."""

    lo: str
    hi: str
    found: tuple[tuple[str, Value], ...]

    def __str__(self) -> str:
        found = ",".join(f"{key}:{_shown(value)}" for key, value in self.found)
        return f"s({self.lo}..{self.hi})={{{found}}}"


Operation = Read | Write | Append | RangeRead


@immutable
class TransactionRecord:
    """What one transaction did, in its own order. `id` is at least 1.

    `begin` and `end` are moments on the clock of whoever ran it, taken before its first
    operation and after its end; `commit_order` is what the database says.
    """

    id: int
    operations: tuple[Operation, ...]
    outcome: Outcome = Outcome.COMMITTED
    session: str = ""
    begin: int | None = None
    end: int | None = None
    commit_order: int | None = None

    def __str__(self) -> str:
        head = f"T{self.id}"
        if self.session:
            head += f" {self.session}"
        if self.begin is not None and self.end is not None:
            head += f" {self.begin}-{self.end}"
        number = "" if self.commit_order is None else f"#{self.commit_order}"
        return " ".join([f"{head}:", *map(str, self.operations), f"{self.outcome.value}{number}"])


@immutable
class History:
    transactions: tuple[TransactionRecord, ...]
    initial: Mapping[str, Value] = field(default_factory=dict)
    """What was there before. Lists are empty, and registers not named here are absent."""
    version_orders: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """For some keys, the transactions in whose order their writes took effect."""

    def __post_init__(self) -> None:
        ids = {each.id for each in self.transactions}
        if len(ids) != len(self.transactions) or INITIAL in ids:
            raise InvalidParameterValue("each transaction of a history has an id of its own, from 1")
        seen: set[tuple[str, Value]] = {(key, value) for key, value in self.initial.items()}
        for each in self.transactions:
            for operation in each.operations:
                self._note(operation, seen)

    @staticmethod
    def _note(operation: Operation, seen: set[tuple[str, Value]]) -> None:
        if isinstance(operation, Write):
            written = (operation.key, operation.value)
        elif isinstance(operation, Append):
            written = (operation.key, operation.element)
        else:
            return
        if written[1] is not None and written in seen:
            raise InvalidParameterValue(
                f"{operation} is written twice: who has read it can't be told",
                hint="a history writes no value to one key twice",
            )
        seen.add(written)

    def __str__(self) -> str:
        lines = [
            f"{key}: {' << '.join(f'T{each}' for each in ids)}" for key, ids in self.version_orders.items()
        ]
        if self.initial:
            known = " ".join(f"{key}={_shown(value)}" for key, value in self.initial.items())
            lines.insert(0, f"initial {known}")
        return "\n".join([*lines, *map(str, self.transactions)])


def parse(text: str) -> History:
    """The history that is written in `text`; empty lines and those that begin with # are left
    out. Raises InvalidParameterValue, which names the line."""
    transactions: list[TransactionRecord] = []
    initial: dict[str, Value] = {}
    orders: dict[str, tuple[int, ...]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            if line.startswith("initial "):
                pairs = (pair.partition("=") for pair in line.split()[1:])
                initial |= {key: _value(value) for key, _, value in pairs}
            elif order := _ORDER.fullmatch(line):
                orders[order[1]] = tuple(int(each.strip()[1:]) for each in order[2].split("<<"))
            else:
                transactions.append(_transaction(line))
        except ValueError as error:
            raise InvalidParameterValue(f"line {number} of the history: {error}") from None
    return History(tuple(transactions), initial, orders)


_ORDER = re.compile(r"(\S+): *(T\d+(?: *<< *T\d+)+)")
_HEAD = re.compile(r"T(\d+)(?: +([^\s\d-]\S*))?(?: +(\d+)-(\d+))?")
_END = re.compile(r"(commit|abort|unknown)(?:#(\d+))?")
_OPERATION = re.compile(r"([rwas])\(([^()]*)\)=(\S+)")


def _transaction(line: str) -> TransactionRecord:
    head, colon, rest = line.partition(":")
    named = _HEAD.fullmatch(head.strip())
    words = rest.split()
    ended = _END.fullmatch(words[-1]) if words else None
    if not colon or named is None or ended is None:
        raise ValueError("a transaction is written as `T1 session 1-4: r(x)=0 w(x)=1 commit#1`")
    number, session, begin, end = named.groups()
    return TransactionRecord(
        int(number),
        tuple(map(_operation, words[:-1])),
        Outcome(ended[1]),
        session or "",
        None if begin is None else int(begin),
        None if end is None else int(end),
        None if ended[2] is None else int(ended[2]),
    )


def _operation(word: str) -> Operation:
    matched = _OPERATION.fullmatch(word)
    if matched is None:
        raise ValueError(f"{word} is no operation")
    kind, key, value = matched.groups()
    if kind == "w":
        return Write(key, _value(value))
    if kind == "a":
        return Append(key, int(value))
    if kind == "r":
        if value.startswith("["):
            return Read(key, tuple(int(each) for each in _inside(value, "[]")))
        return Read(key, _value(value))
    lo, dots, hi = key.partition("..")
    if not dots:
        raise ValueError(f"{word}: a range is written as lo..hi")
    pairs = (each.partition(":") for each in _inside(value, "{}"))
    return RangeRead(lo, hi, tuple((each, _value(shown)) for each, _, shown in pairs))


def _inside(text: str, brackets: str) -> Iterable[str]:
    if text[:1] + text[-1:] != brackets:
        raise ValueError(f"{text} does not end in {brackets[1]}")
    return filter(None, text[1:-1].split(","))


def _value(text: str) -> Value:
    if text == "nil":
        return None
    return int(text) if text.lstrip("-").isdigit() else text


def _shown(value: Value | tuple[int, ...]) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(str, value))}]"
    return "nil" if value is None else str(value)
