"""The judge that can't be wrong: try every serial order and see whether it explains the history.

    T1: r(x)=0 w(y)=1     T1 then T2: T2 would have read y = 1, not 0      no
    T2: r(y)=0 w(x)=2     T2 then T1: T1 would have read x = 2, not 0      no
                          so it is not serializable

It knows nothing of versions, edges or cycles: it runs the transactions one after the other on
a dict and compares what each reads. That is view serializability (Yannakakis, JACM 1984), with
the state at the end as the last read. To decide it takes n! runs, so it is for a handful of
transactions; it is there to judge the checker and the exhaustive interleavings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import permutations

from ferrisdb.isolation.history import (
    Append,
    History,
    Operation,
    Outcome,
    RangeRead,
    TransactionRecord,
    Value,
    Write,
)

State = dict[str, Value | tuple[int, ...]]


def serial_order(
    history: History, final: Mapping[str, Value] | None = None, *, keeps_version_orders: bool = False
) -> tuple[int, ...] | None:
    """The ids of the committed transactions in an order that explains all they read; None: no
    such order.

    `final` is what was there at the end: an order must lead to it. With `keeps_version_orders`
    the writes to each key must come in the order that the history gives.
    """
    committed = [each for each in history.transactions if each.outcome is Outcome.COMMITTED]
    for order in permutations(committed):
        if keeps_version_orders and not _keeps_version_orders(order, history):
            continue
        state = _run(order, history.initial)
        if state is not None and (final is None or _is_same(state, final)):
            return tuple(each.id for each in order)
    return None


def _keeps_version_orders(order: tuple[TransactionRecord, ...], history: History) -> bool:
    place = {each.id: number for number, each in enumerate(order)}
    return all(
        [place[each] for each in writers] == sorted(place[each] for each in writers)
        for writers in history.version_orders.values()
    )


def _run(order: Iterable[TransactionRecord], initial: Mapping[str, Value]) -> State | None:
    """The state after the transactions; None when one of them would have read something else."""
    state: State = {key: value for key, value in initial.items() if value is not None}
    for transaction in order:
        for operation in transaction.operations:
            if not _apply(operation, state):
                return None
    return state


def _apply(operation: Operation, state: State) -> bool:
    """Do a write; say of a read whether it is the right one."""
    if isinstance(operation, Write):
        if operation.value is None:
            state.pop(operation.key, None)
        else:
            state[operation.key] = operation.value
        return True
    if isinstance(operation, Append):
        present = state.get(operation.key, ())
        state[operation.key] = (*(present if isinstance(present, tuple) else ()), operation.element)
        return True
    if isinstance(operation, RangeRead):
        found = tuple((key, state[key]) for key in sorted(state) if operation.lo <= key < operation.hi)
        return found == operation.found
    missing = () if isinstance(operation.value, tuple) else None
    return state.get(operation.key, missing) == operation.value


def _is_same(state: State, final: Mapping[str, Value]) -> bool:
    return state == {key: value for key, value in final.items() if value is not None}
