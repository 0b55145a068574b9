"""Public test tools: disks that crash or fail on purpose, and threads in an order of your choice.

`CrashFS` is an `Env` that knows what a power cut may take; give it to an `Engine`, crash it
at any call, and open what is left. `FaultyEnv` stands in front of an `Env` and makes calls
fail: an I/O error, a short write, a full disk, once or from then on.

`Scheduler` runs tasks as threads of which one runs at a time, in an order that a seed decides
and repeats; `EverySchedule` goes through all orders. `pause` is a point of your own at which
another task may go on.

`fail_commits` has the next commits fail, to test that a program tries again.
"""

from ferrisdb.testing.crash_fs import CrashFS, Loss, SimulatedCrash
from ferrisdb.testing.every_schedule import EverySchedule
from ferrisdb.testing.failing_commits import Failures, fail_commits
from ferrisdb.testing.faulty_env import Fault, FaultyEnv
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
    "pause",
]
