"""Who goes on next: by a seed, or by a list that repeats a schedule.

At each point some tasks may go on. They stand in a row: the one that got here first, if it
may go on, then the others in the order in which they were spawned. A choice is a place in this
row, so 0 is "no switch" wherever that is possible, and a list of choices is a whole schedule:
what comes behind its end is 0.

    candidates   [a, b]     [a, b]     [b]       [b, c]     [c]
    choice          0          1        -           1        -        -> [0, 1, 1]

Where one candidate is left nothing is chosen, and nothing is written down.

A random schedule that switches with even chances at each point hardly ever lets one task do
thirty steps between two of another, which is what many races need. So the seed first draws
how fond this schedule is of staying, from not at all to very much. (Probabilistic concurrency
testing has the same aim with priorities: Burckhardt et al., ASPLOS 2010.)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

from ferrisdb.errors import InvalidParameterValue

FONDNESS_OF_STAYING = (0.0, 0.5, 0.8, 0.95)


class Chooser(Protocol):
    def choose(self, count: int, *, may_stay: bool) -> int:
        """A place from 0 to `count` - 1, `count` being 2 or more. `may_stay`: 0 is no switch."""


class SeededChoices:
    """The same seed chooses alike, on every machine and in every release of Python."""

    def __init__(self, seed: int) -> None:
        # Of `Random` only `random()` is promised to stay as it is.
        self._random = random.Random(seed).random
        self._staying = FONDNESS_OF_STAYING[int(self._random() * len(FONDNESS_OF_STAYING))]

    def choose(self, count: int, *, may_stay: bool) -> int:
        if may_stay and self._random() < self._staying:
            return 0
        return int(self._random() * count)


class GivenChoices:
    """Those of the list, and then 0."""

    def __init__(self, choices: Sequence[int]) -> None:
        self._rest = iter(choices)

    def choose(self, count: int, *, may_stay: bool) -> int:
        choice = next(self._rest, 0)
        if not 0 <= choice < count:
            raise InvalidParameterValue(
                f"the schedule chooses place {choice} where {count} tasks may go on",
                hint="choices fit only the tasks, and the version of FerrisDB, that they were recorded with",
            )
        return choice


def without_last_zeros(choices: Sequence[int]) -> list[int]:
    """The same schedule, said shorter."""
    end = len(choices)
    while end and choices[end - 1] == 0:
        end -= 1
    return list(choices[:end])
