"""Code that locks rows, and the leaves of the plan that looks at one again.

for ...:                                            the input's own loops
    shown = lock((c1, c2), ((key, row),), ())       RowLocker.lock
    if shown is None: continue
    c1, c2 = shown
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ferrisdb.errors import broken
from ferrisdb.query.algebra.row_locking import KeptRow, LockRows
from ferrisdb.query.bind.expressions import Slot
from ferrisdb.query.compile.writer import targets_of, tuple_of
from ferrisdb.query.row_locks import RowLocker, Run

if TYPE_CHECKING:
    from ferrisdb.query.compile.program import Consume, Program


def produce_locked_rows(
    program: Program, plan: LockRows, outer: Mapping[Slot, str], consume: Consume
) -> None:
    names, kind = program.namespace, program.namespace.name(RowLocker, "f")
    parts = names.name((plan.locks, plan.kept, _compiled_when_needed(plan)))
    lock = program.prologue(plan, "lock", f"{kind}({parts}, tx, parameters, now).lock")

    def locked(row: dict[Slot, str]) -> None:
        writer, shown = program.writer, names.fresh("shown")
        values = tuple_of([row[slot] for slot in plan.shown])
        stored = tuple_of([f"({row[key]}, {row[value]})" for key, value in _stored(plan)])
        kept = tuple_of([tuple_of([row[slot] for slot in leaf.slots]) for leaf in plan.kept])
        writer.line(f"{shown} = {lock}({values}, {stored}, {kept})")
        writer.line(f"if {shown} is None: continue")
        # Names of their own: the row's may be those of the scan's loop, or of an outer row.
        fresh = {slot: names.fresh("locked") for slot in plan.shown}
        if fresh:
            writer.line(f"{targets_of(list(fresh.values()))} = {shown}")
        consume(fresh)

    program.produce(plan.input, outer, locked)


def produce_kept_row(program: Program, plan: KeptRow, outer: Mapping[Slot, str], consume: Consume) -> None:
    given = program.prologue(plan, "given", f"parameters[{program.namespace.name(plan)}]")
    program.loop_over(given, plan.slots, consume)


def _stored(plan: LockRows) -> list[tuple[Slot, Slot]]:
    found = []
    for lock in plan.locks:
        key, value = lock.source.row_key, lock.source.row_value
        if key is None or value is None:
            broken("a locked table gives its rows' keys and bytes")
        found.append((key, value))
    return found


def _compiled_when_needed(plan: LockRows) -> functools.partial[Run]:
    # Only read committed asks for it, and there only a row that has changed.
    return functools.partial(_compiled, plan)


@functools.lru_cache(maxsize=64)
def _compiled(plan: LockRows) -> Run:
    from ferrisdb.query.compile.program import compile_plan  # noqa: PLC0415 - it imports this module

    return compile_plan(plan.recheck)[0]
