"""Runs a permutation: begins its steps in order, and notes which wait and when they end.

    permutation s1u s2u s1c s2c

    s1   u --------- c
    s2       u ~~~~~~~~~~| c          ~~~ waits for s1, | is woken by its commit
             WAITING     COMPLETED

A step is begun when the one before it has ended or waits. One thread at a time does anything
in the database, but for a step that a commit has woken; and the next step is begun only when
every woken one has ended, or waits again. So the order of steps is the order of the spec, and
against FerrisDB the outcome is the same each time.

Whether a step waits is asked, not guessed: FerrisDB's lock table knows (`Target.is_waiting`).
Of other databases a step is taken to wait when it is not back in `wait_s`.

A session that waits and whose turn it is again is waited for, since another step may be about
to wake it. A step that does not end in `step_timeout_s`, or of which it is certain that nobody
is left to end it, is reported, cancelled where that is possible, and ends the permutation.
Whatever happens, the sessions' teardowns and the spec's are run, so the next permutation finds
what this one has found.

It follows PostgreSQL's isolationtester.c in what is reported when; see `spec` for blockers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from ferrisdb.immutable import immutable
from ferrisdb.isolation.runs import EventKind, PermutationRun, StepEvent
from ferrisdb.isolation.session_thread import Outcome, SessionThread
from ferrisdb.isolation.spec import (
    LEVEL_MARK,
    AfterNotices,
    AfterStep,
    Permutation,
    PlannedStep,
    ShownWaiting,
    Spec,
)
from ferrisdb.isolation.target import Answer, OpenTarget, Target

_SHORTEST_LOOK_S = 0.0002
_LONGEST_LOOK_S = 0.005
_GOODBYE_S = 2.0
"""How long a session may take to roll back and close before it is left behind."""


@immutable
class RunOptions:
    level: str | None = None
    """What stands for LEVEL_MARK in the SQL."""
    wait_s: float = 0.1
    """When a step is taken to wait, where the database cannot be asked."""
    step_timeout_s: float = 20.0
    abort_on_error: bool = False
    """After an error the session rolls back and its other steps are skipped. So a database that
    goes on in a transaction after an error, as SQLite does, commits no half of it."""


class _StuckStep(Exception):
    """The step of `launched` will not end."""

    def __init__(self, launched: _Launched, why: str) -> None:
        super().__init__(why)
        self.launched = launched


class _SetupFailed(Exception):
    """The permutation cannot begin."""


@dataclass(eq=False)
class _Player:
    """A session: its thread, and the step it is in."""

    thread: SessionThread
    active: PlannedStep | None = None
    has_aborted: bool = False


@dataclass(eq=False)
class _Launched:
    """A step under way."""

    planned: PlannedStep
    player: _Player
    sql: str
    awaited_notices: dict[int, int] = field(default_factory=dict)
    """By the index of a blocker: how many notices its session must have had."""


def run_permutations(spec: Spec, open_target: OpenTarget, options: RunOptions) -> Iterator[PermutationRun]:
    """Run the spec's permutations one by one. Raises what `open_target` raises."""
    for permutation in spec.permutations():
        yield run_permutation(spec, permutation, open_target, options)


def run_permutation(
    spec: Spec, permutation: Permutation, open_target: OpenTarget, options: RunOptions
) -> PermutationRun:
    """Run the steps in this order, with setup and teardown. Raises what `open_target` raises."""
    target = open_target()
    try:
        return _Run(spec, permutation, target, options).run()
    finally:
        target.close()


