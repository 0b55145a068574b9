"""Every interleaving of small serializable transactions, judged by trying all serial orders.

What each transaction read, and what is there at the end, must come out the same when those that
committed run one after the other in some order. Nothing is known here of how the store decides;
the judge runs the programs on a dict.

The other way round it is counted how often the store refused where letting all commit would have
been fine. First updater wins refuses for a write after the snapshot, cycle or no cycle; the check
at commit must not refuse for nothing.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

import pytest

from ferrisdb import errors
from ferrisdb.txn.api import IsolationLevel, Transaction
from ferrisdb.txn.local import LocalStore

SERIALIZABLE = IsolationLevel.SERIALIZABLE
START = {b"a": b"0", b"b": b"0"}
RANGE = (b"a", b"z")

Step = tuple[str, bytes]
READS: list[Step] = [("get", b"a"), ("get", b"b"), ("get", b"c"), ("scan", b"")]
WRITES: list[Step] = [("put", b"a"), ("put", b"b"), ("put", b"c"), ("delete", b"a"), ("delete range", b"")]
Program = tuple[Step, ...]
Seen = tuple[object, ...]


def run_step(step: Step, transaction: Transaction, name: str) -> object:
    kind, key = step
    if kind == "get":
        return transaction.get(key)
    if kind == "scan":
        return tuple(transaction.scan(*RANGE))
    if kind == "put":
        transaction.put(key, name.encode())
    elif kind == "delete":
        transaction.delete(key)
    else:
        transaction.delete_range(*RANGE)
    return None


def run_on_dict(program: Program, rows: dict[bytes, bytes], name: str) -> Seen:
    seen: list[object] = []
    for kind, key in program:
        found: object = None
        if kind == "get":
            found = rows.get(key)
        elif kind == "scan":
            found = tuple(sorted(rows.items()))
        elif kind == "put":
            rows[key] = name.encode()
        elif kind == "delete":
            rows.pop(key, None)
        else:
            rows.clear()
        seen.append(found)
    return tuple(seen)


def is_serializable(programs: dict[str, Program], seen: dict[str, Seen], rows: dict[bytes, bytes]) -> bool:
    """Whether some serial order of those in `seen` shows each what it saw, and leaves `rows`."""
    for order in itertools.permutations(seen):
        model = dict(START)
        if all(run_on_dict(programs[name], model, name) == seen[name] for name in order) and model == rows:
            return True
    return False


class Outcome:
    def __init__(self) -> None:
        self.seen: dict[str, Seen] = {}
        """Of those that committed."""
        self.refused_for_a_cycle: list[str] = []
        self.rows: dict[bytes, bytes] = {}


def play(programs: dict[str, Program], schedule: Sequence[str], level: IsolationLevel) -> Outcome | None:
    """Run it on a new store. None when a step would wait: the schedule is not possible."""
    store = LocalStore.in_memory()
    try:
        writer = store.begin()
        for key, value in START.items():
            writer.put(key, value)
        writer.commit()
        open_ones = {name: store.begin(level) for name in programs}
        positions = dict.fromkeys(programs, 0)
        seen: dict[str, list[object]] = {name: [] for name in programs}
        outcome = Outcome()
        for name in schedule:
            transaction = open_ones.get(name)
            if transaction is None:
                continue
            try:
                if positions[name] < len(programs[name]):
                    seen[name].append(run_step(programs[name][positions[name]], transaction, name))
                    positions[name] += 1
                else:
                    transaction.commit()
                    outcome.seen[name] = tuple(seen[name])
            except errors.LockNotAvailable:
                return None  # All run in one thread: a wait would be for ever.
            except errors.SerializationFailure as error:
                del open_ones[name]
                if error.conflict is not None and error.conflict.kind == "cycle":
                    outcome.refused_for_a_cycle.append(name)
        outcome.rows = dict(store.begin().scan(b"", None))
        for transaction in open_ones.values():
            transaction.rollback()
        assert store._graph.node_count == 0
        return outcome
    finally:
        store.close()


def schedules(lengths: dict[str, int]) -> Iterator[tuple[str, ...]]:
    """All orders in which the steps, each program's in its own order, can follow one another."""
    if not lengths:
        yield ()
    for name, left in lengths.items():
        rest = {other: count for other, count in lengths.items() if other != name}
        if left > 1:
            rest[name] = left - 1
        for tail in schedules(rest):
            yield (name, *tail)


def judge(programs: dict[str, Program], schedule: Sequence[str]) -> tuple[int, int]:
    """How many were refused for a cycle, and how many of these for nothing."""
    outcome = play(programs, schedule, SERIALIZABLE)
    if outcome is None:
        return 0, 0
    assert is_serializable(programs, outcome.seen, outcome.rows), f"{programs} {schedule} {outcome.seen}"
    if len(outcome.refused_for_a_cycle) != 1:
        return len(outcome.refused_for_a_cycle), 0
    # At snapshot the same steps all go through, so what would have come of them is known.
    without = play(programs, schedule, IsolationLevel.SNAPSHOT)
    assert without is not None
    comparable = set(without.seen) == set(outcome.seen) | set(outcome.refused_for_a_cycle)
    return 1, int(comparable and is_serializable(programs, without.seen, without.rows))


def programs_of(length: int) -> list[Program]:
    """With at least one read and one write, or reads alone."""
    every = itertools.product(READS + WRITES, repeat=length)
    return [program for program in every if any(step in READS for step in program)]


def test_two_transactions_in_every_interleaving_have_a_serial_order(request: pytest.FixtureRequest) -> None:
    """Two steps each and a commit, all programs, all schedules; a third of them here."""
    pairs = list(itertools.combinations_with_replacement(programs_of(2), 2))
    seed = random.randrange(2**32)
    print("seed", seed)
    chosen = random.Random(seed).sample(pairs, 100)
    refused = needless = played = 0
    for first, second in chosen:
        programs = {"T1": first, "T2": second}
        for schedule in schedules({"T1": 3, "T2": 3}):
            cycles, for_nothing = judge(programs, schedule)
            refused, needless, played = refused + cycles, needless + for_nothing, played + 1
    print(f"{played} schedules, {refused} refused for a cycle, {needless} of them needlessly")
    assert refused > 0


def test_three_transactions_in_random_interleavings_have_a_serial_order() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    choices = programs_of(2)
    refused = needless = 0
    for _ in range(2000):
        programs = {name: dice.choice(choices) for name in ("T1", "T2", "T3")}
        schedule = ["T1"] * 3 + ["T2"] * 3 + ["T3"] * 3
        dice.shuffle(schedule)
        cycles, for_nothing = judge(programs, schedule)
        refused, needless = refused + cycles, needless + for_nothing
    print(f"{refused} refused for a cycle, {needless} of them needlessly")
    assert refused > 0
