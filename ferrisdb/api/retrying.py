"""What a database offers for running transactions again; how that goes is said in `retry`."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from ferrisdb.api.retry import DEFAULT_ATTEMPTS, DEFAULT_RETRY_FOR_S, Attempts, refuse_unfinished
from ferrisdb.api.transaction import Transaction
from ferrisdb.storage.options import Durability
from ferrisdb.txn.api import IsolationLevel

P = ParamSpec("P")
T = TypeVar("T")


class Retrying(ABC):
    """The part of `Database` that retries."""

    @abstractmethod
    def begin(
        self,
        isolation: IsolationLevel | str | None = None,
        *,
        read_only: bool = False,
        durability: Durability | str | None = None,
        lock_timeout_s: float | None = None,
    ) -> Transaction: ...

    @property
    @abstractmethod
    def _shared_with(self) -> object:
        """The same for all that work on the same data."""

    def run(
        self,
        work: Callable[[Transaction], T],
        *,
        attempts: int = DEFAULT_ATTEMPTS,
        retry_for_s: float = DEFAULT_RETRY_FOR_S,
        isolation: IsolationLevel | str | None = None,
        read_only: bool = False,
        durability: Durability | str | None = None,
        lock_timeout_s: float | None = None,
    ) -> T:
        """`work(tx)` in a transaction, run again as a whole when it met another one.

        Only errors that say `retryable` are retried. After `attempts`, or when `retry_for_s` has
        passed, the last one is raised, with a note that says how many there were. `work` must
        have no effect outside of the database. Raises InterfaceError inside of another retry on
        the same database, and for work that returns a generator.
        """
        rounds = Attempts(
            lambda: self.begin(
                isolation, read_only=read_only, durability=durability, lock_timeout_s=lock_timeout_s
            ),
            self._shared_with,
            attempts,
            retry_for_s,
            is_sure_to_loop=True,
        )
        for attempt in rounds:
            with attempt as tx:
                done = work(tx)
                refuse_unfinished(done)
        return done

    def attempts(
        self,
        attempts: int = DEFAULT_ATTEMPTS,
        *,
        retry_for_s: float = DEFAULT_RETRY_FOR_S,
        isolation: IsolationLevel | str | None = None,
        read_only: bool = False,
        durability: Durability | str | None = None,
        lock_timeout_s: float | None = None,
    ) -> Attempts:
        """As `run`, for a block in place of a function:

            for attempt in db.attempts(5):
                with attempt as tx:
                    tx.execute("UPDATE ...")

        The block commits at its end. One that ends by `return` or `break` has no next round:
        when its commit fails the error is raised, also where it is retryable.
        """
        return Attempts(
            lambda: self.begin(
                isolation, read_only=read_only, durability=durability, lock_timeout_s=lock_timeout_s
            ),
            self._shared_with,
            attempts,
            retry_for_s,
        )

    @overload
    def transactional(self, work: Callable[Concatenate[Transaction, P], T], /) -> Callable[P, T]: ...
    @overload
    def transactional(
        self,
        /,
        *,
        attempts: int = ...,
        retry_for_s: float = ...,
        isolation: IsolationLevel | str | None = ...,
        read_only: bool = ...,
        durability: Durability | str | None = ...,
        lock_timeout_s: float | None = ...,
    ) -> Callable[[Callable[Concatenate[Transaction, P], T]], Callable[P, T]]: ...
    def transactional(self, work: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """A decorator: calls of `work(tx, ...)` become calls of `work(...)`, each run by `run`.

            @db.transactional(attempts=5)
            def move(tx, amount): ...

            move(10)

        Inside of another transaction call `move.__wrapped__(tx, 10)`.
        """
        if work is None:
            return functools.partial(self.transactional, **options)

        @functools.wraps(work)
        def in_transaction(*arguments: Any, **named: Any) -> Any:
            return self.run(lambda tx: work(tx, *arguments, **named), **options)

        return in_transaction