class _Run:
    def __init__(self, spec: Spec, permutation: Permutation, target: Target, options: RunOptions) -> None:
        self._spec = spec
        self._target = target
        self._options = options
        self._run = PermutationRun(permutation)
        self._control = SessionThread("control", target.connect)
        self._players = [_Player(SessionThread(each.name, target.connect)) for each in spec.sessions]
        self._waiting: list[_Launched] = []

    def run(self) -> PermutationRun:
        try:
            self._set_up()
            for planned in self._run.permutation:
                self._play(planned)
            self._await_the_rest()
        except _SetupFailed as failure:
            self._run.failure = str(failure)
        except _StuckStep as stuck:
            self._give_up(stuck)
        finally:
            self._tear_down()
        return self._run

    # --- before and after ---------------------------------------------------------------

    def _set_up(self) -> None:
        for sql in self._spec.setups:
            self._run.setup_answers += self._prepare(self._control, sql, "setup")
        for session, player in zip(self._spec.sessions, self._players, strict=True):
            if session.setup is not None:
                what = f"setup of session {session.name}"
                self._run.setup_answers += self._prepare(player.thread, session.setup, what)

    def _prepare(self, thread: SessionThread, sql: str, what: str) -> tuple[Answer, ...]:
        outcome = self._perform(thread, sql)
        if outcome is None:
            raise _SetupFailed(f"{what} did not end in {self._options.step_timeout_s:g} s")
        if outcome.error is not None:
            raise _SetupFailed(f"{what} failed: {outcome.error.message}")
        return outcome.answers

    def _perform(self, thread: SessionThread, sql: str) -> Outcome | None:
        """None when it does not end."""
        thread.start(self._with_level(sql))
        if not thread.wait(self._options.step_timeout_s):
            thread.cancel()
            return None
        return thread.outcome

    def _tear_down(self) -> None:
        for session, player in zip(self._spec.sessions, self._players, strict=True):
            if session.teardown is not None and player.thread.is_over:
                self._clean(player.thread, session.teardown, f"teardown of session {session.name}")
        # All leave before the teardown of the spec: an open transaction would hold its locks
        # on the tables that are to be dropped. It also wakes those who are stuck.
        for player in self._players:
            player.thread.leave()
        for player in self._players:
            if not player.thread.is_gone(_GOODBYE_S):
                self._run.teardown_failures.append(f"session {player.thread.name} was left in its step")
        if self._spec.teardown is not None and self._control.is_over:
            self._clean(self._control, self._spec.teardown, "teardown")
        self._control.leave()
        self._control.is_gone(_GOODBYE_S)

    def _clean(self, thread: SessionThread, sql: str, what: str) -> None:
        outcome = self._perform(thread, sql)
        if outcome is None:
            self._run.teardown_failures.append(f"{what} did not end in {self._options.step_timeout_s:g} s")
        elif outcome.error is not None:
            self._run.teardown_failures.append(f"{what} failed: {outcome.error.message}")
        else:
            self._run.teardown_answers += outcome.answers

    # --- one step -----------------------------------------------------------------------

    def _play(self, planned: PlannedStep) -> None:
        player = self._players[planned.step.session]
        if player.active is not None:
            self._await_session(player)
        if player.has_aborted:
            sql = self._with_level(planned.step.sql)
            self._run.events.append(StepEvent(planned.step, sql, EventKind.SKIPPED))
            return
        launched = self._launch(planned, player)
        is_under_way = self._is_still_under_way(launched, is_first_look=True)
        # Others first: the new one may have woken them, but they began to wait before it.
        self._sweep()
        if is_under_way:
            self._waiting.append(launched)

    def _launch(self, planned: PlannedStep, player: _Player) -> _Launched:
        launched = _Launched(planned, player, self._with_level(planned.step.sql))
        for index, blocker in enumerate(planned.blockers):
            if isinstance(blocker, AfterNotices):
                others = self._players[blocker.step.session].thread.notice_count
                launched.awaited_notices[index] = others + blocker.count
        player.active = planned
        player.thread.start(launched.sql)
        return launched

    def _is_still_under_way(
        self, launched: _Launched, *, is_first_look: bool = False, deadline: float | None = None
    ) -> bool:
        """Look at a step, and report what there is to report. With a deadline, wait for its end."""
        # Settled first, whatever is to be shown: the next step must not overtake this one.
        has_ended = self._has_ended(launched, deadline)
        is_shown_waiting = is_first_look and ShownWaiting() in launched.planned.blockers
        if not has_ended or is_shown_waiting or self._is_held_back(launched):
            if is_first_look:
                self._report(launched, EventKind.WAITING)
            return True
        self._report(launched, EventKind.DONE if is_first_look else EventKind.COMPLETED)
        launched.player.active = None
        return False

    def _has_ended(self, launched: _Launched, deadline: float | None) -> bool:
        """Without a deadline: False as soon as it is known to wait, or taken to."""
        player = launched.player
        look_s = _SHORTEST_LOOK_S
        begun = time.monotonic()
        while not player.thread.wait(look_s):
            waits = self._target.is_waiting(player.thread.thread_id)
            passed_s = time.monotonic() - begun
            if deadline is None:
                if waits or (waits is None and passed_s >= self._options.wait_s):
                    return False
                if passed_s >= self._options.step_timeout_s:
                    raise _StuckStep(launched, f"timed out after {self._options.step_timeout_s:g} s")
            elif time.monotonic() >= deadline:
                raise _StuckStep(launched, f"timed out after {self._options.step_timeout_s:g} s")
            elif self._nobody_can_wake(player):
                raise _StuckStep(launched, "waits for ever: no session is in a step that could let it go on")
            look_s = min(look_s * 2, _LONGEST_LOOK_S)
        return True

    def _nobody_can_wake(self, player: _Player) -> bool:
        """Whether every session that is in a step waits for another, and without a timeout."""
        busy = [each for each in self._players if not each.thread.is_over]
        # One question about all of them: asked one by one, the first could have been woken by
        # the second before that began to wait.
        return player in busy and self._target.all_wait_for_ever([each.thread.thread_id for each in busy])

    def _is_held_back(self, launched: _Launched) -> bool:
        for index, blocker in enumerate(launched.planned.blockers):
            if isinstance(blocker, AfterStep):
                active = self._players[blocker.step.session].active
                if active is not None and active.step == blocker.step:
                    return True
            elif isinstance(blocker, AfterNotices):
                count = self._players[blocker.step.session].thread.notice_count
                if count < launched.awaited_notices[index]:
                    return True
        return False

    def _report(self, launched: _Launched, kind: EventKind) -> None:
        step = launched.planned.step
        if kind is EventKind.WAITING:
            self._run.events.append(StepEvent(step, launched.sql, kind))
            return
        outcome = launched.player.thread.outcome
        self._run.events.append(StepEvent(step, launched.sql, kind, outcome.answers, outcome.error))
        if outcome.error is not None and self._options.abort_on_error:
            launched.player.has_aborted = True
            # It may have ended the transaction itself, so an error here means nothing.
            self._perform(launched.player.thread, "ROLLBACK")

    # --- those who wait -----------------------------------------------------------------

    def _sweep(self) -> None:
        """Report those who have ended meanwhile. One that ends may be what held another back,
        and in a transaction of its own it may have woken another: until there is nothing new."""
        while True:
            still = [each for each in self._waiting if self._is_still_under_way(each)]
            has_news = len(still) < len(self._waiting)
            self._waiting = still
            if not has_news:
                return

    def _await_session(self, player: _Player) -> None:
        """Its turn has come again, and its last step is still under way."""
        deadline = time.monotonic() + self._options.step_timeout_s
        while player.active is not None:
            launched = next(each for each in self._waiting if each.player is player)
            if not self._is_still_under_way(launched, deadline=deadline):
                self._waiting.remove(launched)
            self._sweep()
            if player.active is not None:
                self._pause(launched, deadline)

    def _await_the_rest(self) -> None:
        deadline = time.monotonic() + self._options.step_timeout_s
        while self._waiting:
            before = len(self._waiting)
            for launched in list(self._waiting):
                if not self._is_still_under_way(launched, deadline=deadline):
                    self._waiting.remove(launched)
            if len(self._waiting) == before:
                self._pause(self._waiting[0], deadline)

    def _pause(self, held_back: _Launched, deadline: float) -> None:
        """Nothing new. Raises _StuckStep where there will be nothing new for ever."""
        if all(each.player.thread.is_over for each in self._waiting):
            raise _StuckStep(held_back, "is held back for ever: the steps that it is after do not end")
        if time.monotonic() >= deadline:
            raise _StuckStep(held_back, f"timed out after {self._options.step_timeout_s:g} s")
        time.sleep(_LONGEST_LOOK_S)

    def _give_up(self, stuck: _StuckStep) -> None:
        launched = stuck.launched
        self._run.failure = f"step {launched.planned.step.name} {stuck}"
        self._run.events.append(StepEvent(launched.planned.step, launched.sql, EventKind.TIMED_OUT))
        for player in self._players:
            if not player.thread.is_over:
                player.thread.cancel()

    def _with_level(self, sql: str) -> str:
        return sql if self._options.level is None else sql.replace(LEVEL_MARK, self._options.level)
