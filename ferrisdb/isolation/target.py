"""What a spec runs against: a database that gives out sessions, each a connection.

    Target.connect()  -> TargetSession        in the thread that will use it
    TargetSession.execute(text) -> [Answer]   the statements of one step, in order

Any object with these methods will do. FerrisDB's SQL is one target, DB-API modules are
another, and a test may bring a third with a language of its own.

One question has more than one answer: is a session that does not come back waiting for
another one? FerrisDB knows. Of other databases this process cannot know, so `is_waiting`
says None, and the runner takes "not back within a moment" for "waits".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol

from ferrisdb.errors import OperationalError
from ferrisdb.immutable import immutable

MAX_ROWS = 10_000
"""Of one answer."""


@immutable
class Answer:
    """The rows that one statement gave. Statements without rows give no answer."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


class RowSource(Protocol):
    """A cursor, of PEP 249."""

    def fetchmany(self, size: int, /) -> Sequence[Sequence[Any]]: ...


def answer_of(columns: Iterable[str], cursor: RowSource) -> Answer:
    """All rows of a cursor. Raises OperationalError beyond MAX_ROWS."""
    rows: list[tuple[Any, ...]] = []
    while batch := cursor.fetchmany(MAX_ROWS + 1 - len(rows)):
        rows += map(tuple, batch)
        if len(rows) > MAX_ROWS:
            raise OperationalError(
                f"the step gives more than {MAX_ROWS:,} rows", hint="the laboratory keeps what it has seen"
            )
    return Answer(tuple(columns), tuple(rows))


class TargetSession(Protocol):
    """One connection. Used by the thread that made it, but for `cancel` and `notice_count`."""

    def execute(self, text: str) -> Sequence[Answer]:
        """Run the statements in `text`. Raises whatever the database raises."""

    @property
    def notice_count(self) -> int:
        """How many notices the session has had; always 0 where there are none."""

    def cancel(self) -> None:
        """Break off what another thread executes in this session, if that is possible."""

    def close(self) -> None:
        """Roll back what is open."""


class Target(Protocol):
    def connect(self) -> TargetSession: ...

    def is_waiting(self, thread_id: int) -> bool | None:
        """Whether the session that this thread uses waits for another; None: cannot be known."""

    def all_wait_for_ever(self, thread_ids: Collection[int]) -> bool:
        """Whether it is certain that all the sessions wait, and none of them for a limited time."""

    def close(self) -> None: ...


OpenTarget = Callable[[], Target]
"""Called for each permutation, so that one cannot spoil the next."""


@immutable
class ErrorReport:
    """An error of any database. `sqlstate` is None where the driver does not tell it."""

    message: str
    sqlstate: str | None

    @classmethod
    def of(cls, error: BaseException) -> ErrorReport:
        original = getattr(error, "orig", None) or error  # SQLAlchemy wraps the driver's error
        sqlstate = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
        message = str(original).strip() or type(original).__name__
        return cls(message, str(sqlstate) if sqlstate else None)
