"""Two judges that share no code must agree: the cycle checker, and trying every serial order.

Thousands of tiny random histories, most of them nonsense as a broken database would show it:
a history has a serial order that keeps the version orders exactly when the checker finds nothing.
"""

from __future__ import annotations

import random

import pytest

from ferrisdb.isolation.checker import check
from ferrisdb.isolation.history import (
    Append,
    History,
    Operation,
    Outcome,
    RangeRead,
    Read,
    TransactionRecord,
    Value,
    Write,
)
from ferrisdb.isolation.phenomena import Anomaly
from ferrisdb.isolation.serial_orders import serial_order

HISTORIES = 6000
INITIAL: dict[str, Value] = {"x": 0}
REGISTERS = ("x", "y")


class Maker:
    """Makes one history: an interleaving that reads the newest value most of the time."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.values: dict[str, list[Value]] = {"x": [0], "y": [None]}
        self.elements: list[int] = []
        self.next_value = 1
        self.may_delete = True
        self.sloppiness = dice.choice([0.0, 0.1, 0.4])

    def make(self) -> History:
        count = self.dice.choice([2, 2, 3, 3, 4])
        steps = [number for number in range(1, count + 1) for _ in range(self.dice.randrange(1, 4))]
        self.dice.shuffle(steps)
        operations: dict[int, list[Operation]] = {number: [] for number in range(1, count + 1)}
        own: dict[int, dict[str, Value]] = {number: {} for number in operations}
        for number in steps:
            operations[number].append(self.operation(own[number]))
        order = (
            self.dice.sample(range(1, count + 1), count) if self.dice.random() < 0.5 else range(1, count + 1)
        )
        outcomes = {
            number: Outcome.ABORTED if self.dice.random() < 0.1 else Outcome.COMMITTED
            for number in operations
        }
        records = [
            TransactionRecord(number, tuple(operations[number]), outcomes[number], commit_order=place)
            for place, number in enumerate(order)
        ]
        return History(tuple(records), INITIAL)

    def operation(self, own: dict[str, Value]) -> Operation:
        kind = self.dice.choice("rrwwsla")
        key = self.dice.choice(REGISTERS)
        if kind == "r":
            return Read(key, self.seen(key, own))
        if kind == "s":
            pairs = [(each, self.seen(each, own)) for each in REGISTERS]
            return RangeRead("a", "z~", tuple((each, value) for each, value in pairs if value is not None))
        if kind == "w":
            return Write(key, self.written(key, own))
        if kind == "a":
            self.elements.append(self.next_value)
            self.next_value += 1
            return Append("~l", self.elements[-1])
        shown = list(self.elements)
        if shown and self.dice.random() < self.sloppiness + 0.2:
            shown = shown[: self.dice.randrange(len(shown) + 1)]
        if self.dice.random() < self.sloppiness / 2:
            self.dice.shuffle(shown)
        return Read("~l", tuple(shown))

    def seen(self, key: str, own: dict[str, Value]) -> Value:
        if self.dice.random() < self.sloppiness:
            return self.dice.choice(self.values[key])
        return own.get(key, self.values[key][-1]) if key in own else self.values[key][-1]

    def written(self, key: str, own: dict[str, Value]) -> Value:
        # Of x alone, and once: a read that finds nothing is then a read of this one absence.
        if key == "x" and self.may_delete and self.dice.random() < 0.3:
            self.may_delete = False
            value = None
        else:
            value = self.next_value
            self.next_value += 1
        self.values[key].append(value)
        own[key] = value
        return value


def with_its_version_orders(history: History) -> History:
    """The order of commits, said key by key, as the oracle wants it."""
    committed = sorted(
        (each for each in history.transactions if each.outcome is Outcome.COMMITTED),
        key=lambda each: each.commit_order or 0,
    )
    orders: dict[str, tuple[int, ...]] = {}
    for key in REGISTERS:
        writers = [
            each.id
            for each in committed
            if any(isinstance(step, Write) and step.key == key for step in each.operations)
        ]
        if writers:
            orders[key] = tuple(writers)
    return History(history.transactions, INITIAL, orders)


def appends_nobody_saw(history: History) -> bool:
    """Then the checker orders them by their commits, and the oracle has no order for them."""
    seen: set[int] = set()
    appended: set[int] = set()
    for each in history.transactions:
        if each.outcome is not Outcome.COMMITTED:
            continue
        for step in each.operations:
            if isinstance(step, Append):
                appended.add(step.element)
            elif isinstance(step, Read) and isinstance(step.value, tuple):
                seen.update(step.value)
    return not appended <= seen


def test_the_checker_and_the_oracle_agree_on_every_history() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    serializable = 0
    for _ in range(HISTORIES):
        history = with_its_version_orders(Maker(dice).make())
        while appends_nobody_saw(history):
            history = with_its_version_orders(Maker(dice).make())
        order = serial_order(history, keeps_version_orders=True)
        findings = check(history)
        serializable += order is not None
        assert (order is not None) == (findings == []), f"seed {seed}\n{history}\n{order}\n" + "\n".join(
            each.explain(history) for each in findings
        )
    assert HISTORIES / 20 < serializable < HISTORIES * 19 / 20, "the histories are all of one kind"


@pytest.mark.parametrize("commit_orders_known", [True, False])
def test_what_the_checker_finds_is_real_also_where_it_must_infer(commit_orders_known: bool) -> None:
    """Without version orders it may miss something. What it does find no serial order explains."""
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    found = 0
    for _ in range(HISTORIES // 3):
        made = Maker(dice).make()
        records = made.transactions
        if not commit_orders_known:
            records = tuple(
                TransactionRecord(each.id, each.operations, each.outcome) for each in made.transactions
            )
        history = History(records, INITIAL)
        findings = check(history)
        cycles = [each for each in findings if each.cycle]
        found += bool(findings)
        if not commit_orders_known and findings:
            assert serial_order(history) is None, f"seed {seed}\n{history}\n{findings}"
        for each in cycles:
            assert len(set(each.transactions)) == len(each.transactions), "a cycle visits nobody twice"
            ends = [edge.target for edge in each.cycle]
            assert ends == [*each.transactions[1:], each.transactions[0]], "an edge begins where one ended"
    assert found


def test_of_every_anomaly_some_history_was_made() -> None:
    dice = random.Random(4)
    named: set[Anomaly] = set()
    for _ in range(HISTORIES):
        named.update(each.anomaly for each in check(Maker(dice).make()))
    # These need moments in time, more transactions than fit a brute force, or ranges of no shape.
    assert named >= set(Anomaly) - {
        Anomaly.STALE_READ,
        Anomaly.G_SI,
        Anomaly.LOST_WRITE,
        Anomaly.MISSHAPEN_RANGE,
        Anomaly.LONG_FORK,
        Anomaly.G_NONADJACENT,
        Anomaly.READ_ONLY,
        Anomaly.THIN_AIR,
    }
