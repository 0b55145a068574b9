"""Commits that fail on purpose: to test that a program tries again, and what it does then.

    with fail_commits(db, ferrisdb.SerializationFailure, times=2) as failures:
        transfer(db, 10)                    # its first two commits fail
    assert failures.count == 2

A real conflict needs a second transaction at the right moment. This needs none: the next
commits that write something raise the error, of whatever transaction on the database and in
whatever thread, and have changed nothing.

CommitUnknown is another matter: there the commit may have happened. Whether it has is chosen
by `is_committed`, and a program should be right with both.

Limits: commits that have nothing to write, rollbacks and reads do not fail.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ferrisdb.api.database import Database
from ferrisdb.errors import CommitUnknown, Error, InterfaceError, InvalidParameterValue


class Failures:
    """`count` says how many commits have failed."""

    def __init__(self, make_error: Callable[[], Error], times: int | None) -> None:
        self.count = 0
        self._make_error = make_error
        self._times = times
        self._lock = threading.Lock()

    def next_error(self) -> Error | None:
        """For one commit: its error, or None where it is to succeed."""
        with self._lock:
            if self._times is not None and self.count >= self._times:
                return None
            self.count += 1
        return self._make_error()


@contextmanager
def fail_commits(
    db: Database,
    error: type[Error] | Callable[[], Error],
    *,
    times: int | None = 1,
    is_committed: bool = False,
) -> Iterator[Failures]:
    """Inside of the block the first `times` commits on `db` raise `error`; None is all of them.

    `error` is a class of `ferrisdb.errors`, or a function that makes an error. `is_committed` has
    the commits happen all the same: only a CommitUnknown may say so. Raises InterfaceError where a
    block for this database is open already.
    """
    if times is not None and times < 0:
        raise InvalidParameterValue(f"times is {times}; it must not be negative")
    if is_committed and error is not CommitUnknown:
        raise InvalidParameterValue(
            "only CommitUnknown may be raised for a commit that has happened",
            hint="any other error promises that nothing was changed",
        )
    failures = Failures(_maker(error), times)
    engine: Any = db._lease.engine.store._engine
    if "commit" in vars(engine):
        raise InterfaceError("the commits of this database are made to fail already")
    commit = engine.commit

    def failing_commit(*arguments: Any, **named: Any) -> Any:
        failure = failures.next_error()
        if failure is not None and not is_committed:
            raise failure
        timestamp = commit(*arguments, **named)
        if failure is not None:
            raise failure
        return timestamp

    engine.commit = failing_commit
    try:
        yield failures
    finally:
        del engine.commit


def _maker(error: type[Error] | Callable[[], Error]) -> Callable[[], Error]:
    message = "failed on purpose, by ferrisdb.testing.fail_commits"
    if not isinstance(error, type):
        return error
    kind: type[Error] = error
    if issubclass(kind, CommitUnknown):
        return functools.partial(kind, message, transaction_id=0)
    return functools.partial(kind, message)
