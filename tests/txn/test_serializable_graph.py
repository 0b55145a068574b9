"""The graph against the whole truth: all edges of all that ever committed, nothing forgotten.

Random transactions run through a store. Beside it the test writes down what each read and wrote,
and between which commits. From that it draws the graph of all of them by the definition, edge by
edge. Then the store must have refused a transaction exactly where it would have closed a cycle.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ferrisdb import errors
from ferrisdb.txn import serializable_footprint, serializable_graph
from ferrisdb.txn.api import IsolationLevel, LockMode
from ferrisdb.txn.local import LocalStore
from ferrisdb.txn.local_transaction import LocalTransaction

SERIALIZABLE = IsolationLevel.SERIALIZABLE
KEYS = [b"%02d" % number for number in range(20)]


@dataclass(eq=False)
class Past:
    """One transaction, as the test knows it. Ranges are spelled out as the keys in them."""

    transaction: LocalTransaction
    snapshot: int = -1
    committed_at: int = 0
    reads: set[bytes] = field(default_factory=set)
    writes: set[bytes] = field(default_factory=set)

    def comes_before(self, other: Past) -> bool:
        """By the definition of wr, ww and rw, for two that have committed."""
        if self.writes and self.committed_at <= other.snapshot and self.writes & (other.reads | other.writes):
            return True
        return bool(self.reads & other.writes) and other.committed_at > self.snapshot


def has_cycle_through(start: Past, others: list[Past]) -> bool:
    seen: set[Past] = set()
    frontier = [start]
    while frontier:
        current = frontier.pop()
        for other in [start, *others]:
            if other is not current and current.comes_before(other):
                if other is start:
                    return True
                if other not in seen:
                    seen.add(other)
                    frontier.append(other)
    return False


class World:
    def __init__(self, dice: random.Random, width: int, slow: int = 0) -> None:
        """`width` transactions are open at a time, of which `slow` rarely do something."""
        self.slow = slow
        self.dice = dice
        self.store = LocalStore.in_memory()
        self.width = width
        self.open: list[Past] = []
        self.committed: list[Past] = []
        self.refused = 0
        self.needless = 0
        self.most_nodes = 0

    def step(self) -> None:
        while len(self.open) < self.width:
            self.open.append(Past(self.store.begin(SERIALIZABLE, read_only=self.dice.random() < 0.2)))
        past = self.open[0] if self.dice.random() < 0.05 else self.dice.choice(self.open[self.slow :])
        try:
            self.act(past)
        except errors.LockNotAvailable:
            self.end(past)  # Everything runs in one thread: nobody can be waited for.
        except errors.SerializationFailure:
            self.open.remove(past)
        self.most_nodes = max(self.most_nodes, self.store._graph.node_count)

    def act(self, past: Past) -> None:
        transaction, dice = past.transaction, self.dice
        kinds = ["get", "get", "scan", "scan back"]
        if not transaction.is_read_only:
            kinds += ["put", "put", "put", "put", "delete range", "lock", "undone"]
        if past not in self.open[: self.slow] or dice.random() < 0.3:
            kinds += ["commit", "commit", "commit"]
        kind = dice.choice(kinds)
        place = dice.randrange(len(KEYS) - 3)
        few = KEYS[place : place + dice.randrange(1, 4)]
        if kind == "put":
            # First updater wins, which is not the matter here, would end most of them.
            few = [key for key in KEYS if self.may_write(past, key)][:: dice.choice([1, -1])]
            few = few[dice.randrange(len(few)) :] if few else KEYS[:1]
        if kind == "commit":
            self.commit(past)
            return
        if kind == "get":
            transaction.get(few[0])
            past.reads |= {few[0]} - past.writes
        elif kind.startswith("scan"):
            past.reads |= self.scan(transaction, few[0], few[-1] + b"\0", kind == "scan back")
        elif kind == "put":
            transaction.put(few[0], b"")
            past.writes.add(few[0])
        elif kind == "lock":
            transaction.lock([few[0]], LockMode.EXCLUSIVE)
            past.reads |= {few[0]} - past.writes
        elif kind == "delete range":
            transaction.delete_range(few[0], few[-1] + b"\0")
            past.writes |= set(few)
        else:
            point = transaction.savepoint()
            transaction.get(few[-1])
            transaction.put(few[0], b"undone")
            transaction.rollback_to(point)
            past.reads |= {few[-1]} - past.writes
        past.snapshot = transaction.snapshot or 0

    def may_write(self, past: Past, key: bytes) -> bool:
        held = any(key in other.writes for other in self.open if other is not past)
        changed = any(
            key in other.writes for other in self.committed if other.committed_at > past.snapshot >= 0
        )
        return not held and not changed

    def scan(self, transaction: LocalTransaction, lo: bytes, hi: bytes, is_reverse: bool) -> set[bytes]:
        """The keys that it has looked at, present or not."""
        limit = self.dice.choice([None, 0, 1, 2])
        found = [key for key, _ in transaction.scan(lo, hi, reverse=is_reverse, limit=limit)]
        if limit == 0:
            return set()
        if limit is not None and len(found) == limit:
            lo, hi = (found[-1], hi) if is_reverse else (lo, found[-1] + b"\0")
        return {key for key in KEYS if lo <= key < hi}

    def commit(self, past: Past) -> None:
        self.open.remove(past)
        try:
            token = past.transaction.commit()
            is_refused = False
        except errors.SerializationFailure as error:
            assert error.conflict is not None
            assert error.conflict.kind == "cycle"
            assert error.conflict.steps[0].from_transaction == past.transaction.id
            assert error.conflict.steps[-1].to_transaction == past.transaction.id
            is_refused = True
            token = 10**9  # It would have been the last.
        past.snapshot = past.transaction.snapshot or 0
        past.committed_at = int(token)
        is_cycle = has_cycle_through(past, self.committed)
        if is_refused:
            self.refused += 1
            self.needless += not is_cycle
        else:
            assert not is_cycle, "a cycle was let through"
            self.committed.append(past)

    def end(self, past: Past) -> None:
        self.open.remove(past)
        past.transaction.rollback()

    def finish(self) -> None:
        for past in list(self.open):
            self.end(past)
        assert self.store._graph.node_count == 0, "what nobody can meet any more is forgotten"
        assert not self.store._graph._snapshots
        self.store.close()


@pytest.fixture
def dice() -> random.Random:
    seed = random.randrange(2**32)
    print("seed", seed)
    return random.Random(seed)


@pytest.mark.parametrize(("width", "slow"), [(3, 0), (3, 1), (4, 2), (6, 0), (6, 2), (12, 0)])
def test_a_transaction_is_refused_exactly_where_it_closes_a_cycle(
    dice: random.Random, width: int, slow: int
) -> None:
    refused = 0
    for _ in range(20):
        world = World(dice, width, slow)
        for _ in range(250):
            world.step()
        world.finish()
        assert world.needless == 0
        refused += world.refused
    assert refused > 0


@pytest.mark.parametrize(("width", "slow"), [(3, 1), (4, 2), (5, 0)])
def test_it_is_so_with_a_sweep_at_every_end(
    dice: random.Random, monkeypatch: pytest.MonkeyPatch, width: int, slow: int
) -> None:
    monkeypatch.setattr(serializable_graph, "_FIRST_SWEEP", 0)
    for _ in range(20):
        world = World(dice, width, slow)
        for _ in range(250):
            world.step()
            world.store._graph._sweep_at = 0
        world.finish()
        assert world.needless == 0


def test_with_little_room_no_cycle_gets_through_either(
    dice: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limits it may refuse for nothing: what is kept of the old is kept in few words."""
    monkeypatch.setattr(serializable_graph, "_FIRST_SWEEP", 0)
    monkeypatch.setattr(serializable_graph, "MAX_NODES", 6)
    monkeypatch.setattr(serializable_graph, "MAX_SUMMARY_RANGES", 2)
    monkeypatch.setattr(serializable_footprint, "MAX_READ_KEYS", 2)
    monkeypatch.setattr(serializable_footprint, "MAX_READ_RANGES", 2)
    monkeypatch.setattr(serializable_footprint, "MAX_WRITTEN_KEYS", 2)
    needless = 0
    for width, slow in [(8, 0), (3, 1), (4, 2), (8, 2)] * 5:
        world = World(dice, width, slow)
        for _ in range(250):
            world.step()
            world.store._graph._sweep_at = 0
        world.finish()
        assert world.most_nodes < 20
        needless += world.needless
    assert needless > 0


