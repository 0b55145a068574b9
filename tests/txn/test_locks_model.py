"""The lock table against a model: random requests of a few owners, on a few keys and ranges.

Nobody sleeps here: a request that would go to sleep is put aside, and a timeout is a call. So
one thread drives everything, and a seed repeats it exactly.

The model knows who holds what and who waits for what, in the order they came. A key k is the
range [k, k + 1). After every step must hold:

    no two owners hold what does not go together
    nobody waits without a reason: a holder in the way, or somebody who came first
    the waits form no circle: a request that would close one was refused, and no other was
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ferrisdb import errors
from ferrisdb.txn.api import LockMode, Waiting
from ferrisdb.txn.deadlocks import endless_path
from ferrisdb.txn.locks import LockOwner, LockTable, Waiter
from ferrisdb.txn.range_locks import RangeWaiter

OWNERS, KEYS, STEPS = 6, 4, 400


class Asleep(Exception):
    """What a request ends in that would go to sleep."""


class SleeplessTable(LockTable):
    def _sleep(self, waiter: Waiter | RangeWaiter) -> None:
        raise Asleep


@dataclass(eq=False)
class Request:
    owner: LockOwner
    lo: int
    hi: int
    mode: LockMode
    is_key: bool
    waiter: Waiter | RangeWaiter | None = None

    def meets(self, other: Request) -> bool:
        return self.lo < other.hi and other.lo < self.hi

    def conflicts(self, other: Request) -> bool:
        both_share = self.mode is other.mode is LockMode.SHARE
        return self.owner is not other.owner and self.meets(other) and not both_share

    def __str__(self) -> str:
        return f"T{self.owner.id} [{self.lo}, {self.hi}) {self.mode.value}"


class Model:
    def __init__(self) -> None:
        self.held: list[Request] = []
        self.waiting: list[Request] = []

    def in_the_way(self, request: Request) -> Iterator[Request]:
        return (each for each in self.held if each.conflicts(request))

    def came_first(self, request: Request) -> Iterator[Request]:
        """Who waits already and goes first: all for the same key, and every range that meets it."""
        for each in self.waiting:
            if each is request:
                return
            is_in_front = not each.is_key or (request.is_key and each.lo == request.lo)
            if is_in_front and each.owner is not request.owner and each.meets(request):
                yield each

    def blockers(self, owner: LockOwner) -> Iterator[LockOwner]:
        for request in self.waiting:
            if request.owner is owner:
                yield from (each.owner for each in (*self.in_the_way(request), *self.came_first(request)))

    def shares(self, request: Request) -> bool:
        return any(
            each.owner is request.owner and each.is_key and request.is_key and each.lo == request.lo
            for each in self.held
        )

    def put_in_queue(self, request: Request) -> None:
        """Who shares the key already and wants it whole goes before all."""
        self.waiting.insert(0 if self.shares(request) else len(self.waiting), request)

    def closes_a_circle(self, request: Request) -> bool:
        self.put_in_queue(request)
        try:
            return endless_path(request.owner, self.blockers) is not None
        finally:
            self.waiting.remove(request)


def key(number: int) -> bytes:
    return bytes([number])


class Lab:
    """One table and its model, driven by dice."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.table = SleeplessTable(lambda: 0)
        self.model = Model()
        self.next_id = 0
        self.owners = [self.new_owner() for _ in range(OWNERS)]
        self.seen = dict.fromkeys(("asleep", "deadlock", "skipped", "timeout", "woken", "went first"), 0)

    def new_owner(self) -> LockOwner:
        self.next_id += 1
        owner = LockOwner(self.next_id)
        owner.thread_id = -self.next_id  # A thread of its own.
        owner.lock_timeout_s = 1.0
        return owner

    def step(self) -> None:
        index = self.dice.randrange(OWNERS)
        owner = self.owners[index]
        if owner.waiting is not None:
            if self.dice.random() < 0.3:
                self.time_out(owner)
        elif self.dice.random() < 0.25:
            self.end(index)
        else:
            self.ask(owner)
        self.take_note_of_grants()
        self.check()

    def ask(self, owner: LockOwner) -> None:
        lo = self.dice.randrange(KEYS)
        if self.dice.random() < 0.15:
            request = Request(
                owner, lo, self.dice.randrange(lo + 1, KEYS + 1), LockMode.EXCLUSIVE, is_key=False
            )
            waiting = Waiting.WAIT
        else:
            mode = self.dice.choice(list(LockMode))
            request = Request(owner, lo, lo + 1, mode, is_key=True)
            waiting = self.dice.choice([Waiting.WAIT, Waiting.WAIT, Waiting.NOWAIT, Waiting.SKIP_LOCKED])
        before = self.contents()
        holders = list(self.model.in_the_way(request))
        try:
            if request.is_key:
                has_it = self.table.acquire(owner, key(lo), request.mode, waiting)
            else:
                self.table.acquire_range(owner, key(lo), key(request.hi))
                has_it = True
        except Asleep:
            self.seen["asleep"] += 1
            request.waiter = owner.waiting
            self.model.put_in_queue(request)
            return
        except errors.DeadlockDetected:
            self.seen["deadlock"] += 1
            assert holders, f"{request} was refused, and only those who wait were in front"
            assert self.model.closes_a_circle(request), f"{request} was refused without a circle"
            assert self.contents() == before, "a refused request left something behind"
            return
        except errors.LockNotAvailable:
            assert waiting is Waiting.NOWAIT
            has_it = False
        if has_it:
            if not holders and any(True for _ in self.model.came_first(request)):
                self.seen["went first"] += 1
                is_within_own = any(each.owner is owner and each.meets(request) for each in self.model.held)
                assert is_within_own or self.model.closes_a_circle(request), f"{request} went first"
            self.model.held.append(request)
        else:
            self.seen["skipped"] += 1
            assert holders or any(True for _ in self.model.came_first(request)), f"{request} was free"
            assert self.contents() == before, "a request that does not wait left something behind"

    def time_out(self, owner: LockOwner) -> None:
        self.seen["timeout"] += 1
        (request,) = (each for each in self.model.waiting if each.owner is owner)
        assert request.waiter is not None
        with pytest.raises(errors.LockNotAvailable):
            self.table._give_up(request.waiter)
        self.model.waiting.remove(request)
        assert owner.waiting is None
        assert request.waiter not in self.waiters_of_table()

    def end(self, index: int) -> None:
        owner = self.owners[index]
        self.table.release_all(owner, None)
        self.model.held = [each for each in self.model.held if each.owner is not owner]
        self.model.waiting = [each for each in self.model.waiting if each.owner is not owner]
        self.owners[index] = self.new_owner()

    def take_note_of_grants(self) -> None:
        for request in list(self.model.waiting):
            assert request.waiter is not None
            if request.waiter.gate.acquire(blocking=False):
                self.seen["woken"] += 1
                # A timeout that comes just now comes too late: the lock is held.
                self.table._give_up(request.waiter)
                left_behind = [each for each in self.model.came_first(request) if each in self.model.waiting]
                assert not left_behind, f"{request} overtook {left_behind[0]}"
                self.model.waiting.remove(request)
                self.model.held.append(request)

    def check(self) -> None:
        for one in self.model.held:
            clash = next(self.model.in_the_way(one), None)
            assert clash is None, f"{one} beside {clash}"
        for request in self.model.waiting:
            assert any(True for _ in self.model.blockers(request.owner)), f"{request} waits for nobody"
        for owner in self.owners:
            path = endless_path(owner, self.model.blockers)
            assert path is None, f"asleep for ever: {[each.id for each in path or ()]}"
        asleep = [request.waiter for request in self.model.waiting]
        assert sorted(map(id, asleep)) == sorted(map(id, self.waiters_of_table()))

    def waiters_of_table(self) -> list[Waiter | RangeWaiter]:
        queues = self.table._queues.values()
        assert all(queues), "an empty queue stays behind"
        return [*self.table._ranges.waiting, *(waiter for queue in queues for waiter in queue)]

    def contents(self) -> object:
        table = self.table
        return (
            dict(table._exclusive),
            {shared: set(owners) for shared, owners in table._shared.items()},
            {queued: list(queue) for queued, queue in table._queues.items()},
            list(table._ranges.held),
            list(table._ranges.waiting),
        )


def test_whatever_is_asked_the_table_does_as_the_model_says() -> None:
    base = random.randrange(2**32)
    total: dict[str, int] = {}
    for seed in range(base, base + 40):
        lab = Lab(seed)
        for step in range(STEPS):
            try:
                lab.step()
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, step {step}: {error}") from error
        for index in range(OWNERS):
            lab.end(index)
            lab.take_note_of_grants()
        while lab.model.held:
            lab.end(next(i for i, owner in enumerate(lab.owners) if owner is lab.model.held[0].owner))
            lab.take_note_of_grants()
        assert lab.contents() == ({}, {}, {}, [], []), f"seed {seed}: something stays behind"
        total = {word: total.get(word, 0) + count for word, count in lab.seen.items()}
    print(f"seeds {base}..{base + 39}:", total)
    assert all(total.values()), f"the dice left something out: {total}"
