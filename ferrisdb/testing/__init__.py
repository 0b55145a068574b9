"""Public test tools: disks that crash or fail on purpose, and threads in an order of your choice.

`CrashFS` is an `Env` that knows what a power cut may take; give it to an `Engine`, crash it
at any call, and open what is left. `FaultyEnv` stands in front of an `Env` and makes calls
fail: an I/O error, a short write, a full disk, once or from then on.

`interleave` runs your functions side by side in many schedules, and finds one that breaks your
rule. Under it are `Scheduler`, which runs tasks as threads of which one runs at a time, in an
order that a seed decides and repeats; `EverySchedule`, which goes through all orders; and `pause`,
a point of your own at which another task may go on.

`fail_commits` has the next commits fail, to test that a program tries again.

For pytest there are fixtures: see `ferrisdb.testing.pytest_plugin`. The names below are imported
when first used, so that pytest does not pay for those that no test needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ferrisdb.testing.crash_fs import CrashFS, Loss, SimulatedCrash
    from ferrisdb.testing.every_schedule import EverySchedule
    from ferrisdb.testing.failing_commits import Failures, fail_commits
    from ferrisdb.testing.faulty_env import Fault, FaultyEnv
    from ferrisdb.testing.interleaving import InterleavingFailed, Interleavings, interleave
    from ferrisdb.testing.scheduler import (
        AllTasksWait,
        ScheduleAbandoned,
        ScheduleError,
        Scheduler,
        ScheduleTooLong,
        Step,
        Task,
        TaskStalled,
        pause,
    )

__all__ = [
    "AllTasksWait",
    "CrashFS",
    "EverySchedule",
    "Failures",
    "Fault",
    "FaultyEnv",
    "InterleavingFailed",
    "Interleavings",
    "Loss",
    "ScheduleAbandoned",
    "ScheduleError",
    "ScheduleTooLong",
    "Scheduler",
    "SimulatedCrash",
    "Step",
    "Task",
    "TaskStalled",
    "fail_commits",
    "interleave",
    "pause",
]

_HOMES = {
    "crash_fs": "CrashFS Loss SimulatedCrash",
    "every_schedule": "EverySchedule",
    "failing_commits": "Failures fail_commits",
    "faulty_env": "Fault FaultyEnv",
    "interleaving": "InterleavingFailed Interleavings interleave",
    "scheduler": "AllTasksWait ScheduleAbandoned ScheduleError ScheduleTooLong Scheduler Step Task "
    "TaskStalled pause",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

if not TYPE_CHECKING:  # a type checker would believe that every name exists

    def __getattr__(name: str) -> object:
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module 'ferrisdb.testing' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"ferrisdb.testing.{home}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)