# --- what may be forgotten, one case each


def reading(store: LocalStore, *keys: bytes) -> LocalTransaction:
    transaction = store.begin(SERIALIZABLE)
    for key in keys:
        transaction.get(key)
    return transaction


def write(transaction: LocalTransaction, *keys: bytes) -> None:
    for key in keys:
        transaction.put(key, b"")
    transaction.commit()


@pytest.fixture
def sweeping(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalStore]:
    """A store that looks at every end what it can forget."""
    monkeypatch.setattr(serializable_graph, "_FIRST_SWEEP", 0)
    store = LocalStore.in_memory()
    store._graph._sweep_at = 0
    yield store
    store.close()


@pytest.mark.parametrize("room", [100, 1], ids=["room", "one node for all"])
def test_those_to_which_younger_ones_lead_are_not_forgotten(
    sweeping: LocalStore, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """N5 leads to N4 and N4 to N3, both committed before T began; and N3 leads to T."""
    monkeypatch.setattr(serializable_graph, "MAX_NODES", room)
    n4, n5 = reading(sweeping, b"z"), reading(sweeping, b"x")
    write(reading(sweeping), b"z")  # N3
    write(n4, b"x")
    t = reading(sweeping, b"z", b"y")
    sweeping._graph._sweep_at = 0
    write(n5, b"y")
    sweeping._graph._sweep_at = 0
    reading(sweeping, b"unrelated").commit()
    with pytest.raises(errors.SerializationFailure):
        t.commit()


def test_of_two_that_do_not_know_each_other_both_lead_to_the_newcomer(sweeping: LocalStore) -> None:
    t = reading(sweeping, b"p")
    write(reading(sweeping), b"p", b"q")
    write(reading(sweeping), b"r")
    write(reading(sweeping, b"q", b"r", b"w"), b"z")
    with pytest.raises(errors.SerializationFailure):
        write(t, b"w")


def test_who_led_to_one_of_several_leads_to_what_stands_for_them(
    sweeping: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serializable_graph, "MAX_NODES", 2)
    pin, n = reading(sweeping, b"pin"), reading(sweeping, b"x")
    write(reading(sweeping), b"x")
    write(reading(sweeping), b"filler")
    t = reading(sweeping, b"x", b"y")
    sweeping._graph._sweep_at = 0
    write(n, b"y")
    assert [node.transaction_id for node in sweeping._graph._kept.nodes].count(None) == 1
    with pytest.raises(errors.SerializationFailure):
        t.commit()
    pin.commit()


def test_what_stands_for_several_leads_where_each_of_them_led(
    sweeping: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serializable_graph, "MAX_NODES", 2)
    t = reading(sweeping, b"p")
    write(reading(sweeping), b"p", b"q")
    sweeping._graph._sweep_at = 0
    write(reading(sweeping), b"filler")
    sweeping._graph._sweep_at = 0
    write(reading(sweeping, b"q", b"w"), b"z")
    assert [node.transaction_id for node in sweeping._graph._kept.nodes].count(None) == 1
    with pytest.raises(errors.SerializationFailure) as caught:
        write(t, b"w")
    assert caught.value.conflict is not None
    assert [step.to_transaction for step in caught.value.conflict.steps] == [None, 4, 1]


# --- joining neighbours


def keys_in(span: tuple[bytes, bytes | None]) -> Iterator[bytes]:
    lo, hi = span
    yield from (key for key in KEYS if lo <= key and (hi is None or key < hi))


def test_joining_forgets_nothing_and_leaves_the_widest_gaps_open(dice: random.Random) -> None:
    for _ in range(300):
        spans: list[tuple[bytes, bytes | None]] = []
        for _ in range(dice.randrange(1, 8)):
            lo = dice.choice(KEYS)
            spans.append((lo, dice.choice([lo + b"\0", b"%02d" % (int(lo) + dice.randrange(1, 4)), None])))
        limit = dice.randrange(1, 5)
        joined = serializable_footprint._joined(spans, limit)
        assert len(joined) <= limit
        assert {key for span in spans for key in keys_in(span)} <= {
            key for span in joined for key in keys_in(span)
        }
    far = [b"table1" + key for key in KEYS[:12]] + [b"table2" + key for key in KEYS[:12]]
    joined = serializable_footprint._joined([(key, key + b"\0") for key in far], 2)
    assert joined == [(far[0], far[11] + b"\0"), (far[12], far[-1] + b"\0")]


def test_what_a_footprint_shares_with_a_range_is_found_wherever_it_lies(dice: random.Random) -> None:
    def span() -> tuple[bytes, bytes | None]:
        lo = dice.choice(KEYS)
        return lo, dice.choice([lo + b"\0", b"%02d" % (int(lo) + dice.randrange(1, 6)), None])

    for _ in range(2000):
        keys = dict.fromkeys(dice.sample(KEYS, dice.randrange(3)), 0)
        own = [span() for _ in range(dice.randrange(5))]
        footprint = serializable_footprint.Footprint(keys, dict.fromkeys(own, 0))
        asked = span()
        covered = set(keys).union(*map(keys_in, own))
        found = footprint.first_in(*asked)
        assert (found is not None) is bool(covered.intersection(keys_in(asked)))
        if found is not None:
            assert set(keys_in(found)) <= covered.intersection(keys_in(asked))


def test_an_ingest_is_a_writer_in_the_graph(tmp_path: Path) -> None:
    store = LocalStore.open(str(tmp_path / "db"))
    tx = store.begin(SERIALIZABLE)
    assert tx.get(b"b") is None
    tx.put(b"x", b"1")
    other = store.begin(SERIALIZABLE)
    other.get(b"x")
    store.ingest([(b"a", b"1"), (b"c", b"1")])
    follower = store.begin(SERIALIZABLE)
    assert follower.get(b"c") == b"1"
    assert follower.get(b"x") is None
    follower.commit()
    assert store._graph.node_count == 2
    # It comes before the ingest, whose range it has read; the ingest before the follower, and the
    # follower before it.
    with pytest.raises(errors.SerializationFailure) as caught:
        tx.commit()
    assert caught.value.conflict is not None
    assert [step.kind for step in caught.value.conflict.steps] == ["rw", "wr", "rw"]
    other.commit()
    assert store._graph.node_count == 0
    store.close()
