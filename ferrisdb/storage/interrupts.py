"""An interrupt (Ctrl-C, any signal handler that raises) is no failure of the disk.

Whoever is interrupted may undo and go on. Whoever met a failed write or sync may not, also
when an interrupt came on top of it.
"""

from __future__ import annotations

from ferrisdb.errors import StorageError


def is_interrupt(error: BaseException) -> bool:
    """Whether it came from outside and hides no failure of the disk."""
    if isinstance(error, Exception):
        return False
    while error.__context__ is not None:
        error = error.__context__
        if isinstance(error, OSError | StorageError):
            return False
    return True
