"""All schedules of some tasks, those with the fewest switches first.

    for scheduler in EverySchedule(limit=1000):
        db = ferrisdb.open()
        with scheduler as s:
            s.spawn(withdraw, db, name="a")
            s.spawn(withdraw, db, name="b")
        assert ...

A schedule is run and not computed: what choices there are shows only on the way. So the first
run chooses nothing, and each run proposes others, which are like it up to one of its decisions
and choose differently there:

    run []          decided 0 0 0          proposes  [1]  [0 1]  [0 0 1]
    run [1]         decided 1 0 0          proposes  [1 1]  [1 0 1]
    run [0 1]       decided 0 1 0          proposes  [0 1 1]

Behind its own choices a run always chooses 0, so each schedule comes once. A proposal that
takes the baton from a task that could have gone on costs one more than the run it comes from,
and the cheapest are run first: most races show with one or two such switches, and those are
the schedules that a person can read (iterative context bounding: Musuvathi, Qadeer, PLDI 2007).

The loop's body must run each scheduler that it gets, on tasks that begin in the same state.

Limits: schedules that differ in the order of two steps that do not touch each other are run
both. What is proposed is kept in memory, two numbers each, and no more than `limit` of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from ferrisdb.errors import InterfaceError, InvalidParameterValue
from ferrisdb.testing.scheduler import MAX_STEPS, Decision, Scheduler


class EverySchedule:
    """Iterate once. `count` and `is_complete` tell how far it came."""

    def __init__(
        self,
        limit: int = 1000,
        *,
        max_switches: int | None = None,
        max_steps: int = MAX_STEPS,
        describe_key: Callable[[bytes], str] | None = None,
    ) -> None:
        """At most `limit` schedules, each with at most `max_switches` away from a task that could
        have gone on; `max_steps` and `describe_key` as for `Scheduler`."""
        if limit < 1:
            raise InvalidParameterValue(f"limit is {limit}; it must be at least 1")
        if max_switches is not None and max_switches < 0:
            raise InvalidParameterValue(f"max_switches is {max_switches}; it must not be negative")
        self.count = 0
        """Schedules that were run."""
        self.is_complete = False
        """Whether these were all that there are, within `max_switches`."""
        self._limit = limit
        self._max_switches = max_switches
        self._max_steps = max_steps
        self._describe_key = describe_key
        self._has_dropped = False
        self._proposals: list[deque[_Proposal]] = [deque([_Proposal((), 0, ())])]

    def __iter__(self) -> Iterator[Scheduler]:
        while self.count < self._limit:
            cost = next((cost for cost, waiting in enumerate(self._proposals) if waiting), None)
            if cost is None:
                self.is_complete = not self._has_dropped
                return
            choices = self._proposals[cost].popleft().choices()
            scheduler = Scheduler(choices=choices, max_steps=self._max_steps, describe_key=self._describe_key)
            yield scheduler
            if not scheduler.steps:
                raise InterfaceError("the schedule was not run: the loop's body has to run each one")
            self.count += 1
            self._propose(scheduler.decisions, len(choices), cost)

    def _propose(self, decisions: Sequence[Decision], first: int, cost: int) -> None:
        taken = tuple(decision.choice for decision in decisions)
        for place in range(first, len(decisions)):
            decision = decisions[place]
            new_cost = cost + decision.may_stay
            if self._max_switches is not None and new_cost > self._max_switches:
                continue
            while len(self._proposals) <= new_cost:
                self._proposals.append(deque())
            for choice in range(1, decision.candidates):
                self._add(_Proposal(taken, place, (choice,)), new_cost)

    def _add(self, proposal: _Proposal, cost: int) -> None:
        if sum(map(len, self._proposals)) < self._limit - self.count:
            self._proposals[cost].append(proposal)
            return
        self._has_dropped = True
        dearest = max((at for at, waiting in enumerate(self._proposals) if waiting), default=0)
        if dearest > cost:
            self._proposals[dearest].pop()
            self._proposals[cost].append(proposal)


class _Proposal:
    """The choices of an earlier run up to `place`, and then others."""

    __slots__ = ("_others", "_place", "_taken")

    def __init__(self, taken: tuple[int, ...], place: int, others: tuple[int, ...]) -> None:
        self._taken = taken
        self._place = place
        self._others = others

    def choices(self) -> tuple[int, ...]:
        return (*self._taken[: self._place], *self._others)
