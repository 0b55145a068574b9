"""What a contest is: one piece of work, two sides that do it, and the ratio we aim at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Work:
    """How much: `count` operations a round, on `rows` rows, by `threads` threads."""

    count: int
    rows: int = 0
    threads: int = 1

    def scaled(self, factor: float) -> Work:
        """A share of it, but never so little that a thread has nothing to do."""
        return replace(
            self,
            count=max(self.threads, round(self.count * factor)),
            rows=max(1, round(self.rows * factor)) if self.rows else 0,
        )


class Side(ABC):
    """One of the two. It is made ready by its constructor, in a folder of its own."""

    def prepare_round(self) -> None:  # noqa: B027 - most sides have nothing to prepare
        """What comes before the clock starts."""

    @abstractmethod
    def run_round(self) -> int:
        """What is timed. Returns the number of operations done."""

    @abstractmethod
    def answer(self) -> object:
        """What came out in all rounds together: both sides must say the same."""

    @abstractmethod
    def close(self) -> None: ...


@dataclass(frozen=True)
class Contest:
    """`target` is the ratio of our operations per second to the peer's that we want."""

    name: str
    what: str
    unit: str
    target: float
    work: Work
    peer_name: str
    ours: Callable[[Path, Work], Side]
    peer: Callable[[Path, Work], Side]


@dataclass(frozen=True)
class Size:
    """How large a run is. `factor` is a share of the full work."""

    factor: float
    rounds: int


FULL = Size(factor=1.0, rounds=5)
QUICK = Size(factor=0.08, rounds=3)
