"""All small transactions, and all ways to interleave them.

Two keys, one of which is there at first, and one range over both:

    x = 0, no y          r(x)  r(y)  w(x)  w(y)  s(x..z)        w(y) is a birth, s meets a phantom

    two transactions of four operations      195,625 sets x    252 interleavings =     49,297,500
    three transactions of three              333,375 sets x 34,650 interleavings = 11,551,443,750

Sets, since transactions have no order of their own. An interleaving is a row of numbers, whose
step is next; the step after the last operation is the commit.

Most interleavings of a set differ only in the order of steps that have nothing to do with each
other, as reads of different keys. Of all that can be turned into each other by exchanging such
neighbours one is kept: the one with the smallest numbers first, if possible (the lexicographic
normal form of a trace: Anisimov, Knuth, "Inhomogeneous Sorting", 1979). Which steps meet?

    two writes of one key           the second waits
    two commits, one of a change    the later is checked against the earlier
    the first step of a transaction and a commit of a change     it takes the snapshot
    with `reads_meet_writes`: a read and another's write or commit of a key that it reads

The last should make no difference under snapshots. Whoever leaves it out relies on that, and has
some 50 times fewer interleavings of three transactions to run.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement, islice, product

from ferrisdb.immutable import immutable
from ferrisdb.isolation.history import Value, Write
from ferrisdb.isolation.workload import Plan, PlannedStep, ToRead, ToScan

KEYS = ("x", "y")
RANGE = ("x", "z")
INITIAL: dict[str, Value] = {"x": 0}

Program = tuple[str, ...]
"""Operations by their short names."""
OPERATIONS: Program = ("r(x)", "r(y)", "w(x)", "w(y)", "s")
Schedule = tuple[int, ...]
ProgramSet = tuple[Program, ...]

SIZES = ((2, 4), (3, 3))
"""Transactions, and operations of each."""
SCHEDULES_PER_SET = 6


def all_programs(length: int) -> list[Program]:
    return list(product(OPERATIONS, repeat=length))


def all_sets(count: int, length: int) -> Iterator[ProgramSet]:
    """Every set of `count` programs of `length` operations, in which one may stand twice."""
    return combinations_with_replacement(all_programs(length), count)


def set_count(count: int, length: int) -> int:
    return math.comb(len(OPERATIONS) ** length + count - 1, count)


def interleaving_count(count: int, length: int) -> int:
    return math.factorial(count * (length + 1)) // int(math.factorial(length + 1) ** count)


def interleavings(lengths: Sequence[int]) -> Iterator[Schedule]:
    """All rows in which number i stands `lengths[i]` times."""
    if not any(lengths):
        yield ()
    for number, left in enumerate(lengths):
        if left:
            shorter = [*lengths[:number], left - 1, *lengths[number + 1 :]]
            for rest in interleavings(shorter):
                yield (number, *rest)


@immutable
class _Footprint:
    """Of one step. A commit writes what its transaction has written."""

    reads: frozenset[str]
    writes: frozenset[str]
    commits: bool
    takes_snapshot: bool

    def meets(self, other: _Footprint, reads_meet_writes: bool) -> bool:
        if self.writes & other.writes:
            return True
        if self.commits and (other.commits or other.takes_snapshot):
            return bool(self.writes or (other.commits and other.writes))
        if other.commits and self.takes_snapshot:
            return bool(other.writes)
        return reads_meet_writes and bool(self.writes & other.reads or other.writes & self.reads)


def distinct_interleavings(programs: Sequence[Program], *, reads_meet_writes: bool) -> Iterator[Schedule]:
    """One of all interleavings that differ only in the order of steps that do not meet."""
    steps = [_footprints(program) for program in programs]
    schedule: list[int] = []
    taken: list[_Footprint] = []
    places = [0] * len(programs)
    total = sum(map(len, steps))

    def could_go_earlier(number: int, step: _Footprint) -> bool:
        """Whether exchanges alone would bring it before a step of a larger number."""
        for earlier, other in zip(reversed(schedule), reversed(taken), strict=True):
            if earlier == number or step.meets(other, reads_meet_writes):
                return False
            if earlier > number:
                return True
        return False

    def extended() -> Iterator[Schedule]:
        if len(schedule) == total:
            yield tuple(schedule)
            return
        for number, place in enumerate(places):
            if place == len(steps[number]):
                continue
            step = steps[number][place]
            if could_go_earlier(number, step):
                continue
            schedule.append(number)
            taken.append(step)
            places[number] += 1
            yield from extended()
            places[number] -= 1
            schedule.pop()
            taken.pop()

    return extended()


def _footprints(program: Program) -> list[_Footprint]:
    footprints = []
    written: set[str] = set()
    for place, operation in enumerate(program):
        reads = set(KEYS) if operation == "s" else {operation[2]} if operation[0] == "r" else set()
        writes = {operation[2]} if operation[0] == "w" else set()
        written |= writes
        footprints.append(_Footprint(frozenset(reads), frozenset(writes), False, place == 0))
    return [*footprints, _Footprint(frozenset(), frozenset(written), True, False)]


def every_run(
    count: int, length: int, part: int = 1, parts: int = 1
) -> Iterator[tuple[ProgramSet, Schedule]]:
    """All sets in all interleavings that are not the same; of several parts one.

    Of two transactions, reads meet writes; of three they do not, or there would be too many.
    """
    for programs in islice(all_sets(count, length), part - 1, None, parts):
        for schedule in distinct_interleavings(programs, reads_meet_writes=count == 2):
            yield programs, schedule


def some_runs(count: int, length: int, runs: int, seed: int) -> Iterator[tuple[ProgramSet, Schedule]]:
    """A sample of all sets and all interleavings, a few interleavings of each set."""
    dice = random.Random(f"{count} {length} {seed}")
    known = all_programs(length)
    programs: ProgramSet = ()
    for number in range(runs):
        if number % SCHEDULES_PER_SET == 0:
            programs = tuple(dice.choices(known, k=count))
        schedule = [transaction for transaction in range(count) for _ in range(length + 1)]
        dice.shuffle(schedule)
        yield programs, tuple(schedule)


def plan_of(number: int, program: Program) -> Plan:
    """The program as transaction `number`. Its values say who wrote them, and where in the program."""
    return Plan(number, tuple(_step(each, 10 * number + place) for place, each in enumerate(program)))


def _step(operation: str, value: int) -> PlannedStep:
    if operation == "s":
        return ToScan(*RANGE)
    key = operation[2]
    return ToRead(key) if operation[0] == "r" else Write(key, value)
