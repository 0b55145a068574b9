"""Random transactions, made from a seed: what each will do, not yet what it will see.

    register     r(x) w(y) r(y) ...                     a few keys that all want
    append       r(l) a(l) ...                          lists: reading one shows the order of all appends
    predicate    s(g1a..g1e) w(g1c) w(g1b)=nil ...      ranges, with keys that are born and die in them

Few keys make conflicts, but a key that lives for ever has ever longer lists, and a change of long
ago that nobody minds. So only some keys are in use at a time, and each retires after some writes
(as in Elle's generators).

No value is written twice to one key, and each key is absent at one time of its life at most:
those that are there at first may be deleted once, those that are not are never deleted. So it
can be told which version every read saw, also where it found nothing.
"""

from __future__ import annotations

import enum
import itertools
import random
from collections.abc import Iterator, Mapping

from ferrisdb.immutable import immutable
from ferrisdb.isolation.history import Append, Value, Write

KEYS_IN_USE = 8
WRITES_PER_KEY = 24
GROUPS_IN_USE = 2
LETTERS = "abcdefgh"
END_LETTER = "i"
"""The keys of group 7 are g7a to g7h; g7i is the end of a range over all of them."""
WRITES_PER_GROUP = 40
MAX_STEPS = 6
ROLLBACKS = 0.05
READ_ONLY = 0.15


class WorkloadKind(enum.Enum):
    REGISTER = "register"
    APPEND = "append"
    PREDICATE = "predicate"


@immutable
class ToRead:
    key: str
    is_list: bool = False


@immutable
class ToScan:
    lo: str
    hi: str


PlannedStep = ToRead | ToScan | Write | Append


@immutable
class Plan:
    """One transaction. `id` is its number in the history."""

    id: int
    steps: tuple[PlannedStep, ...]
    rolls_back: bool = False

    @property
    def is_read_only(self) -> bool:
        return not any(isinstance(step, Write | Append) for step in self.steps)


@immutable
class Workload:
    initial: Mapping[str, Value]
    plans: tuple[Plan, ...]
    last_look: Plan
    """Reads every key, when all others are over."""


def make_workload(kind: WorkloadKind, transactions: int, seed: int) -> Workload:
    dice = random.Random(f"{kind.value} {seed}")
    maker: _Registers | _Groups
    if kind is WorkloadKind.PREDICATE:
        maker = _Groups(dice)
    else:
        maker = _Registers(dice, is_list=kind is WorkloadKind.APPEND)
    plans = tuple(_plan(number, maker, dice) for number in range(1, transactions + 1))
    return Workload(maker.initial, plans, Plan(transactions + 1, tuple(maker.last_look())))


def _plan(number: int, maker: _Registers | _Groups, dice: random.Random) -> Plan:
    count = dice.randint(1, MAX_STEPS)
    if dice.random() < READ_ONLY:
        return Plan(number, tuple(maker.look() for _ in range(count)))
    steps = [each for _ in range(count) for each in maker.steps()]
    return Plan(number, tuple(steps[:MAX_STEPS]), dice.random() < ROLLBACKS)


class _Registers:
    """Keys by themselves: registers, or lists."""

    def __init__(self, dice: random.Random, *, is_list: bool) -> None:
        self.initial: dict[str, Value] = {}
        self._dice = dice
        self._is_list = is_list
        self._names = (f"{'l' if is_list else 'k'}{number}" for number in itertools.count())
        self._values = itertools.count(1)
        self._all: list[str] = []
        self._writes: dict[str, int] = {}
        self._in_use = [self._new() for _ in range(KEYS_IN_USE)]

    def _new(self) -> str:
        name = next(self._names)
        self._all.append(name)
        self._writes[name] = 0
        if not self._is_list and self._dice.random() < 0.5:
            self.initial[name] = 0
        return name

    def look(self) -> PlannedStep:
        return ToRead(self._dice.choice(self._in_use), self._is_list)

    def steps(self) -> list[PlannedStep]:
        draw = self._dice.random()
        if draw < 0.4:
            return [self.look()]
        place = self._dice.randrange(len(self._in_use))
        key = self._in_use[place]
        self._writes[key] += 1
        if self._writes[key] >= WRITES_PER_KEY:
            self._in_use[place] = self._new()
        value = next(self._values)
        change: PlannedStep = Append(key, value) if self._is_list else Write(key, value)
        return [ToRead(key, self._is_list), change] if draw < 0.65 else [change]

    def last_look(self) -> Iterator[PlannedStep]:
        return (ToRead(key, self._is_list) for key in self._all)


class _Groups:
    """Keys side by side, of which some are there and some are not."""

    def __init__(self, dice: random.Random) -> None:
        self.initial: dict[str, Value] = {}
        self._dice = dice
        self._numbers = itertools.count()
        self._values = itertools.count(1)
        self._may_delete: set[str] = set()
        self._all: list[str] = []
        self._writes: dict[str, int] = {}
        self._in_use = [self._new() for _ in range(GROUPS_IN_USE)]

    def _new(self) -> str:
        group = f"g{next(self._numbers)}"
        self._all.append(group)
        self._writes[group] = 0
        for letter in LETTERS:
            if self._dice.random() < 0.5:
                self.initial[group + letter] = 0
                self._may_delete.add(group + letter)
        return group

    def look(self) -> PlannedStep:
        group = self._dice.choice(self._in_use)
        if self._dice.random() < 0.25:
            return ToRead(group + self._dice.choice(LETTERS))
        if self._dice.random() < 0.3:
            return _whole(group)
        lo, hi = sorted(self._dice.sample(LETTERS + END_LETTER, 2))
        return ToScan(group + lo, group + hi)

    def steps(self) -> list[PlannedStep]:
        if self._dice.random() < 0.55:
            return [self.look()]
        place = self._dice.randrange(len(self._in_use))
        group = self._in_use[place]
        self._writes[group] += 1
        if self._writes[group] >= WRITES_PER_GROUP:
            self._in_use[place] = self._new()
        key = group + self._dice.choice(LETTERS)
        if key in self._may_delete and self._dice.random() < 0.4:
            self._may_delete.discard(key)
            return [Write(key, None)]
        return [Write(key, next(self._values))]

    def last_look(self) -> Iterator[PlannedStep]:
        return map(_whole, self._all)


def _whole(group: str) -> ToScan:
    return ToScan(group + LETTERS[0], group + END_LETTER)
