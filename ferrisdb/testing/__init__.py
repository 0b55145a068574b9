"""Public test tools: file systems that crash or fail on purpose.

`CrashFS` is an `Env` that knows what a power cut may take; give it to an `Engine`, crash it
at any call, and open what is left. `FaultyEnv` stands in front of an `Env` and makes calls
fail: an I/O error, a short write, a full disk, once or from then on.
"""

from ferrisdb.testing.crash_fs import CrashFS, Loss, SimulatedCrash
from ferrisdb.testing.faulty_env import Fault, FaultyEnv

__all__ = ["CrashFS", "Fault", "FaultyEnv", "Loss", "SimulatedCrash"]
