"""Who depends on whom: the direct serialization graph of a history.

A node is a committed transaction; an edge says which of two must come first in every serial
order that explains what was seen (Adya, "Weak Consistency", MIT 1999, section 3.1 and 4.4):

    ww    T1 wrote a version, T2 wrote the next one
    wr    T1 wrote a version, T2 read it
    rw    T1 read a version, T2 wrote the next one        (T2 could have overtaken T1)
    time  T1 was over before T2 began                     (an order, but no dependency)

Reading a range gives edges for every key in it: to keys that were found as if they were read,
and for keys that were not found as reads of their absence. The last are marked: they are what
Adya calls predicate dependencies, and the phantoms are among them.

A serial order exists when the graph has no cycle; which cycles a level forbids stands in
`phenomena`. Of several edges of one kind between the same two the first one found is kept.

`time` edges would be many; they are held as a chain of moments, so there are two for each
transaction:      T1 -> moment 4 -> moment 7 -> T3
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Iterator, Mapping

from ferrisdb.immutable import immutable
from ferrisdb.isolation.history import (
    INITIAL,
    History,
    Outcome,
    RangeRead,
    TransactionRecord,
    Value,
)
from ferrisdb.isolation.observations import Observations, last_value, observe
from ferrisdb.isolation.version_order import KeyVersions, order_versions


class Kind(enum.Enum):
    WW = "ww"
    WR = "wr"
    RW = "rw"
    TIME = "time"


@immutable
class Edge:
    """`source` comes before `target`. `before` and `after` are the values that show it."""

    kind: Kind
    source: int
    target: int
    key: str = ""
    before: Value = None
    after: Value = None
    range: tuple[str, str] | None = None
    """Set where a range was read and the key was not found in it."""

    def __str__(self) -> str:
        return f"{_told(self)}  ({self.kind.value})"


def _told(edge: Edge) -> str:
    """The edge as a sentence."""
    source, target, key = f"T{edge.source}", f"T{edge.target}", edge.key
    wrote = f"deleted {key}" if edge.after is None else f"wrote {key} = {edge.after}"
    if edge.kind is Kind.TIME:
        return f"{source} was over before {target} began"
    if edge.range is not None:
        looked = f"looked from {edge.range[0]} to {edge.range[1]} and found no {key}"
        if edge.kind is Kind.WR:
            return f"{source} deleted {key}, and {target} {looked}"
        return f"{source} {looked}, before {target} {wrote}"
    if edge.kind is Kind.WR:
        return f"{source} {wrote}, and {target} read that"
    if edge.kind is Kind.RW:
        found = f"found no {key}" if edge.before is None else f"read {key} = {edge.before}"
        return f"{source} {found}, before {target} {wrote}"
    first = f"deleted {key}" if edge.before is None else f"wrote {key} = {edge.before}"
    return f"{source} {first}, before {target} {wrote}"


Edges = dict[int, dict[int, Edge]]
"""source -> target -> the edge"""


class DependencyGraph:
    """The graph of one history, and what is needed to judge its reads one by one."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.seen: dict[int, Observations] = {each.id: observe(each) for each in history.transactions}
        self.committed = _committed(history, self.seen)
        self.versions: dict[str, KeyVersions] = order_versions(history, self.committed, self.seen)
        self.edges: dict[Kind, Edges] = {kind: {} for kind in (Kind.WW, Kind.WR, Kind.RW)}
        self._sorted_keys = sorted(key for key, each in self.versions.items() if not each.is_list)
        for versions in self.versions.values():
            self._add_write_edges(versions)
        for number in self.committed:
            self._add_read_edges(number, self.seen[number])

    def edge(self, kind: Kind, source: int, target: int) -> Edge | None:
        return self.edges[kind].get(source, {}).get(target)

    def _add(self, edge: Edge) -> None:
        if edge.source not in (edge.target, INITIAL) and edge.target != INITIAL:
            self.edges[edge.kind].setdefault(edge.source, {}).setdefault(edge.target, edge)

    def _add_write_edges(self, versions: KeyVersions) -> None:
        values, writers = versions.values, versions.writers
        for number, following in enumerate(versions.after):
            for after in following:
                self._add(
                    Edge(
                        Kind.WW, writers[number], writers[after], versions.key, values[number], values[after]
                    )
                )

    def _add_read_edges(self, reader: int, seen: Observations) -> None:
        for key, value in seen.reads:
            self._add_read(reader, key, last_value(value), None)
        for read, own in seen.ranges:
            found = dict(read.found)
            for key in self._keys_between(read.lo, read.hi):
                if key in own:
                    continue
                if key in found:
                    self._add_read(reader, key, found[key], None)
                elif self.versions[key].was_absent:
                    self._add_read(reader, key, None, read)

    def _add_read(self, reader: int, key: str, value: Value, within: RangeRead | None) -> None:
        versions = self.versions[key]
        number = versions.number(value)
        if number is None:
            return
        range_read = None if within is None else (within.lo, within.hi)
        writer = versions.writers[number]
        self._add(Edge(Kind.WR, writer, reader, key, None, value, range_read))
        for after in versions.after[number]:
            written = versions.values[after]
            self._add(Edge(Kind.RW, reader, versions.writers[after], key, value, written, range_read))

    def _keys_between(self, lo: str, hi: str) -> list[str]:
        keys = self._sorted_keys
        return keys[bisect_left(keys, lo) : bisect_left(keys, hi)]


def _committed(history: History, seen: Mapping[int, Observations]) -> dict[int, TransactionRecord]:
    """Those that took effect. One with an unknown end did, when somebody read what it wrote."""
    read: set[tuple[str, Value]] = set()
    for each in history.transactions:
        if each.outcome is not Outcome.ABORTED:
            read.update(_values_read(seen[each.id]))
    return {
        each.id: each
        for each in history.transactions
        if each.outcome is Outcome.COMMITTED
        or (
            each.outcome is Outcome.UNKNOWN
            and any(
                value is not None and (key, value) in read for key, value in seen[each.id].written.items()
            )
        )
    }


def _values_read(seen: Observations) -> Iterator[tuple[str, Value]]:
    for key, value in seen.reads:
        if isinstance(value, tuple):
            for element in value:
                yield key, element
        else:
            yield key, value
    for read, own in seen.ranges:
        for key, found in read.found:
            if key not in own:
                yield key, found
