"""The deterministic scheduler: threads of which exactly one runs, in an order that a seed decides.

    with Scheduler(seed=7) as s:
        s.spawn(withdraw, db, 1, name="a")
        s.spawn(withdraw, db, 2, name="b")
    print(s.trace)                          # the same for the same seed, to the last byte

Each task is a thread of its own. One of them has the baton; the others stand still. At each
point of `storage.yield_points`, and at `pause`, the one that runs asks who goes on, hands the
baton over and stands still itself. Between two points it is alone:

    a   start....snapshot....lock x....locked            log....publish....release....end
    b                                 start....lock x                          locked....
                                                 waits

Whoever would sleep, for a lock of another transaction or for the leader of its group of
commits, is left out of the choice until what it waits for is free. If all wait, nobody could
ever go on, and `AllTasksWait` says so with the trace. A wait with a timeout ends only then:
time stands still while somebody can work, and next goes to the earliest timeout.

A schedule is repeated by its seed, or by `choices`, which any run writes down. What it can't
repeat is what tasks do by a clock, by random numbers of their own, or through other threads.

Where a schedule is given up (all wait, too many steps, Ctrl-C) its tasks are ended one by one:
each is raised `ScheduleAbandoned` where it waits, which to the database is an interrupt.

The threads of flush, compaction and background sync are no tasks. They do not change what a
transaction reads, and would make every trace depend on how much was written before. A task
that waits for one of them waits in real time, with the baton in its hand.

Limits: a task that waits for another in a way that no point knows (`queue.Queue`, a lock of
the program's) stops everything; after `stall_s` that is an error that shows where it stands.
One scheduler runs at a time in a process. Garbage is not collected while one runs: a finaliser
would run at another place each time.
"""

from __future__ import annotations

import gc
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple

from ferrisdb.errors import InterfaceError, InvalidParameterValue
from ferrisdb.storage import yield_points
from ferrisdb.testing.schedule_choices import Chooser, GivenChoices, SeededChoices

MAX_STEPS = 100_000
STALL_S = 30.0
MAX_SHOWN = 80
_CLEAN_POINTS = frozenset({"lock", "lock range", "pause", "sleep", "snapshot"})
"""Where nothing is half done: an abandoned task is ended there."""


class ScheduleError(Exception):
    """A schedule did not come to its end. `trace` shows how far it came."""

    def __init__(self, message: str, trace: str) -> None:
        super().__init__(f"{message}\n{trace}")
        self.trace = trace


class AllTasksWait(ScheduleError):
    """Each task waits for another one, or for somebody who is no task."""


class ScheduleTooLong(ScheduleError):
    """`max_steps` were not enough: most likely the tasks make each other begin again for ever."""


class TaskStalled(ScheduleError):
    """A task waits for something that the scheduler does not see."""


class ScheduleAbandoned(BaseException):
    """Raised in a task whose schedule is given up. Like KeyboardInterrupt, not to be caught."""


class Step(NamedTuple):
    """`task` has gone on from `point`. `what` is the key, or the label, that it is about."""

    task: str
    point: str
    what: bytes | str


class Decision(NamedTuple):
    """Of so many candidates the one at `choice` was taken. `may_stay`: 0 was no switch."""

    candidates: int
    choice: int
    may_stay: bool


class Task:
    """Made by `Scheduler.spawn`. `result` and `error` are set when it has ended."""

    def __init__(self, name: str, work: Callable[[], Any]) -> None:
        self.name = name
        self.result: Any = None
        self.error: BaseException | None = None
        self.has_ended = False
        self._work = work
        self._baton = threading.Lock()
        self._baton.acquire()
        self._waits_for: threading.Lock | None = None
        self._deadline_s: float | None = None
        self._is_told_to_end = False
        self._thread: threading.Thread | None = None

    def _may_go_on(self) -> bool:
        return not self.has_ended and (self._waits_for is None or not self._waits_for.locked())


