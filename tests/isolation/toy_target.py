"""A database of nothing but gates, to see what the runner does at moments that SQL rarely meets.

wait G      do not come back until somebody opens the gate G
wait G 0.3  ... or until so many seconds have passed
open G      also for those who come later
hang        do not come back until cancelled
deaf        never come back
say X       answer with one row, X
notice      have a notice
fail X      raise an error
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection

from ferrisdb.isolation.target import Answer


class ToyTarget:
    """`can_be_asked` False makes it a database that does not know who waits."""

    def __init__(self, *, can_be_asked: bool = True) -> None:
        self.can_be_asked = can_be_asked
        self.gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        self.waiting: set[int] = set()
        self.with_timeout: set[int] = set()
        self.done: list[str] = []
        self.cancelled = 0
        self.mutex = threading.Lock()

    def connect(self) -> ToySession:
        return ToySession(self)

    def is_waiting(self, thread_id: int) -> bool | None:
        return thread_id in self.waiting if self.can_be_asked else None

    def all_wait_for_ever(self, thread_ids: Collection[int]) -> bool:
        with self.mutex:
            return self.can_be_asked and (self.waiting - self.with_timeout).issuperset(thread_ids)

    def close(self) -> None:
        self.done.append("close")


class ToySession:
    def __init__(self, target: ToyTarget) -> None:
        self.target = target
        self.notice_count = 0
        self.is_cancelled = threading.Event()

    def execute(self, text: str) -> list[Answer]:
        return [answer for each in text.split(";") for answer in self._execute(each.strip())]

    def _execute(self, text: str) -> list[Answer]:
        word, *rest = text.split()
        self.target.done.append(text)
        if word == "wait":
            self._wait(rest[0], float(rest[1]) if len(rest) > 1 else None)
        elif word == "open":
            self.target.gates[rest[0]].set()
        elif word == "hang":
            self.is_cancelled.wait()
            raise RuntimeError("cancelled")
        elif word == "deaf":
            threading.Event().wait()
        elif word == "notice":
            self.notice_count += 1
        elif word == "say":
            return [Answer(("said",), ((rest[0],),))]
        elif word == "fail":
            raise RuntimeError(rest[0])
        return []

    def _wait(self, gate: str, timeout_s: float | None) -> None:
        thread = threading.get_ident()
        with self.target.mutex:
            self.target.waiting.add(thread)
            if timeout_s is not None:
                self.target.with_timeout.add(thread)
        is_open = self.target.gates[gate].wait(timeout_s)
        with self.target.mutex:
            self.target.waiting.discard(thread)
        if not is_open:
            raise RuntimeError("lock timeout")

    def cancel(self) -> None:
        self.target.cancelled += 1
        self.is_cancelled.set()

    def close(self) -> None:
        self.target.done.append("left")
        for gate in self.target.gates.values():
            gate.set()  # whoever leaves gives back what it holds
