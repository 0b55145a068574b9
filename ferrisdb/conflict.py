"""Why a transaction was refused, as data: who did what before whom.

    could not serialize: transaction 12 would close a cycle
      12 read doctor(2) before 13 wrote it   (rw)
      13 read doctor(1) before 12 wrote it   (rw)

A step says that one transaction comes before another in every order in which they could have
run one after the other. When the steps lead back to where they began, there is no such order
(Adya, "Weak Consistency", 1999: the direct serialization graph):

    wr       the second read what the first wrote
    ww       the second wrote over what the first wrote
    rw       the first read what was there before the second wrote
    waits    the first waits for the second, who holds the lock

Kinds of conflicts:

    cycle       steps of wr, ww and rw, from the victim round to the victim
    ww          one step: somebody committed what the victim wants to write, after its snapshot
                (or relied on it, rw; or made what the victim relies on, wr)
    deadlock    steps of `waits`, from the victim round to the victim

Keys are bytes here. The layer that knows what they mean gives its words to `explain`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MAX_STATEMENT_CHARACTERS: Final = 200
"""Of a statement's text, in a step."""

_MAX_KEY_BYTES_SHOWN: Final = 32


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Keys with lo <= key < hi; `hi` None is the end of all keys."""

    lo: bytes
    hi: bytes | None

    @classmethod
    def of_key(cls, key: bytes) -> KeyRange:
        # No key lies between this one and the next longer one.
        return cls(key, key + b"\0")

    @property
    def is_key(self) -> bool:
        """Whether it is one key, `lo`."""
        return self.hi == self.lo + b"\0"

    def __str__(self) -> str:
        if self.is_key:
            return _shown(self.lo)
        if self.hi is None:
            return f"[{_shown(self.lo)}, end)"
        return f"[{_shown(self.lo)}, {_shown(self.hi)})"


@dataclass(frozen=True, slots=True)
class ConflictStep:
    """`from_transaction` comes before `to_transaction`, because of `what`.

    A transaction is None when it is not known any more which one it was. A statement is "" when
    it is not known, or when the transaction was used without SQL.
    """

    from_transaction: int | None
    to_transaction: int | None
    kind: str
    """wr, ww, rw or waits."""
    what: KeyRange
    from_statement: str = ""
    to_statement: str = ""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Why `victim` was refused."""

    kind: str
    """cycle, ww or deadlock."""
    victim: int
    steps: tuple[ConflictStep, ...]

    def explain(
        self,
        describe: Callable[[KeyRange], str] = str,
        name: Callable[[int | None], str] | None = None,
    ) -> str:
        """One line for each step, and below it the statements that made it. `describe` says what
        a range of keys means, `name` what the reader calls a transaction."""
        name = name or _name
        lines = []
        for step in self.steps:
            lines.append(_sentence(step, describe(step.what), self.kind == "ww", name))
            for number, statement in (
                (step.from_transaction, step.from_statement),
                (step.to_transaction, step.to_statement),
            ):
                if statement:
                    lines.append(f"  {name(number)}: {statement}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.explain()


def statement_excerpt(text: str) -> str:
    """The statement on one line, shortened where it is long."""
    # Twice as much is looked at, for what the line breaks and the indentation give back.
    line = " ".join(text[: 2 * MAX_STATEMENT_CHARACTERS].split())
    if len(line) > MAX_STATEMENT_CHARACTERS or len(text) > 2 * MAX_STATEMENT_CHARACTERS:
        return line[: MAX_STATEMENT_CHARACTERS - 3] + "..."
    return line


_SENTENCES: Final = {
    "wr": "{first} wrote {what} before {second} read it",
    "ww": "{first} wrote {what} before {second} wrote it",
    "rw": "{first} read {what} before {second} wrote it",
    "waits": "{first} waits for {what}, which {second} holds",
}


_TOO_LATE: Final = {
    "wr": "{first} committed {what} after the snapshot of {second}, which relies on it",
    "ww": "{first} committed {what} after the snapshot of {second}, which wants to write it",
    "rw": "{first} relied on {what} and committed after the snapshot of {second}, which wants to write it",
}


def _sentence(step: ConflictStep, what: str, is_too_late: bool, name: Callable[[int | None], str]) -> str:
    told = (_TOO_LATE if is_too_late else _SENTENCES)[step.kind].format(
        first=name(step.from_transaction), second=name(step.to_transaction), what=what
    )
    return told if step.kind == "waits" else f"{told} ({step.kind})"


def _name(transaction: int | None) -> str:
    return "another transaction" if transaction is None else f"transaction {transaction}"


def _shown(key: bytes) -> str:
    return repr(key) if len(key) <= _MAX_KEY_BYTES_SHOWN else f"{key[:_MAX_KEY_BYTES_SHOWN]!r}..."