class Scheduler:
    """Runs tasks in one order out of all that are possible."""

    def __init__(
        self,
        seed: int = 0,
        *,
        choices: Sequence[int] | None = None,
        max_steps: int = MAX_STEPS,
        stall_s: float = STALL_S,
        describe_key: Callable[[bytes], str] | None = None,
    ) -> None:
        """`choices` instead of a seed repeats a schedule, as far as they go; then each task
        runs for as long as it can. `describe_key` says how the trace shows a key."""
        if max_steps < 1:
            raise InvalidParameterValue(f"max_steps is {max_steps}; it must be at least 1")
        self.seed = seed if choices is None else None
        self.tasks: list[Task] = []
        self.steps: list[Step] = []
        """What has happened, in its order."""
        self.decisions: list[Decision] = []
        self._chooser: Chooser = SeededChoices(seed) if choices is None else GivenChoices(choices)
        self._max_steps = max_steps
        self._stall_s = stall_s
        self._describe_key = describe_key or _readable
        self._now_s = 0.0
        self._has_run = False
        self._abandoned: BaseException | None = None
        self._by_thread: dict[int, Task] = {}
        self._current: Task | None = None
        self._is_over = threading.Event()

    @property
    def trace(self) -> str:
        """The steps, one a line."""
        width = max((len(task.name) for task in self.tasks), default=0)
        return "".join(
            f"{number:4} {step.task:<{width}} {step.point} {self._shown(step.what)}".rstrip() + "\n"
            for number, step in enumerate(self.steps, 1)
        )

    def _shown(self, what: bytes | str) -> str:
        """A key or a label: one short line."""
        text = " ".join(what.split()) if isinstance(what, str) else self._describe_key(what) if what else ""
        return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."

    @property
    def choices(self) -> list[int]:
        """Given to another scheduler of the same tasks, they repeat this schedule."""
        return [decision.choice for decision in self.decisions]

    def spawn(self, work: Callable[..., Any], *arguments: Any, name: str | None = None) -> Task:
        """A task that calls `work(*arguments)` when the schedule runs. Names are unique."""
        if self._has_run:
            raise InterfaceError("the schedule has begun: tasks are spawned before")
        name = f"task {len(self.tasks) + 1}" if name is None else name
        if any(task.name == name for task in self.tasks):
            raise InvalidParameterValue(f"there is a task {name!r} already")
        task = Task(name, lambda: work(*arguments))
        self.tasks.append(task)
        return task

    def run(self) -> None:
        """Run all tasks to their ends.

        Raises what a task has raised; of several, the first in the order of spawning. Raises
        AllTasksWait, ScheduleTooLong, TaskStalled, when the tasks have been ended.
        """
        if self._has_run:
            raise InterfaceError("a scheduler runs once: make another one with the same seed")
        self._has_run = True
        is_collecting = gc.isenabled()
        gc.disable()
        yield_points.install(self)
        try:
            self._run_threads()
        finally:
            yield_points.uninstall(self)
            if is_collecting:
                gc.enable()
        if self._abandoned is not None:
            raise self._abandoned
        for task in self.tasks:
            if task.error is not None:
                task.error.add_note(f"in task {task.name!r} of the schedule {self._named()}")
                raise task.error

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Runs the tasks, if `run` has not."""
        if kind is None and not self._has_run:
            self.run()

    # --- what the threads call, through yield_points

    def reach(self, point: str, what: bytes | str) -> None:
        task = self._by_thread.get(threading.get_ident())
        if task is None:
            return
        self._pass_baton(task)
        if self._abandoned is None:
            self.steps.append(Step(task.name, point, what))
        elif point in _CLEAN_POINTS:
            self._end_abandoned(task)

    def acquire(self, lock: threading.Lock, timeout_s: float) -> bool:
        task = self._by_thread.get(threading.get_ident())
        if task is None:
            return lock.acquire(timeout=timeout_s)
        if lock.acquire(blocking=False):
            return True
        self._note(task, "waits")
        task._deadline_s = None if timeout_s < 0 else self._now_s + timeout_s
        try:
            while True:
                task._waits_for = lock
                self._pass_baton(task)
                task._waits_for = None
                if lock.acquire(blocking=False):
                    self._note(task, "goes on")
                    return True
                self._end_abandoned(task)
                if task._deadline_s is not None and task._deadline_s <= self._now_s:
                    self._note(task, "timeout")
                    return False
        finally:
            task._waits_for = task._deadline_s = None

    def sleep(self, duration_s: float) -> None:
        # However short it is, others may do anything meanwhile; however long, nothing at all.
        self.reach("sleep", b"")

    # --- the baton

    def _run_threads(self) -> None:
        if not self.tasks:
            return
        for task in self.tasks:
            task._thread = threading.Thread(
                target=self._live, args=(task,), name=f"ferrisdb-task-{task.name}", daemon=True
            )
            task._thread.start()
        try:
            self._pass_baton(None)
            self._watch()
        except BaseException as error:
            # Ctrl-C, most likely. The task that runs sees it at its next point.
            self._abandoned = error
            self._is_over.wait(self._stall_s)
        for task in self.tasks:
            if task.has_ended and task._thread is not None:
                task._thread.join()

    def _live(self, task: Task) -> None:
        task._baton.acquire()
        self._by_thread[threading.get_ident()] = task
        try:
            if self._abandoned is None:
                self.steps.append(Step(task.name, "start", b""))
                task.result = task._work()
        except ScheduleAbandoned:
            pass  # What there is to say, `run` says.
        except BaseException as error:
            task.error = error
        task.has_ended = True
        self._note(task, "end" if task.error is None else type(task.error).__name__)
        del self._by_thread[threading.get_ident()]
        self._pass_baton(task)

    def _pass_baton(self, task: Task | None) -> None:
        """Have somebody go on, and return when it is `task`'s turn; at once when it has ended."""
        chosen = self._choose(task)
        self._current = chosen
        if chosen is task:
            return
        if chosen is None:
            self._is_over.set()
        else:
            chosen._baton.release()
        if task is not None and not task.has_ended:
            task._baton.acquire()

    def _choose(self, task: Task | None) -> Task | None:
        """Who goes on. None when all have ended, or nobody can be made to."""
        if self._abandoned is None and len(self.steps) >= self._max_steps:
            self._abandon(
                ScheduleTooLong, f"the schedule {self._named()} has more than {self._max_steps} steps"
            )
        candidates = [each for each in self.tasks if each._may_go_on()]
        if task is not None and task in candidates:
            candidates.remove(task)
            candidates.insert(0, task)
        if self._abandoned is None and len(candidates) > 1:
            return self._decide(candidates, may_stay=candidates[0] is task)
        if candidates:
            return candidates[0]
        return self._wake_by_force()

    def _decide(self, candidates: list[Task], *, may_stay: bool) -> Task:
        try:
            choice = self._chooser.choose(len(candidates), may_stay=may_stay)
        except InvalidParameterValue as error:
            self._abandoned = error
            return candidates[0]
        self.decisions.append(Decision(len(candidates), choice, may_stay))
        return candidates[choice]

    def _wake_by_force(self) -> Task | None:
        """Nobody can go on: the clock may, or the schedule is at its end."""
        waiting = [task for task in self.tasks if not task.has_ended]
        if not waiting:
            return None
        timed = [task for task in waiting if task._deadline_s is not None]
        if timed:
            first = min(timed, key=lambda task: task._deadline_s or 0.0)
            self._now_s = max(self._now_s, first._deadline_s or 0.0)
            return first
        if self._abandoned is None:
            names = ", ".join(task.name for task in waiting)
            self._abandon(
                AllTasksWait, f"in the schedule {self._named()} all tasks that are left wait: {names}"
            )
        return next((task for task in waiting if not task._is_told_to_end), None)

    # --- giving up

    def _abandon(self, kind: type[ScheduleError], message: str) -> None:
        if self._abandoned is None:
            self._abandoned = kind(message, self.trace)

    def _end_abandoned(self, task: Task) -> None:
        # Once: a waiter that may not leave before it was served has to be able to wait again.
        if self._abandoned is not None and not task._is_told_to_end:
            task._is_told_to_end = True
            raise ScheduleAbandoned

    def _watch(self) -> None:
        """Until all is over. Raises TaskStalled when nothing happens any more."""
        seen: tuple[int, Task | None] = (-1, None)
        while not self._is_over.wait(self._stall_s):
            now = (len(self.steps), self._current)
            if now == seen and self._current is not None:
                raise self._stalled(self._current)
            seen = now

    def _stalled(self, task: Task) -> TaskStalled:
        thread_id = task._thread.ident if task._thread is not None else None
        frame = sys._current_frames().get(thread_id or 0)
        stands = "".join(traceback.format_stack(frame)[-4:]) if frame is not None else ""
        return TaskStalled(
            f"in the schedule {self._named()} task {task.name!r} has come to no point for {self._stall_s} s:"
            f" it waits for something that the scheduler does not see, or computes\n{stands}",
            self.trace,
        )

    def _note(self, task: Task, point: str) -> None:
        if self._abandoned is None:
            self.steps.append(Step(task.name, point, b""))

    def _named(self) -> str:
        return f"of seed {self.seed}" if self.seed is not None else f"of choices {self.choices}"


def pause(label: str = "") -> None:
    """A point of the program's own: in a task of a scheduler others may go on here. Else nothing.

    For what tasks share outside of the database, which they could interleave on anywhere.
    """
    yield_points.reach("pause", label)


def _readable(key: bytes) -> str:
    text = key.decode("ascii", "replace")
    return text if text.isascii() and text.isprintable() else key.hex()
