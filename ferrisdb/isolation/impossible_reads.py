"""Reads that are wrong whatever the order of the transactions was.

    r(x)=7, and T3 wrote 7 and rolled back            G1a
    r(x)=7, and T3 wrote 7 and then 8, and committed  G1b
    r(x)=7, and nobody wrote 7                        thin air
    r(x)=nil, and x was there all the time            thin air
    r(x)=[1,3], and 2 was appended before that read   lost write
      began and is not there
    r(x)=[1,2] and r(x)=[2,1]                         incompatible order
    s(a..c)={a:1,a:2}                                 misshapen range
    w(x)=7 r(x)=5 in one transaction                  internal

A lost write is looked for in the last read of each list alone, as what is lost stays lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ferrisdb.isolation.dependency_graph import DependencyGraph
from ferrisdb.isolation.history import Append, Outcome, Read, TransactionRecord, Value, Write
from ferrisdb.isolation.phenomena import Anomaly

Impossible = tuple[Anomaly, tuple[int, ...], str]


def impossible_reads(graph: DependencyGraph) -> Iterator[Impossible]:
    writers = _writers(graph)
    replaced = {(key, value) for number in graph.committed for key, value in graph.seen[number].overwritten}
    for reader in graph.committed:
        for operation in graph.seen[reader].broken:
            yield Anomaly.BROKEN_READ, (reader,), f"{operation} does not show its own write"
        for read in graph.seen[reader].misshapen:
            what = "has a key twice, out of order or outside of the range"
            yield Anomaly.MISSHAPEN_RANGE, (reader,), f"{read} {what}"
        for key, value in _values_seen(graph, reader):
            writer = writers.get((key, value))
            if value is None or (key in graph.history.initial and graph.history.initial[key] == value):
                continue
            if writer is None:
                yield Anomaly.THIN_AIR, (reader,), f"T{reader} read {key} = {value}, which nobody wrote"
            elif writer.outcome is Outcome.ABORTED:
                what = f"T{reader} read {key} = {value}, which T{writer.id} wrote and took back"
                yield Anomaly.G1A, (writer.id, reader), what
        for key, value in _last_values_seen(graph, reader):
            if value is not None and (key, value) in replaced and writers[key, value].id != reader:
                writer = writers[key, value]
                what = f"T{reader} read {key} = {value}, which T{writer.id} replaced before it committed"
                yield Anomaly.G1B, (writer.id, reader), what
        yield from _absent_though_there(graph, reader, writers)
    yield from _incompatible_orders(graph)
    yield from _lost_writes(graph)


def _writers(graph: DependencyGraph) -> dict[tuple[str, Value], TransactionRecord]:
    writers: dict[tuple[str, Value], TransactionRecord] = {}
    for each in graph.history.transactions:
        for operation in each.operations:
            if isinstance(operation, Write):
                writers[operation.key, operation.value] = each
            elif isinstance(operation, Append):
                writers[operation.key, operation.element] = each
    return writers


def _values_seen(graph: DependencyGraph, reader: int) -> Iterator[tuple[str, Value]]:
    for key, value in graph.seen[reader].reads:
        if isinstance(value, tuple):
            for element in value:
                yield key, element
        else:
            yield key, value
    yield from _found_in_ranges(graph, reader)


def _last_values_seen(graph: DependencyGraph, reader: int) -> Iterator[tuple[str, Value]]:
    """Of a list the last element: what stands before it may well be in the middle."""
    for key, value in graph.seen[reader].reads:
        if not isinstance(value, tuple):
            yield key, value
        elif value:
            yield key, value[-1]
    yield from _found_in_ranges(graph, reader)


def _found_in_ranges(graph: DependencyGraph, reader: int) -> Iterator[tuple[str, Value]]:
    for read, own in graph.seen[reader].ranges:
        for key, value in read.found:
            if key not in own:
                yield key, value


def _absent_though_there(
    graph: DependencyGraph, reader: int, writers: Mapping[tuple[str, Value], TransactionRecord]
) -> Iterator[Impossible]:
    absent = [key for key, value in graph.seen[reader].reads if value is None]
    for read, own in graph.seen[reader].ranges:
        found = {key for key, _ in read.found} | own
        absent += (key for key in graph.history.initial if read.lo <= key < read.hi and key not in found)
    for key in absent:
        versions = graph.versions[key]
        if versions.is_list or versions.was_absent:
            continue
        deleter = writers.get((key, None))
        if deleter is None or deleter.id == reader:
            yield Anomaly.THIN_AIR, (reader,), f"T{reader} found no {key}, which was there all the time"
        elif deleter.outcome is Outcome.ABORTED:
            what = f"T{reader} found no {key}, which T{deleter.id} deleted and took back"
            yield Anomaly.G1A, (deleter.id, reader), what
        elif deleter.outcome is Outcome.COMMITTED:
            what = f"T{reader} found no {key}, which T{deleter.id} wrote again before it committed"
            yield Anomaly.G1B, (deleter.id, reader), what
        # Of a deleter with an unknown end this read has shown that it has committed.


def _incompatible_orders(graph: DependencyGraph) -> Iterator[Impossible]:
    """Every read of a list must be the beginning of the longest one."""
    reads: dict[str, list[tuple[int, tuple[int, ...]]]] = {}
    for reader in graph.committed:
        for key, value in graph.seen[reader].reads:
            if isinstance(value, tuple):
                reads.setdefault(key, []).append((reader, value))
    for key, each in reads.items():
        first, longest = max(each, key=lambda item: len(item[1]))
        if len(set(longest)) < len(longest):
            yield Anomaly.INCOMPATIBLE_ORDER, (first,), f"T{first} read an element of {key} twice: {longest}"
        if turned := _turned_round(graph, key, longest):
            what = f"T{turned} appended to {key} in another order than T{first} read: {list(longest)}"
            yield Anomaly.INCOMPATIBLE_ORDER, (turned, first), what
        for reader, value in each:
            if value != longest[: len(value)]:
                what = f"T{reader} read {key} as {list(value)}, and T{first} as {list(longest)}"
                yield Anomaly.INCOMPATIBLE_ORDER, (reader, first), what


def _turned_round(graph: DependencyGraph, key: str, elements: tuple[int, ...]) -> int | None:
    """A transaction whose own appends do not stand in the order in which it made them."""
    place = {element: number for number, element in enumerate(elements)}
    for number, transaction in graph.committed.items():
        if key in graph.seen[number].written:
            own = [
                place[each.element]
                for each in transaction.operations
                if isinstance(each, Append) and each.key == key and each.element in place
            ]
            if own != sorted(own):
                return number
    return None


def _lost_writes(graph: DependencyGraph) -> Iterator[Impossible]:
    last: dict[str, tuple[int, TransactionRecord, tuple[int, ...]]] = {}
    appended: list[tuple[Append, TransactionRecord]] = []
    for each in graph.committed.values():
        for operation in each.operations:
            if isinstance(operation, Append):
                appended.append((operation, each))
            if (
                each.begin is None
                or not isinstance(operation, Read)
                or not isinstance(operation.value, tuple)
            ):
                continue
            if operation.key not in last or last[operation.key][0] < each.begin:
                last[operation.key] = (each.begin, each, operation.value)
    for operation, writer in appended:
        if operation.key not in last or writer.end is None:
            continue
        begin, reader, value = last[operation.key]
        if writer.end < begin and operation.element not in value:
            what = f"T{writer.id} appended {operation.element} to {operation.key}, and T{reader.id} read"
            yield Anomaly.LOST_WRITE, (writer.id, reader.id), f"{what} {operation.key} later without it"
