"""What happened when a permutation was run: facts only, in the order in which they were reported.

    StepEvent  s2u  WAITING      the step has begun and does not come back
    StepEvent  s1c  DONE         at once
    StepEvent  s2u  COMPLETED    later, with its outcome

A step has one event (DONE), or two (WAITING and COMPLETED); one whose session had lost its
transaction has SKIPPED, one that never ended TIMED_OUT in the place of its last.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from ferrisdb.immutable import immutable
from ferrisdb.isolation.spec import Permutation, Step, order_of
from ferrisdb.isolation.target import Answer, ErrorReport


class EventKind(enum.Enum):
    DONE = "done"
    WAITING = "waiting"
    COMPLETED = "completed"
    TIMED_OUT = "timed out"
    SKIPPED = "skipped"


@immutable
class StepEvent:
    step: Step
    sql: str
    """As it was run: with the isolation level in its place."""
    kind: EventKind
    answers: tuple[Answer, ...] = ()
    error: ErrorReport | None = None


@dataclass
class PermutationRun:
    """Filled in by the runner while it goes on."""

    permutation: Permutation
    setup_answers: list[Answer] = field(default_factory=list)
    events: list[StepEvent] = field(default_factory=list)
    teardown_answers: list[Answer] = field(default_factory=list)
    failure: str | None = None
    """Why not all of its steps were run; None when they were."""
    teardown_failures: list[str] = field(default_factory=list)

    @property
    def order(self) -> str:
        return order_of(self.permutation)

    @property
    def has_error(self) -> bool:
        """Whether a step ended with an error."""
        return any(event.error is not None for event in self.events)

    @property
    def failed_sessions(self) -> frozenset[int]:
        """Those with a step that ended with an error, as indexes into the spec's sessions."""
        return frozenset(event.step.session for event in self.events if event.error is not None)

    def outcomes(self) -> dict[str, StepEvent]:
        """The last event of each step by the step's name; of the last time where it ran twice."""
        return {event.step.name: event for event in self.events if event.kind is not EventKind.WAITING}

    @property
    def waited(self) -> frozenset[str]:
        """The names of the steps that were reported as waiting."""
        return frozenset(event.step.name for event in self.events if event.kind is EventKind.WAITING)
