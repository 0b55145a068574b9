"""Running a transaction again: which errors, how often, and with what pauses.

    attempt 1 --- conflict --- pause 0 to 4 ms --- attempt 2 --- conflict --- 0 to 8 ms --- ...

A transaction that lost against another one has done nothing, and most likely succeeds when it
begins anew, with a snapshot in which the other is over. So the whole of it is run again, from
its first read on. Only errors that say `retryable` are tried again; CommitUnknown never is, for
the first attempt may have happened.

The pause is drawn evenly from 0 to a bound that doubles (full jitter: M. Brooker, "Exponential
Backoff and Jitter", 2015): those who met once are spread instead of meeting again.

Three ways in, one machine:

    db.run(work)                                        work(tx), as often as it takes
    @db.transactional(attempts=5)                       the same as a decorator
    for attempt in db.attempts(5):                      the same without a function
        with attempt as tx: ...

The second attempt needs no less than the whole transaction. So an attempt inside of another
one's is refused: the inner could only repeat its own part, against the locks of the outer.

Limits: what the work does outside of the database is done once for each attempt.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from types import TracebackType

from ferrisdb.api.loop_exit import Place, leads_back, place_of_caller
from ferrisdb.api.transaction import Transaction
from ferrisdb.errors import Error, InterfaceError, InvalidParameterValue
from ferrisdb.storage import yield_points

FIRST_PAUSE_S = 0.002
LONGEST_PAUSE_S = 0.25
DEFAULT_ATTEMPTS = 10
DEFAULT_RETRY_FOR_S = 30.0

_pauses = random.Random()


class _Attempting(threading.local):
    """The databases in whose attempts this thread is."""

    def __init__(self) -> None:
        self.databases: list[object] = []


_attempting = _Attempting()


class Attempts:
    """Made by `Database.attempts`. Iterate once: each round is an `Attempt`."""

    def __init__(
        self,
        begin: Callable[[], Transaction],
        database: object,
        attempts: int,
        retry_for_s: float,
        *,
        is_sure_to_loop: bool = False,
    ) -> None:
        """`database` is what attempts must not be nested in; `is_sure_to_loop`, that no block ends
        by `return` or `break`."""
        if attempts < 1:
            raise InvalidParameterValue(f"attempts is at least 1, not {attempts}")
        if not retry_for_s >= 0:
            raise InvalidParameterValue(f"retry_for_s is {retry_for_s}; it must not be negative")
        self.begin = begin
        self.database = database
        self._attempts = attempts
        self._retry_for_s = retry_for_s
        self.is_sure_to_loop = is_sure_to_loop
        self._count = 0
        self._pause_s = 0.0
        self._last: Attempt | None = None
        self._first_began_s = 0.0

    def __iter__(self) -> Iterator[Attempt]:
        return self

    def __next__(self) -> Attempt:
        if self._last is None:
            self._first_began_s = time.monotonic()
        elif not self._last.was_entered:
            raise InterfaceError(
                "an attempt was not made: the loop's body has to enter it", hint="with attempt as tx: ..."
            )
        elif not self._last.has_to_be_repeated:
            raise StopIteration
        else:
            yield_points.sleep(self._pause_s)
        self._count += 1
        self._last = Attempt(self, self._count, place_of_caller(1))
        return self._last

    def may_repeat(self, error: BaseException | None) -> bool:
        """Whether there is another attempt after `error`. Draws the pause in front of it."""
        if not isinstance(error, Error) or not error.retryable or self._count >= self._attempts:
            return False
        self._pause_s = _pauses.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._count))
        return time.monotonic() + self._pause_s - self._first_began_s <= self._retry_for_s

    def note_on(self, error: BaseException) -> None:
        """Say on an error that is raised how many attempts there were."""
        if isinstance(error, Error) and (error.retryable or self._count > 1):
            attempts = "1 attempt" if self._count == 1 else f"{self._count} attempts"
            error.add_note(f"after {attempts} in {time.monotonic() - self._first_began_s:.3g} s")


class Attempt:
    """One round: a transaction that commits at the end of the block, or is rolled back.

    `number` counts from 1.
    """

    def __init__(self, attempts: Attempts, number: int, loop: Place | None) -> None:
        self.number = number
        self.was_entered = False
        self.has_to_be_repeated = False
        self._attempts = attempts
        self._loop = loop
        self._transaction: Transaction | None = None
        self._databases: list[object] = []

    def __enter__(self) -> Transaction:
        """Raises InterfaceError inside of another attempt on the same database."""
        if self.was_entered:
            raise InterfaceError("an attempt is made once", hint="the loop gives another one for each round")
        database = self._attempts.database
        databases = _attempting.databases
        if any(each is database for each in databases):
            raise InterfaceError(
                "a retry inside of a retry: the inner one could not repeat what the outer has read",
                hint="pass the outer transaction on, and call the work with it: work(tx); "
                "of a @db.transactional function that is function.__wrapped__(tx, ...)",
            )
        self.was_entered = True
        transaction = self._attempts.begin()
        transaction.__enter__()
        self._transaction = transaction
        databases.append(database)
        # To be taken out of the same list, also where another thread ends the block.
        self._databases = databases
        return transaction

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._transaction is None:
            return False
        transaction, self._transaction = self._transaction, None
        self._databases.remove(self._attempts.database)
        try:
            transaction.__exit__(kind, error, trace)
        except Error as failure:
            # The block has ended without an error, so it may have ended by `return`.
            may_loop = error is not None or self._attempts.is_sure_to_loop
            if (may_loop or leads_back(place_of_caller(1), self._loop)) and self._attempts.may_repeat(
                failure
            ):
                self.has_to_be_repeated = True
                return True
            self._attempts.note_on(failure)
            raise
        if error is None:
            return False
        self.has_to_be_repeated = self._attempts.may_repeat(error)
        if not self.has_to_be_repeated:
            self._attempts.note_on(error)
        return self.has_to_be_repeated


def refuse_unfinished(done: object) -> None:
    """Raises InterfaceError for a result of work that has yet to begin, as of a generator: its
    transaction would be over before its first step."""
    if isinstance(done, (Generator, Coroutine, AsyncGenerator)):
        if isinstance(done, Coroutine):
            done.close()  # Or Python warns that nobody has awaited it.
        raise InterfaceError(
            f"the work has returned a {type(done).__name__}, which begins only after its transaction",
            hint="take all of it inside of the work, and return that",
        )
