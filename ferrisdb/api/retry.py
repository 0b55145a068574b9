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
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator
from types import TracebackType

from ferrisdb.api.loop_exit import Place, leads_back, place_of_caller
from ferrisdb.api.transaction import Transaction
from ferrisdb.errors import Error, InterfaceError, InvalidParameterValue
from ferrisdb.storage import yield_points

FIRST_PAUSE_S = 0.002
LONGEST_PAUSE_S = 0.25
_MOST_DOUBLINGS = 10
DEFAULT_ATTEMPTS = 10
DEFAULT_RETRY_FOR_S = 30.0

_pauses = random.Random()


class _Attempting(threading.local):
    """The attempts that this thread has entered. One that was dropped without its end, as by Ctrl-C
    between two steps, is not among them any more."""

    def __init__(self) -> None:
        self.attempts: weakref.WeakSet[Attempt] = weakref.WeakSet()


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
        if not isinstance(attempts, int) or attempts < 1:
            raise InvalidParameterValue(f"attempts is at least 1, not {attempts!r}")
        if not isinstance(retry_for_s, (int, float)) or not retry_for_s >= 0:
            raise InvalidParameterValue(f"retry_for_s is {retry_for_s!r}; it is a number of seconds from 0")
        self.begin = begin
        self.database = database
        self._attempts = attempts
        self._retry_for_s = retry_for_s
        self.is_sure_to_loop = is_sure_to_loop
        self._count = 0
        self._pause_s = 0.0
        self._first_began_s = 0.0
        # Of the last attempt. It knows this object, so this must not hold it: in a circle it would
        # outlive an interrupt, and its transaction with it.
        self.was_entered = False
        self.has_to_be_repeated = False

    def __iter__(self) -> Iterator[Attempt]:
        return self

    def __next__(self) -> Attempt:
        if not self._count:
            self._first_began_s = time.monotonic()
        elif not self.was_entered:
            raise InterfaceError(
                "an attempt was not made: the loop's body has to enter it", hint="with attempt as tx: ..."
            )
        elif not self.has_to_be_repeated:
            raise StopIteration
        else:
            yield_points.sleep(self._pause_s)
        self._count += 1
        self.was_entered = self.has_to_be_repeated = False
        return Attempt(self, self._count, place_of_caller(1))

    def may_repeat(self, error: BaseException | None) -> bool:
        """Whether there is another attempt after `error`. Draws the pause in front of it."""
        if not isinstance(error, Error) or not error.retryable or self._count >= self._attempts:
            return False
        # Past the longest pause no power of two is needed; past 2**1023 it is no float.
        doubled = min(self._count, _MOST_DOUBLINGS)
        self._pause_s = _pauses.uniform(0, min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**doubled))
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
        self._was_entered = False
        self._attempts = attempts
        self._loop = loop
        self.database = attempts.database
        self._transaction: Transaction | None = None
        self.is_over = False

    def __enter__(self) -> Transaction:
        """Raises InterfaceError inside of another attempt on the same database."""
        if self._was_entered:
            raise InterfaceError("an attempt is made once", hint="the loop gives another one for each round")
        database = self.database
        if any(each.database is database and not each.is_over for each in _attempting.attempts):
            raise InterfaceError(
                "a retry inside of a retry: the inner one could not repeat what the outer has read",
                hint="pass the outer transaction on, and call the work with it: work(tx); "
                "of a @db.transactional function that is function.__wrapped__(tx, ...)",
            )
        self._was_entered = self._attempts.was_entered = True
        transaction = self._attempts.begin()
        transaction.__enter__()
        self._transaction = transaction
        _attempting.attempts.add(self)
        return transaction

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        # Not taken out of the set: another thread may end the block.
        self.is_over = True
        transaction, self._transaction = self._transaction, None
        if transaction is None:
            return False
        try:
            transaction.__exit__(kind, error, trace)
        except Error as failure:
            # The block has ended without an error, so it may have ended by `return`.
            may_loop = error is not None or self._attempts.is_sure_to_loop
            if (may_loop or leads_back(place_of_caller(1), self._loop)) and self._attempts.may_repeat(
                failure
            ):
                self._attempts.has_to_be_repeated = True
                return True
            self._attempts.note_on(failure)
            raise
        if error is None:
            return False
        has_to_be_repeated = self._attempts.has_to_be_repeated = self._attempts.may_repeat(error)
        if not has_to_be_repeated:
            self._attempts.note_on(error)
        return has_to_be_repeated


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
