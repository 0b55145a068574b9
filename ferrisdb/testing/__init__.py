"""Public test tools: a file system that crashes on purpose.

`CrashFS` is an `Env` that knows what a power cut may take; give it to an `Engine`, crash it
at any call, and open what is left.
"""

from ferrisdb.testing.crash_fs import CrashFS, Loss, SimulatedCrash

__all__ = ["CrashFS", "Loss", "SimulatedCrash"]
