"""Code for joins. The left side streams, the right side is kept or looked up.

    hash join, many right rows a key          hash join, one right row a key (a primary key)
        for c4, c5 in table.get(c1, ()):          match = table.get(c1)
            ...                                   if match is None: continue
                                                  c4, c5 = match

A LEFT join's row without a match is the same loop over one row of NULLs, so what follows
is written once. NULL keys are not put into the table; then they are never found, either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ferrisdb.errors import broken
from ferrisdb.query.algebra.operators import Filter, HashJoin, LoopJoin, Plan, Project, Scan
from ferrisdb.query.algebra.row_locking import LockRows
from ferrisdb.query.ast import JoinKind
from ferrisdb.query.bind.expressions import Expression, Slot, SlotRef
from ferrisdb.query.compile.writer import MAX_LOOPS, targets_of, tuple_of

if TYPE_CHECKING:
    from ferrisdb.query.compile.program import Consume, Program


_Around = tuple[Mapping[Slot, str], dict[Slot, str]]
"""Where code stands in a join: the names of outer slots, and those of the left row."""


def slot_of_key(expression: Expression) -> Slot:
    """Sort keys are plain slots: the binder projects them first."""
    if isinstance(expression, SlotRef):
        return expression.slot
    return broken("a sort key is not a column of its input")


def open_loops(plan: Plan) -> int:
    """How many loops enclose the code that consumes the plan's rows."""
    if isinstance(plan, Scan):
        return 3
    if isinstance(plan, (Filter, Project, LockRows)):
        return open_loops(plan.input)
    if isinstance(plan, LoopJoin) and plan.is_lookup:
        return open_loops(plan.left) + open_loops(plan.right) + 1
    if isinstance(plan, (HashJoin, LoopJoin)):
        # One for its own loop, one for the loop that collects a LEFT join's matches.
        below = open_loops(plan.left)
        return (1 if below >= MAX_LOOPS else below) + 2
    return 1


def _produce_left(program: Program, left: Plan, outer: Mapping[Slot, str], consume: Consume) -> None:
    """The streaming side; after too many loops its rows are kept and a new nest begins."""
    if open_loops(left) >= MAX_LOOPS:
        program.loop_over(program.rows_of(left, outer, left.output), left.output, consume)
    else:
        program.produce(left, outer, consume)


def produce_hash_join(program: Program, join: HashJoin, outer: Mapping[Slot, str], consume: Consume) -> None:
    table = _build(program, join, outer)

    def probe(left: dict[Slot, str]) -> None:
        compiler = program.expressions(outer, left)
        key = _key([compiler.value(expression) for expression in join.left_keys])
        if join.is_unique:
            _one_match(program, join, (outer, left), f"{table}.get({key})", consume)
        else:
            _many_matches(program, join, (outer, left), f"{table}.get({key}, ())", consume)

    _produce_left(program, join.left, outer, probe)


def _key(codes: Sequence[str]) -> str:
    return codes[0] if len(codes) == 1 else tuple_of(list(codes))


def _build(program: Program, join: HashJoin, outer: Mapping[Slot, str]) -> str:
    table = program.namespace.fresh("table")
    program.writer.line(f"{table} = {{}}")

    def consume(right: dict[Slot, str]) -> None:
        compiler, writer = program.expressions(outer, right), program.writer
        codes = []
        for expression in join.right_keys:
            code = compiler.value(expression)
            if not code.isidentifier():
                name = program.namespace.fresh("j")
                writer.line(f"{name} = {code}")
                code = name
            if expression.is_nullable:
                writer.line(f"if {code} is None: continue")
            codes.append(code)
        row = tuple_of([right[slot] for slot in join.right.output])
        if join.is_unique:
            writer.line(f"{table}[{_key(codes)}] = {row}")
            return
        bucket = program.namespace.fresh("bucket")
        writer.line(f"{bucket} = {table}.get({_key(codes)})")
        writer.line(f"if {bucket} is None: {table}[{_key(codes)}] = [{row}]")
        writer.line(f"else: {bucket}.append({row})")

    program.produce(join.right, outer, consume)
    return table


def _one_match(
    program: Program,
    join: HashJoin,
    around: _Around,
    lookup: str,
    consume: Consume,
) -> None:
    outer, left = around
    writer = program.writer
    match = program.namespace.fresh("match")
    right = program.new_names(join.right.output)
    row = {**left, **right}
    writer.line(f"{match} = {lookup}")
    if join.kind is not JoinKind.LEFT:
        writer.line(f"if {match} is None: continue")
        if right:
            writer.line(f"{targets_of(list(right.values()))} = {match}")
        program.filter(join.conditions, outer, row)
        consume(row)
        return
    nulls = " = ".join([*right.values(), "None"])
    with writer.block(f"if {match} is None:"):
        writer.line(nulls if right else "pass")
    with writer.block("else:"):
        writer.line(f"{targets_of(list(right.values()))} = {match}" if right else "pass")
        for condition in join.conditions:
            truth = program.expressions(outer, row).truth(condition)
            # Once a condition has failed its columns are NULL; the next must not see them.
            writer.line(f"{match} = {match} if {match} is not None and {truth} else None")
        if join.conditions and right:
            writer.line(f"if {match} is None: {nulls}")
    consume(row)


def _many_matches(
    program: Program,
    join: HashJoin | LoopJoin,
    around: _Around,
    matches: str,
    consume: Consume,
) -> None:
    outer, left = around
    slots = join.right.output
    if join.kind is not JoinKind.LEFT:

        def joined(right: dict[Slot, str]) -> None:
            row = {**left, **right}
            program.filter(join.conditions, outer, row)
            consume(row)

        program.loop_over(matches, slots, joined)
        return
    nulls = program.namespace.name((tuple(None for _ in slots),))
    if join.conditions:
        matches = _collect(program, join, outer, left, matches)
    program.loop_over(f"{matches} or {nulls}", slots, lambda right: consume({**left, **right}))


def _collect(
    program: Program,
    join: HashJoin | LoopJoin,
    outer: Mapping[Slot, str],
    left: dict[Slot, str],
    matches: str,
) -> str:
    """The right rows that satisfy all conditions, kept, so that none can be noticed."""
    kept = program.namespace.fresh("kept")
    program.writer.line(f"{kept} = []")

    def keep(right: dict[Slot, str]) -> None:
        program.filter(join.conditions, outer, {**left, **right})
        program.writer.line(f"{kept}.append({tuple_of([right[slot] for slot in join.right.output])})")

    program.loop_over(matches, join.right.output, keep)
    return kept


def produce_loop_join(program: Program, join: LoopJoin, outer: Mapping[Slot, str], consume: Consume) -> None:
    if join.is_lookup:
        _lookup_join(program, join, outer, consume)
        return
    rows = program.rows_of(join.right, outer, join.right.output)
    _produce_left(
        program,
        join.left,
        outer,
        lambda left: _many_matches(program, join, (outer, left), rows, consume),
    )


def _lookup_join(program: Program, join: LoopJoin, outer: Mapping[Slot, str], consume: Consume) -> None:
    def look_up(left: dict[Slot, str]) -> None:
        around = {**outer, **left}
        if join.kind is JoinKind.LEFT:
            rows = program.rows_of(join.right, around, join.right.output)
            _many_matches(program, join, (outer, left), rows, consume)
            return

        def joined(right: dict[Slot, str]) -> None:
            row = {**left, **right}
            program.filter(join.conditions, outer, row)
            consume(row)

        program.produce(join.right, around, joined)

    _produce_left(program, join.left, outer, look_up)
