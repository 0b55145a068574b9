"""Your own functions, run at the same time in many orders: which order breaks your rule?

    interleave(db, [withdraw, withdraw], check=nobody_is_overdrawn)

    start state ---- schedule 1: withdraw-1 and -2, one after the other ---- check
        ^       |
        |       +--- restored
        +------------ schedule 2: ... ---- check ---- restored --- schedule 3 ...

Two functions that are right one after the other may be wrong side by side, and real threads
meet too seldom at the bad moment for a test to see it. Here the moment is chosen (see
`scheduler`): the first half of the schedules are those with the fewest switches, from none
on, which are also the ones that a person can follow; the other half are drawn by seeds.

Before each schedule the database is as it was at the call: rows, keys, tables. The first
schedule after which a function has raised, or `check` has, ends the search. What is raised says
how to repeat this one schedule, and shows it step by step.

An error that is `retryable` is no finding: the database has refused a transaction, as it may,
and undone it. `allow` says otherwise.

Limits: what the functions share outside of the database is not restored, and is interleaved at
`pause` only. The start state is kept in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ferrisdb.api.database import Database
from ferrisdb.conflict import KeyRange
from ferrisdb.errors import InterfaceError, InvalidParameterValue, Retryable
from ferrisdb.query.change.row_ids import RowIdAllocator
from ferrisdb.query.key_words import KeyWords
from ferrisdb.testing.every_schedule import EverySchedule
from ferrisdb.testing.schedule_choices import without_last_zeros
from ferrisdb.testing.scheduler import MAX_STEPS, Scheduler, Task

Work = Callable[[Database], Any]


class InterleavingFailed(AssertionError):
    """A schedule broke the rule. `trace` is its steps; `seed`, or else `choices`, repeats it."""

    def __init__(self, message: str, *, seed: int | None, choices: list[int], trace: str) -> None:
        super().__init__(message)
        self.seed = seed
        self.choices = choices
        self.trace = trace


class Interleavings:
    """What was tried: `count` schedules; `is_complete` when there are no others.

    `outcomes` counts, for each way that the functions ended, in how many schedules they did: a
    tuple with one text for each of them, its result or the name of its error.
    """

    def __init__(self) -> None:
        self.count = 0
        self.is_complete = False
        self.outcomes: Counter[tuple[str, ...]] = Counter()

    def __repr__(self) -> str:
        return f"<{self.count} schedules{', which is all' * self.is_complete}: {dict(self.outcomes)}>"


def interleave(
    db: Database,
    work: Sequence[Work] | Mapping[str, Work],
    check: Callable[[Database], Any] | None = None,
    schedules: int = 200,
    *,
    seed: int | None = None,
    choices: Sequence[int] | None = None,
    allow: type[BaseException] | tuple[type[BaseException], ...] = Retryable,
    max_steps: int = MAX_STEPS,
) -> Interleavings:
    """Run each of `work` in a task of its own, as `each(db)`, in at most so many schedules.

    After each schedule `check(db)` is called; it raises, or gives False, where something is
    wrong. `work` as a mapping names the tasks. `seed` or `choices` run one schedule, that of a
    failure. `allow` are errors of the functions that are no finding.

    Raises InterleavingFailed, from the error that was found. Raises InterfaceError when a
    function has left a transaction open, or one was open at the call: it would never end.
    """
    if seed is not None and choices is not None:
        raise InvalidParameterValue("one schedule has a seed or choices, not both")
    if schedules < 1:
        raise InvalidParameterValue(f"schedules is {schedules}; it must be at least 1")
    named = _named(work)
    start = _StartState(db)
    found = Interleavings()
    settings: dict[str, Any] = {"max_steps": max_steps, "describe_key": start.describe_key}
    systematic = EverySchedule((schedules + 1) // 2, **settings)

    def schedulers() -> Iterator[Scheduler]:
        if seed is not None or choices is not None:
            yield Scheduler(seed or 0, choices=choices, **settings)
            return
        yield from systematic
        if not systematic.is_complete:
            for each in range(schedules - systematic.count):
                yield Scheduler(each, **settings)

    for scheduler in schedulers():
        if found.count:
            start.restore()
        found.count += 1
        found.outcomes[_run(db, scheduler, named, check, allow)] += 1
        start.check_nothing_is_open("a function has left a transaction open")
    found.is_complete = systematic.is_complete
    return found


def _named(work: Sequence[Work] | Mapping[str, Work]) -> dict[str, Work]:
    if isinstance(work, Mapping):
        return dict(work)
    names = [_name_of(each) for each in work]
    is_unique = len(set(names)) == len(names)
    numbered = [name if is_unique else f"{name}-{number}" for number, name in enumerate(names, 1)]
    return dict(zip(numbered, work, strict=True))


def _name_of(work: Work) -> str:
    while isinstance(work, partial):
        work = work.func
    name = getattr(work, "__name__", type(work).__name__)
    return name if name.isidentifier() else "task"


def _run(
    db: Database,
    scheduler: Scheduler,
    named: Mapping[str, Work],
    check: Callable[[Database], Any] | None,
    allow: type[BaseException] | tuple[type[BaseException], ...],
) -> tuple[str, ...]:
    """The outcome of one schedule. Raises InterleavingFailed."""
    refusals: dict[str, str] = {}

    def attempt(name: str, each: Work) -> Any:
        try:
            return each(db)
        except allow as error:
            refusals[name] = type(error).__name__
            return None

    tasks = [scheduler.spawn(attempt, name, each, name=name) for name, each in named.items()]
    outcome = partial(_outcome, tasks, refusals)
    try:
        scheduler.run()
        if check is not None and check(db) is False:
            raise AssertionError(f"{_name_of(check)} is False")
    except Exception as error:
        raise _failure(scheduler, error, outcome()) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # `pytest.fail` and its like must stay what they are, or the test runner does not know them.
        error.add_note(str(_failure(scheduler, error, outcome())))
        raise
    return outcome()


def _outcome(tasks: Iterable[Task], refusals: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        refusals.get(task.name) or (repr(task.result) if task.error is None else type(task.error).__name__)
        for task in tasks
    )


def _failure(scheduler: Scheduler, error: BaseException, outcome: tuple[str, ...]) -> InterleavingFailed:
    choices = without_last_zeros(scheduler.choices)
    repeat = f"seed={scheduler.seed}" if scheduler.seed is not None else f"choices={choices}"
    ended = "\n".join(f"  {task.name}: {how}" for task, how in zip(scheduler.tasks, outcome, strict=True))
    reason = str(error).partition("\n")[0] or type(error).__name__
    return InterleavingFailed(
        f"{reason}\n\nafter this schedule (again: interleave(..., {repeat})):\n{scheduler.trace}"
        f"\nhow the functions ended:\n{ended}",
        seed=scheduler.seed,
        choices=choices,
        trace=scheduler.trace,
    )


class _StartState:
    """All keys and values of a database, those of SQL included, to come back to."""

    def __init__(self, db: Database) -> None:
        self._store = db._lease.engine.store
        self._shared = db._lease.engine.shared
        self.check_nothing_is_open("a transaction is open")
        transaction = self._store.begin(read_only=True)
        self._pairs = dict(transaction.scan(b"", None))
        self._words = KeyWords(self._shared.catalog.view(transaction).tables())
        transaction.rollback()

    def describe_key(self, key: bytes) -> str:
        """By the tables that there are at the start."""
        return self._words(KeyRange.of_key(key))

    def restore(self) -> None:
        # Hidden row ids begin anew, too: the same schedule has the same keys each time.
        self._shared.row_ids = RowIdAllocator()
        transaction = self._store.begin()
        now = dict(transaction.scan(b"", None))
        for key in now.keys() - self._pairs.keys():
            transaction.delete(key)
        for key, value in self._pairs.items():
            if now.get(key) != value:
                transaction.put(key, value)
        transaction.commit()

    def check_nothing_is_open(self, what: str) -> None:
        """Raises InterfaceError: what holds locks that nobody will release stops the next schedule."""
        self._shared.end_abandoned()
        if self._store._open:
            raise InterfaceError(
                f"{what}: its locks would stop the next schedule",
                hint="use `with db.transaction()`, and take all rows of a query",
            )
