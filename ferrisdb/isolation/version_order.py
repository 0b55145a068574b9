"""In which order the writes of each key took effect.

Adya's definitions need it, and no transaction is shown it. There are three sources, the best
that is there is taken for each key:

    x: T1 << T2      the history says so
    commit#1, #2     the database says in which order it committed; a version is installed at commit
    what was read    a list shows the order of all that was appended to it: [3,1,2].
                     a register shows less: who read 1 and then wrote 2 has put 2 after 1

A list can't lie: if the order of the elements and the order of commits differ, the elements
count. For a register whose writers are in no known order the result is a graph with gaps; an
edge that it has is real, and a cycle may be missed, never invented. This is how Elle infers
(Kingsbury, Alvaro, VLDB 2020, sections 4.3 and 5).

    number    0         1      2      3
    value     initial   3      1      2           of a list: its last element
    writer    -         T1     T2     T1
    after     [1]       [2]    [3]    []
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ferrisdb.isolation.history import INITIAL, Append, History, TransactionRecord, Value
from ferrisdb.isolation.observations import Observations


class KeyVersions:
    """The committed versions of one key, numbered; 0 is what was there before."""

    def __init__(self, key: str, initial: Value, *, is_list: bool) -> None:
        self.key = key
        self.is_list = is_list
        self.values: list[Value] = [initial]
        self.writers: list[int] = [INITIAL]
        self.after: list[list[int]] = [[]]
        self._number_of: dict[Value, int] = {} if initial is None else {initial: 0}
        self._absent: list[int] = [0] if initial is None else []

    def add(self, value: Value, writer: int) -> int:
        number = len(self.values)
        self.values.append(value)
        self.writers.append(writer)
        self.after.append([])
        if value is None:
            self._absent.append(number)
        else:
            self._number_of[value] = number
        return number

    def add_next(self, value: Value, writer: int) -> None:
        """A version that comes right after the last one."""
        last = len(self.values) - 1
        self.after[last].append(self.add(value, writer))

    def number(self, value: Value) -> int | None:
        """The version with this value. None when no committed transaction wrote it, and when
        it is absence, of which the key had more than one."""
        if value is not None:
            return self._number_of.get(value)
        return self._absent[0] if len(self._absent) == 1 else None

    @property
    def was_absent(self) -> bool:
        return bool(self._absent)


def order_versions(
    history: History, committed: Mapping[int, TransactionRecord], seen: Mapping[int, Observations]
) -> dict[str, KeyVersions]:
    """The versions of every key that a committed transaction read or wrote."""
    writers: dict[str, list[int]] = {}
    lists: set[str] = set()
    longest: dict[str, tuple[int, ...]] = {}
    keys: dict[str, None] = dict.fromkeys(history.initial)
    for number, transaction in committed.items():
        for key in seen[number].written:
            writers.setdefault(key, []).append(number)
        for key, value in seen[number].reads:
            keys[key] = None
            if isinstance(value, tuple):
                lists.add(key)
                if len(value) > len(longest.get(key, ())):
                    longest[key] = value
        lists.update(each.key for each in transaction.operations if isinstance(each, Append))
        for each, _ in seen[number].ranges:
            keys |= dict.fromkeys(key for key, _ in each.found)
    orders: dict[str, KeyVersions] = {}
    for key in {**keys, **writers}:
        versions = orders[key] = KeyVersions(key, history.initial.get(key), is_list=key in lists)
        ordered = _ordered(writers.get(key, []), history.version_orders.get(key), committed)
        if key in lists:
            _order_list(versions, longest.get(key, ()), ordered, writers.get(key, []), committed)
        elif ordered is not None:
            for number in ordered:
                versions.add_next(seen[number].written[key], number)
        else:
            _order_by_reads(versions, writers[key], seen)
    return orders


def _ordered(
    writers: list[int], told: tuple[int, ...] | None, committed: Mapping[int, TransactionRecord]
) -> list[int] | None:
    """The writers of a key in the order of their versions; None when it is not known."""
    if told is not None and set(told) >= set(writers):
        return [number for number in told if number in writers]
    if len(writers) <= 1:
        return writers
    orders = {number: committed[number].commit_order for number in writers}
    known = [(order, number) for number, order in orders.items() if order is not None]
    return [number for _, number in sorted(known)] if len(known) == len(writers) else None


def _order_list(
    versions: KeyVersions,
    longest: tuple[int, ...],
    ordered: list[int] | None,
    writers: list[int],
    committed: Mapping[int, TransactionRecord],
) -> None:
    appended = {number: _elements(committed[number], versions.key) for number in writers}
    writer_of = {element: number for number in writers for element in appended[number]}
    for element in longest:
        if element in writer_of:
            versions.add_next(element, writer_of.pop(element))
    if ordered is not None:
        for number in ordered:
            for element in appended[number]:
                if element in writer_of:
                    versions.add_next(element, number)
        return
    # Nobody saw these, so each comes after all that were seen, in an order of their own.
    last = len(versions.values) - 1
    for element, number in writer_of.items():
        versions.after[last].append(versions.add(element, number))


def _elements(transaction: TransactionRecord, key: str) -> Iterable[int]:
    return [each.element for each in transaction.operations if isinstance(each, Append) and each.key == key]


def _order_by_reads(versions: KeyVersions, writers: list[int], seen: Mapping[int, Observations]) -> None:
    for number in writers:
        # The initial version comes before each of them, though perhaps not right before.
        versions.after[0].append(versions.add(seen[number].written[versions.key], number))
    for number in writers:
        if versions.key not in seen[number].read_before_write:
            continue
        before = versions.number(seen[number].read_before_write[versions.key])
        own = versions.writers.index(number)
        if before is not None and before not in (0, own):
            versions.after[before].append(own)
