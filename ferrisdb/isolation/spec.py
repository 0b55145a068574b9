"""A spec: sessions of named steps, and the orders to run them in.

    setups, teardown           run before and after each permutation, on a connection of their own
    sessions                   each a connection, with a setup and a teardown of its own
      steps                    SQL with a name that is unique in the spec
    permutations               orders of steps; none named means all of them

All permutations are all ways to merge the sessions' steps that keep each session's own order.
Their number explodes: two sessions of 4 steps have 70, three of 4 have 34,650. Beyond
`MAX_PERMUTATIONS` a spec must name those that matter.

A step of a permutation may carry blockers, which make the report stable where two steps end
at almost the same time. They change what is reported when, never what is run when:

    s(*)             say that s waits, though it may be over before anyone could see it wait
    s(t)             do not report s as done while t is under way
    s(t notices 2)   nor before t's session has had 2 more notices than when s was begun
"""

from __future__ import annotations

from collections.abc import Iterator
from math import comb

from ferrisdb.errors import StatementTooLarge
from ferrisdb.immutable import immutable

MAX_PERMUTATIONS = 10_000
MAX_STEPS = 500
"""Of a spec. To write them down in every order goes as deep as there are steps."""
MAX_SESSIONS = 100
"""Each is a thread and a connection."""
LEVEL_MARK = "@LEVEL@"
"""Stands in a spec's SQL for the isolation level that it is to be run at."""


@immutable
class Step:
    name: str
    sql: str
    session: int
    """Index into the spec's sessions."""


@immutable
class SessionSpec:
    name: str
    setup: str | None
    steps: tuple[Step, ...]
    teardown: str | None


@immutable
class AfterStep:
    """Not reported as done while `step` is under way."""

    step: Step


@immutable
class AfterNotices:
    """Not reported as done before the session of `step` has had `count` more notices."""

    step: Step
    count: int


@immutable
class ShownWaiting:
    """Reported as waiting, whether or not anyone saw it wait."""


Blocker = AfterStep | AfterNotices | ShownWaiting


@immutable
class PlannedStep:
    """A step at its place in a permutation."""

    step: Step
    blockers: tuple[Blocker, ...] = ()


Permutation = tuple[PlannedStep, ...]


def order_of(permutation: Permutation) -> str:
    """The names of its steps, as isolationtester writes them: what a permutation is known by."""
    return " ".join(planned.step.name for planned in permutation)


@immutable
class Spec:
    setups: tuple[str, ...]
    teardown: str | None
    sessions: tuple[SessionSpec, ...]
    named_permutations: tuple[Permutation, ...]

    @property
    def leaves_level_open(self) -> bool:
        """Whether its SQL has a mark in the place of the isolation level."""
        return any(LEVEL_MARK in sql for sql in self._texts())

    def permutations(self) -> Iterator[Permutation]:
        """Those that it names, or all. Raises StatementTooLarge beyond MAX_PERMUTATIONS."""
        if self.named_permutations:
            return iter(self.named_permutations)
        count = self._count_permutations()
        if count > MAX_PERMUTATIONS:
            raise StatementTooLarge(
                f"the steps can be run in {count:,} orders; the limit is {MAX_PERMUTATIONS:,}",
                hint="name those that matter: permutation STEP STEP ...",
            )
        return _merges([session.steps for session in self.sessions])

    def _count_permutations(self) -> int:
        count, total = 1, 0
        for session in self.sessions:
            total += len(session.steps)
            count *= comb(total, len(session.steps))
        return count

    def _texts(self) -> Iterator[str]:
        yield from self.setups
        yield self.teardown or ""
        for session in self.sessions:
            yield session.setup or ""
            yield session.teardown or ""
            for step in session.steps:
                yield step.sql


def _merges(rows: list[tuple[Step, ...]]) -> Iterator[Permutation]:
    """All merges of the rows, the first row's steps as early as possible first."""
    if not any(rows):
        yield ()
        return
    for place, steps in enumerate(rows):
        if steps:
            rest = [*rows[:place], steps[1:], *rows[place + 1 :]]
            for merge in _merges(rest):
                yield (PlannedStep(steps[0]), *merge)
