"""What a transaction has seen of others: its reads without its own writes.

    T1: r(x)=0 w(x)=1 r(x)=1 s(a..z)={x:1,y:7}
        r(x)=0   saw the version 0 of x
                          r(x)=1 is its own write: right, and says nothing of others
                                 of the range only y is foreign

A transaction must see its own writes; where it does not, the read is a broken one ("internal"
in Cerone, Bernardi, Gotsman, CONCUR 2015) and is given back as such. So is a range in which a key
stands twice, or where it does not belong: no state of a database looks like that.
"""

from __future__ import annotations

from itertools import pairwise

from ferrisdb.immutable import immutable
from ferrisdb.isolation.history import Append, Operation, RangeRead, Read, TransactionRecord, Value, Write


@immutable
class Observations:
    """The foreign part of what one transaction read, and the last thing it wrote to each key."""

    reads: tuple[tuple[str, Value | tuple[int, ...]], ...]
    ranges: tuple[tuple[RangeRead, frozenset[str]], ...]
    """Each with the keys that it had written itself by then."""
    written: dict[str, Value]
    overwritten: tuple[tuple[str, Value], ...]
    """What it wrote and then replaced: nobody else may see that."""
    read_before_write: dict[str, Value]
    """For keys that it wrote: what it last saw of others' there before its first write."""
    broken: tuple[Operation, ...]
    """Reads that do not show what the transaction itself had written."""
    misshapen: tuple[RangeRead, ...]
    """With a key twice, out of order, or outside of the range."""


def observe(transaction: TransactionRecord) -> Observations:
    own: dict[str, list[Value]] = {}
    reads: list[tuple[str, Value | tuple[int, ...]]] = []
    ranges: list[tuple[RangeRead, frozenset[str]]] = []
    last_read: dict[str, Value] = {}
    read_before_write: dict[str, Value] = {}
    broken: list[Operation] = []
    misshapen: list[RangeRead] = []
    for operation in transaction.operations:
        if isinstance(operation, Write | Append):
            value = operation.value if isinstance(operation, Write) else operation.element
            if operation.key not in own and operation.key in last_read:
                read_before_write[operation.key] = last_read[operation.key]
            own.setdefault(operation.key, []).append(value)
        elif isinstance(operation, RangeRead):
            if not _is_well_formed(operation):
                misshapen.append(operation)
            elif not _shows_own(operation, own):
                broken.append(operation)
            ranges.append((operation, frozenset(own)))
            last_read |= {key: value for key, value in operation.found if key not in own}
        else:
            foreign = _foreign_part(operation, own.get(operation.key))
            if foreign is None:
                broken.append(operation)
            elif foreign[0]:
                reads.append((operation.key, foreign[1]))
                last_read[operation.key] = last_value(foreign[1])
    return Observations(
        tuple(reads),
        tuple(ranges),
        {key: values[-1] for key, values in own.items()},
        tuple((key, value) for key, values in own.items() for value in values[:-1]),
        read_before_write,
        tuple(broken),
        tuple(misshapen),
    )


def last_value(value: Value | tuple[int, ...]) -> Value:
    """Of a list the last element, by which its version is known; None for an empty one."""
    if isinstance(value, tuple):
        return value[-1] if value else None
    return value


def _foreign_part(read: Read, own: list[Value] | None) -> tuple[bool, Value | tuple[int, ...]] | None:
    """Whether anything foreign was seen, and what; None when own writes are missing."""
    if own is None:
        return True, read.value
    if isinstance(read.value, tuple):
        if read.value[-len(own) :] != tuple(own):
            return None
        return True, read.value[: -len(own)]
    return (False, None) if read.value == own[-1] else None


def _is_well_formed(read: RangeRead) -> bool:
    keys = [key for key, _ in read.found]
    return all(before < after for before, after in pairwise(keys)) and all(
        read.lo <= key < read.hi for key in keys
    )


def _shows_own(read: RangeRead, own: dict[str, list[Value]]) -> bool:
    found = dict(read.found)
    return all(found.get(key) == values[-1] for key, values in own.items() if read.lo <= key < read.hi)
