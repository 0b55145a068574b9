"""One engine for each folder in a process, shared by everyone who opens it.

    open("shop.ferris") --- lease --+
    open("./shop.ferris") - lease --+-- engine -- LocalStore, SharedState
    connect("shop.ferris") - lease -+
    connect(":memory:") --- lease ----- engine    (never shared)
    open("shop.ferris", read_only=True) ----- a follower    (shared by the read-only ones)

A folder belongs to one process, and inside the process to one `LocalStore`: two of them
over the same files would each believe that they alone write the log. So the registry keeps
the engine of each real path with the number of leases on it; the last lease that goes
closes the files. Opening and closing hold a lock of that path only, because recovery can
take long and must not stop who opens another folder.

Opening read-only takes no lock and no part in this: it reads the files as another process would,
and stays at its moment until it is refreshed, whoever writes them, this process or another.
So it neither keeps the folder from others when the writer closes it, nor changes its ways when
the writer is moved elsewhere. Those who open one path read-only share a follower, and go on
together.

A lease is what a `Database` or a `Connection` holds. One that is dropped without `release` is
let go at the next open or release of any, and not where it is dropped: the collector may run
in the middle of the store, under a lock that closing would wait for.

A lease refuses to work after `os.fork`: the child has a copy of the memtable and the same
open log, and if it wrote, two processes would append to one file.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from ferrisdb.errors import InterfaceError, InvalidParameterValue, OperationalError, ProgrammingError
from ferrisdb.query.session import SharedState
from ferrisdb.storage.options import Durability, StorageOptions
from ferrisdb.txn.limits import TransactionLimits
from ferrisdb.txn.local import LocalStore

MEMORY = ":memory:"
_LIMITS = frozenset(each.name for each in fields(TransactionLimits))


class Engine:
    """A store and what the sessions over it share."""

    def __init__(self, store: LocalStore, options: StorageOptions, limits: TransactionLimits) -> None:
        self.store = store
        self.options = options
        self.limits = limits
        self.shared = SharedState()


class _Closable(Protocol):
    def close(self) -> None: ...


class Lease:
    """The right to use an engine until `release`. Thread-safe."""

    def __init__(self, engine: Engine, slot: _Slot) -> None:
        self.engine = engine
        self._slot = slot
        self._generation = _fork_generation
        self._is_released = False
        self._lock = threading.Lock()
        self._sessions: weakref.WeakSet[_Closable] = weakref.WeakSet()

    def __del__(self) -> None:
        if not self._is_released and self._generation == _fork_generation:
            _dropped.append(self._slot)

    @property
    def is_released(self) -> bool:
        return self._is_released

    @property
    def folder(self) -> str | None:
        """Of the database, with all links followed; None for one in memory."""
        return None if self._slot.path == MEMORY else self._slot.path

    def require_usable(self) -> None:
        """Raises OperationalError in a forked child, InterfaceError after `release`."""
        if self._is_released:
            raise InterfaceError("the database is closed")
        self.require_own_process()

    def require_own_process(self) -> None:
        """Raises OperationalError in a forked child."""
        if self._generation != _fork_generation:
            raise OperationalError(
                "this database was opened before os.fork and cannot be used in the child process",
                hint="one process owns a database: open it after the fork, or only in one of the two",
            )

    def watch(self, session: _Closable) -> None:
        """Close it at `release`, if it is still there."""
        self.require_usable()  # Before the lock, which in a forked child nobody may let go of.
        with self._lock:
            self.require_usable()
            self._sessions.add(session)

    def another(self) -> Lease:
        """One more lease on the same engine, also on one in memory."""
        self.require_usable()
        with _slots_lock:
            self._slot.leases += 1
        return Lease(self.engine, self._slot)

    def release(self) -> None:
        """Roll back what the lease's sessions have open, and let go of the engine.

        The last to do so closes it. Fine when already released. Raises InterfaceError when a
        session is in the middle of a call of another thread; the lease is released anyway.
        """
        if self._generation != _fork_generation:
            # The files are the parent's; and a thread that is not here may have held the lock.
            self._is_released = True
            return
        with self._lock:
            if self._is_released:
                return
            self._is_released = True
            sessions = list(self._sessions)
        # Others may keep the engine open: what this lease began would hold its locks on.
        with ExitStack() as stack:
            stack.callback(_leave_dropped)
            stack.callback(_leave, self._slot)
            for session in sessions:
                stack.callback(session.close)


@dataclass(eq=False)
class _Slot:
    """The place of one path. `lock` is held while its engine opens or closes."""

    path: str
    is_read_only: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    engine: Engine | None = None
    leases: int = 0


_slots: dict[tuple[str, bool], _Slot] = {}
_dropped: deque[_Slot] = deque()
_slots_lock = threading.Lock()
_fork_generation = 0


def _forget_everything_after_fork() -> None:
    global _slots, _slots_lock, _dropped, _fork_generation  # noqa: PLW0603
    # Another thread of the parent may have held the lock at the moment of the fork. It does
    # not exist here, and would never release it.
    _slots, _slots_lock, _dropped = {}, threading.Lock(), deque()
    _fork_generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_everything_after_fork)


def lease(path: str, options: dict[str, Any], *, read_only: bool = False) -> Lease:
    """A lease on the engine of `path`, opened with the `options` given if it is not open yet.

    Raises what `LocalStore.open`, or `open_read_only`, raises; InvalidParameterValue for a
    database in memory that is to be read only; ProgrammingError when the engine is open with
    other values of the given options.
    """
    if path == MEMORY and read_only:
        raise InvalidParameterValue(
            "a database in memory is always a new one: there is nothing to read",
            hint="name the folder of a database, or open it to write",
        )
    limits = TransactionLimits(**{name: value for name, value in options.items() if name in _LIMITS})
    of_storage = {name: value for name, value in options.items() if name not in _LIMITS}
    if path == MEMORY:
        _leave_dropped()
        in_memory = StorageOptions(**{"durability": Durability.OFF, **of_storage})
        engine = Engine(LocalStore.in_memory(in_memory, limits), in_memory, limits)
        return Lease(engine, _Slot(MEMORY, engine=engine, leases=1))  # in no registry: never found again
    given = StorageOptions(**of_storage)
    slot = _enter(os.path.realpath(path), read_only)
    try:
        # Entered before: an engine that only a dropped lease held is kept, and not opened anew.
        _leave_dropped()
        with slot.lock:
            if slot.engine is None:
                open_store = LocalStore.open_read_only if read_only else LocalStore.open
                slot.engine = Engine(open_store(slot.path, given, limits), given, limits)
            engine = slot.engine
        _require_same(engine, path, options)
    except BaseException:
        _leave(slot)
        raise
    return Lease(engine, slot)


def _require_same(engine: Engine, path: str, options: dict[str, Any]) -> None:
    for name, value in options.items():
        current = getattr(engine.limits if name in _LIMITS else engine.options, name)
        if current != value:
            raise ProgrammingError(
                f'"{path}" is already open in this process with {name} = {_plain(current)}, '
                f"not {_plain(value)}",
                hint="opens of one path share one engine: give the same options, or none",
            )


def _plain(value: object) -> object:
    return getattr(value, "value", value)


def _enter(path: str, is_read_only: bool) -> _Slot:
    with _slots_lock:
        slot = _slots.setdefault((path, is_read_only), _Slot(path, is_read_only))
        slot.leases += 1
    return slot


def _leave_dropped() -> None:
    while _dropped:
        try:
            slot = _dropped.popleft()
        except IndexError:  # another thread took the last one
            return
        _leave(slot)


def _leave(slot: _Slot) -> None:
    # The slot's own lock first and to the end: who opens this path meanwhile waits until the
    # files are closed, and then opens them anew.
    with slot.lock:
        with _slots_lock:
            slot.leases -= 1
            is_last = slot.leases == 0
        if not is_last:
            return
        engine, slot.engine = slot.engine, None
        try:
            if engine is not None:
                engine.store.close()
        finally:
            with _slots_lock:
                place = (slot.path, slot.is_read_only)
                if slot.leases == 0 and _slots.get(place) is slot:
                    del _slots[place]
