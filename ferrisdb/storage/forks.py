"""What is open when the process forks belongs to the parent; the child lets go of it.

    parent   engine --- writes the log ---------------------->
                \\ fork
    child         engine: refuses; its locks are made anew

The child has a copy of the memtables and the same open files. Two processes that append to one
log would destroy it. And of the threads only the one that forked is there: a lock that another
held would never be released.

Limits: a file lock that the child has inherited is the business of `os_lock`.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from ferrisdb.errors import Error, StorageError


class Disownable(Protocol):
    def disown(self) -> None:
        """In a forked child: refuse to work, and wait for no lock that was there before."""


def disown_in_child(opened: Disownable) -> None:
    """Have `opened` disowned in every child that is forked while it is alive."""
    _opened.add(opened)


def opened_before_fork() -> Error:
    return StorageError(
        "this database was opened before the process forked, and belongs to the parent process",
        hint="open the database in the process that uses it",
    )


_opened: weakref.WeakSet[Disownable] = weakref.WeakSet()


def _disown_all_in_child() -> None:
    for opened in list(_opened):
        opened.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all_in_child)
