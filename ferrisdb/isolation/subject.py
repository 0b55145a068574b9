"""What a random or exhaustive run works on: a database, reduced to what a history records.

    Subject.begin() -> SubjectTransaction        read, scan, write, append, commit

Two errors matter to a run. `Refused`: the database has rolled the transaction back, as it may.
`WouldWait`: the operation has not been done, because it would have to wait for a transaction
that the same thread holds open; it is tried again when one of those is over. Any other error is
a fault, and ends the run.

`StoreSubject` is any `ferrisdb.txn.api.Store`, that is, the bytes API. A register holds a number
as text, a list numbers with commas. Appending is what SQL does with `SET l = l || x`: lock the
key, read its newest value, write. Where the API has several ways to read, a transaction takes
them in turn.

`SqlSubject` (in `subject_sql`) is any database that speaks SQL.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from ferrisdb.errors import LockNotAvailable, Retryable
from ferrisdb.isolation.history import Value
from ferrisdb.txn.api import IsolationLevel, Store, Transaction


class Refused(Exception):
    """The transaction is rolled back: a conflict, a deadlock. `__cause__` is the database's error."""


class WouldWait(Exception):
    """Another transaction has to end first. This one is still open, and as it was."""


class SeveralFound(Exception):
    """One key was looked for, and there were several: `values`. No sound database does that."""

    def __init__(self, values: tuple[Value, ...]) -> None:
        super().__init__(f"one key has several values: {values}")
        self.values = values


class SubjectTransaction(Protocol):
    """Each method but `rollback` may raise Refused, each that writes WouldWait."""

    def read(self, key: str) -> Value:
        """Raises SeveralFound."""

    def read_list(self, key: str) -> tuple[int, ...]: ...

    def scan(self, lo: str, hi: str) -> tuple[tuple[str, Value], ...]:
        """The keys with lo <= key < hi and their values, in order."""

    def write(self, key: str, value: Value) -> None:
        """None deletes."""

    def append(self, key: str, element: int) -> tuple[int, ...] | None:
        """The list as it was before; None where the database does not show it."""

    def commit(self) -> int | None:
        """The place among all commits, where the database tells it."""

    def rollback(self) -> None: ...


class Subject(Protocol):
    """Thread-safe."""

    def begin(self, *, read_only: bool = False) -> SubjectTransaction: ...

    def load(self, values: Mapping[str, Value]) -> None:
        """Put these there and nothing else, in one transaction, before the run."""

    def end_session(self) -> None:
        """The calling thread begins no more transactions."""

    def close(self) -> None: ...


class StoreSubject:
    """See `Subject`. It owns the store. Its keys all begin with `prefix`, which a history does not
    show: so many small runs can have keys of their own in one store."""

    def __init__(self, store: Store, level: IsolationLevel, prefix: bytes = b"") -> None:
        self._store = store
        self._level = level
        self._prefix = prefix

    def begin(self, *, read_only: bool = False) -> SubjectTransaction:
        return _StoreTransaction(self._store.begin(self._level, read_only=read_only), self._prefix)

    def load(self, values: Mapping[str, Value]) -> None:
        transaction = self._store.begin()
        for key, value in values.items():
            transaction.put(self._prefix + key.encode(), b"%d" % _number(value))
        transaction.commit()

    def end_session(self) -> None:
        """A store has no sessions."""

    def close(self) -> None:
        self._store.close()


class _StoreTransaction:
    def __init__(self, transaction: Transaction, prefix: bytes) -> None:
        self._transaction = transaction
        self._prefix = prefix
        self._turns = itertools.count()

    def read(self, key: str) -> Value:
        name = self._prefix + key.encode()
        with self._statement():
            if next(self._turns) % 2:
                (value,) = self._transaction.get_many([name])
            else:
                value = self._transaction.get(name)
        return None if value is None else int(value)

    def read_list(self, key: str) -> tuple[int, ...]:
        with self._statement():
            return _elements(self._transaction.get(self._prefix + key.encode()))

    def scan(self, lo: str, hi: str) -> tuple[tuple[str, Value], ...]:
        bounds = self._prefix + lo.encode(), self._prefix + hi.encode()
        turn = next(self._turns) % 3
        with self._statement():
            if turn == 0:
                pairs = list(self._transaction.scan(*bounds))
            elif turn == 1:
                pairs = list(self._transaction.scan(*bounds, reverse=True))[::-1]
            else:
                batches = self._transaction.scan_batches(*bounds)
                pairs = [pair for keys, values in batches for pair in zip(keys, values, strict=True)]
        start = len(self._prefix)
        return tuple((key[start:].decode(), int(value)) for key, value in pairs)

    def write(self, key: str, value: Value) -> None:
        with self._statement():
            if value is None:
                self._transaction.delete(self._prefix + key.encode())
            else:
                self._transaction.put(self._prefix + key.encode(), b"%d" % _number(value))

    def append(self, key: str, element: int) -> tuple[int, ...]:
        name = self._prefix + key.encode()
        with self._statement():
            self._transaction.lock([name])
            before = self._transaction.get_newest(name)
            self._transaction.put(name, b"%d" % element if not before else b"%b,%d" % (before, element))
        return _elements(before)

    def commit(self) -> int:
        with _translated():
            return self._transaction.commit()

    def rollback(self) -> None:
        self._transaction.rollback()

    @contextmanager
    def _statement(self) -> Iterator[None]:
        with _translated():
            self._transaction.begin_statement()
            yield


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Retryable as error:
        raise Refused from error
    except LockNotAvailable as error:
        raise WouldWait from error


def _elements(value: bytes | None) -> tuple[int, ...]:
    return tuple(map(int, value.split(b","))) if value else ()


def _number(value: Value) -> int:
    if not isinstance(value, int):
        raise TypeError(f"a register of a run holds a number, not {value!r}")
    return value
