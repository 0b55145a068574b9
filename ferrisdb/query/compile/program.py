"""A plan as one Python function: fused loops, no operator objects, no calls between them.

After T. Neumann, "Efficiently Compiling Efficient Query Plans for Modern Hardware" (VLDB
2011). Each operator is asked to `produce` its rows; where it has one, it lets its parent
`consume` it by writing the parent's code right there, inside its own loop:

    SELECT a, count(*)            groups_5 = {}
    FROM t WHERE b > 3            for keys_1, rows_1 in scan_batches(k1, k2):      Scan
    GROUP BY a                        for row_1 in rows_1:
                                          c1, c2 = ...row_1...
                                          if not (c2 > k3): continue               Filter
                                          group = groups_5.get(c1)                 Aggregate
                                          ...
                                  for c1, group in groups_5.items():               Aggregate
                                      out.append((c1, group[0]))                   Result

A row lives in local variables from the bytes to the result. Only operators that must see
all rows before the first result (sort, aggregate, the build side of a join) keep any.

Functions inside the function: a subquery, and the input of LIMIT, which must be able to
stop. They are written before the first row is read and get outer values as arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from keyword import iskeyword
from typing import Any

from ferrisdb.errors import broken
from ferrisdb.query.algebra.operators import (
    Aggregate,
    Distinct,
    Filter,
    HashJoin,
    Limit,
    LoopJoin,
    Plan,
    Project,
    Scan,
    Sort,
    TopN,
    Values,
)
from ferrisdb.query.algebra.row_locking import KeptRow, LockRows
from ferrisdb.query.bind.expressions import (
    ExistsQuery,
    Expression,
    InQuery,
    ScalarQuery,
    Slot,
    SubqueryExpression,
)
from ferrisdb.query.compile import aggregates, joins, row_locking, scans, support
from ferrisdb.query.compile.expressions import Environment, ExpressionCompiler
from ferrisdb.query.compile.writer import FunctionWriter, Namespace, targets_of, tuple_of
from ferrisdb.query.types import Kind, Value

BATCH_ROWS = 512
"""Rows of a result that are handed over at a time."""

Row = tuple[Value, ...]
Run = Callable[[Any, Mapping[int | str, Value], datetime], Iterator[list[Row]]]
Consume = Callable[[dict[Slot, str]], None]
"""Writes what the parent does with a row, given the names of its slots."""

_MEMO_KINDS = frozenset({Kind.INTEGER, Kind.TEXT, Kind.BOOLEAN, Kind.DATE, Kind.TIMESTAMP})
"""Kinds whose equal values are indistinguishable; 1.0 and 1.00 are equal and print apart."""


class Program:
    """One compilation. `writer` is the function that is being written at the moment."""

    def __init__(self) -> None:
        self.namespace = Namespace()
        self.writer = FunctionWriter("def run(tx, parameters, now):")
        self._prologue_lines: list[str] = []
        self._prologue_names: dict[object, str] = {}
        self._functions: list[list[str]] = []

    # --- what the expression compiler asks for (expressions.Host) -------------------------

    def prologue(self, key: object, prefix: str, code: str) -> str:
        name = self._prologue_names.get(key)
        if name is None:
            name = self._prologue_names[key] = self.namespace.fresh(prefix)
            self._prologue_lines.append(f"{name} = {code}")
        return name

    def helper(self, parameters: Sequence[str], body: str) -> str:
        name = self.namespace.fresh("part")
        self._functions.append([f"def {name}({', '.join(parameters)}):", f"    return {body}"])
        return name

    def subquery(self, node: SubqueryExpression, environment: Environment) -> str:
        if isinstance(node, ScalarQuery):
            write: Callable[[dict[Slot, str]], None] = lambda env: self._scalar(node, env)  # noqa: E731
        elif isinstance(node, ExistsQuery):
            write = lambda env: self._exists(node, env)  # noqa: E731
        elif isinstance(node, InQuery):
            write = lambda env: self._in(node, env)  # noqa: E731
        else:
            broken(f"no code for a subquery of {type(node).__name__}")
        outer = {ref.slot: environment[ref.slot] for ref in node.outer_slots}
        arguments = list(dict.fromkeys(name for name in outer.values() if name not in self.namespace.values))
        name = self.namespace.fresh("sub")
        with self.function(name, arguments):
            write(dict(outer))
        kinds = {ref.slot.type.kind for ref in node.outer_slots}
        if kinds <= _MEMO_KINDS:
            size = support.MEMO_SETS if isinstance(node, InQuery) else support.MEMO_SIZE
            name = self._memoized(name, arguments, size)
        return f"{name}({', '.join(arguments)})"

    def _memoized(self, function: str, arguments: Sequence[str], size: int) -> str:
        """The function, asked once for each distinct list of arguments."""
        name, memo = self.namespace.fresh("memo"), self.namespace.fresh("answers")
        self._prologue_lines.append(f"{memo} = {{}}")
        listed, limit = ", ".join(arguments), self.namespace.name(size)
        self._functions.append(
            [
                f"def {name}({listed}):",
                f"    found = {memo}.get(({listed},))" if arguments else f"    found = {memo}.get(())",
                "    if found is None:",
                f"        if len({memo}) >= {limit}: {memo}.clear()",
                f"        found = {memo}[{tuple_of(list(arguments))}] = ({function}({listed}),)",
                "    return found[0]",
            ]
        )
        return name

    @contextmanager
    def function(self, name: str, parameters: Sequence[str]) -> Iterator[None]:
        """Write into a new inner function for a while."""
        outer = self.writer
        self.writer = FunctionWriter(f"def {name}({', '.join(parameters)}):")
        yield
        self._functions.append(self.writer.lines)
        self.writer = outer

    def _scalar(self, node: ScalarQuery, environment: dict[Slot, str]) -> None:
        writer, found = self.writer, self.namespace.fresh("found")
        writer.line(f"{found} = None")

        def consume(row: dict[Slot, str]) -> None:
            too_many = self.namespace.name(support.more_than_one_row, "f")
            self.writer.line(f"if {found} is not None: {too_many}()")
            self.writer.line(f"{found} = ({row[node.slot]},)")

        self.produce(node.plan, environment, consume)
        writer.line(f"return None if {found} is None else {found}[0]")

    def _exists(self, node: ExistsQuery, environment: dict[Slot, str]) -> None:
        self.produce(node.plan, environment, lambda row: self.writer.line("return True"))
        self.writer.line("return False")

    def _in(self, node: InQuery, environment: dict[Slot, str]) -> None:
        column = self.namespace.fresh("column")
        self.writer.line(f"{column} = set()")
        self.produce(node.plan, environment, lambda row: self.writer.line(f"{column}.add({row[node.slot]})"))
        self.writer.line(f"return {self.namespace.name(support.InAnswer, 'f')}({column})")

    # --- produce and consume ----------------------------------------------------------------

    def produce(self, plan: Plan, outer: Mapping[Slot, str], consume: Consume) -> None:
        """Write loops that reach every row of the plan, with `consume`'s code innermost.

        `outer` names the slots of the queries around, and of a lookup join's left row.
        """
        _PRODUCERS[type(plan)](self, plan, outer, consume)

    def expressions(self, outer: Mapping[Slot, str], row: Mapping[Slot, str]) -> ExpressionCompiler:
        return ExpressionCompiler(self, {**outer, **row})

    def rows_of(self, plan: Plan, outer: Mapping[Slot, str], slots: Sequence[Slot]) -> str:
        """Write code that keeps all rows of a plan; the name of the list of tuples."""
        rows = self.namespace.fresh("rows")
        self.writer.line(f"{rows} = []")

        def consume(row: dict[Slot, str]) -> None:
            self.writer.line(f"{rows}.append({tuple_of([row[slot] for slot in slots])})")

        self.produce(plan, outer, consume)
        return rows

    def new_names(self, slots: Sequence[Slot]) -> dict[Slot, str]:
        """Variables for slots. A slot may get several in one function: one for each place."""
        return {slot: f"c{slot.id}" for slot in slots}

    def loop_over(self, rows: str, slots: Sequence[Slot], consume: Consume) -> None:
        """Write a loop over kept tuples."""
        names = self.new_names(slots)
        with self.writer.loop(f"for {targets_of(list(names.values()))} in {rows}:"):
            consume(names)

    def filter(
        self, conditions: Sequence[Expression], outer: Mapping[Slot, str], row: Mapping[Slot, str]
    ) -> None:
        """Write what passes over a row that fails a condition."""
        for condition in conditions:
            self.writer.line(f"if not {self.expressions(outer, row).truth(condition)}: continue")

    def _filter(self, plan: Filter, outer: Mapping[Slot, str], consume: Consume) -> None:
        if isinstance(plan.input, Scan):
            scans.produce_scan(self, plan.input, outer, consume, plan.conditions)
            return

        def filtered(row: dict[Slot, str]) -> None:
            self.filter(plan.conditions, outer, row)
            consume(row)

        self.produce(plan.input, outer, filtered)

    def _project(self, plan: Project, outer: Mapping[Slot, str], consume: Consume) -> None:
        def projected(row: dict[Slot, str]) -> None:
            names: dict[Slot, str] = {}
            for slot, expression in plan.items:
                code = self.expressions(outer, row).value(expression)
                # None, True and False are no names: a subquery could not take them as arguments.
                if not code.isidentifier() or iskeyword(code):
                    self.writer.line(f"c{slot.id} = {code}")
                    code = f"c{slot.id}"
                names[slot] = code
            consume(names)

        self.produce(plan.input, outer, projected)

    def _values(self, plan: Values, outer: Mapping[Slot, str], consume: Consume) -> None:
        if not plan.slots:
            times = self.namespace.name((None,) * len(plan.rows))
            with self.writer.loop(f"for _ in {times}:"):
                consume({})
            return
        compiler = self.expressions(outer, {})
        rows = self.namespace.fresh("rows")
        self.writer.line(f"{rows} = []")
        for row in plan.rows:
            self.writer.line(f"{rows}.append({tuple_of([compiler.value(cell) for cell in row])})")
        self.loop_over(rows, plan.slots, consume)

    def _distinct(self, plan: Distinct, outer: Mapping[Slot, str], consume: Consume) -> None:
        seen, slots = self.namespace.fresh("seen"), plan.output
        self.writer.line(f"{seen} = set()")

        def distinct(row: dict[Slot, str]) -> None:
            key = row[slots[0]] if len(slots) == 1 else tuple_of([row[slot] for slot in slots])
            if not key.isidentifier():
                name = self.namespace.fresh("row")
                self.writer.line(f"{name} = {key}")
                key = name
            self.writer.line(f"if {key} in {seen}: continue")
            self.writer.line(f"{seen}.add({key})")
            consume(row)

        self.produce(plan.input, outer, distinct)

    def _sort(self, plan: Sort, outer: Mapping[Slot, str], consume: Consume) -> None:
        slots = plan.output
        rows = self.rows_of(plan.input, outer, slots)
        order = self.namespace.name(self._order(plan, slots))
        self.writer.line(f"{order}.sort({rows})")
        self.loop_over(rows, slots, consume)

    def _order(self, plan: Sort | TopN, slots: Sequence[Slot]) -> support.RowOrder:
        positions = [slots.index(joins.slot_of_key(key.expression)) for key in plan.keys]
        return support.RowOrder(plan.keys, positions)

    def _top_n(self, plan: TopN, outer: Mapping[Slot, str], consume: Consume) -> None:
        slots = plan.output
        top = self.namespace.fresh("top")
        order = self.namespace.name(self._order(plan, slots))
        kind = self.namespace.name(support.TopRows, "f")
        self.writer.line(f"{top} = {kind}({order}, {self._window(plan.limit, plan.offset, outer)})")
        self.writer.line(f"{top}_add = {top}.add")

        def add(row: dict[Slot, str]) -> None:
            self.writer.line(f"{top}_add({tuple_of([row[slot] for slot in slots])})")

        self.produce(plan.input, outer, add)
        self.loop_over(f"{top}.finish()", slots, consume)

    def _window(self, limit: Expression | None, offset: Expression | None, outer: Mapping[Slot, str]) -> str:
        compiler = self.expressions(outer, {})
        counts = [compiler.value(count) if count is not None else "None" for count in (limit, offset)]
        return f"{self.namespace.name(support.row_window, 'f')}({', '.join(counts)})"

    def _limit(self, plan: Limit, outer: Mapping[Slot, str], consume: Consume) -> None:
        slots = plan.output
        window = self._window(plan.limit, plan.offset, outer)
        source = self.namespace.fresh("source")
        arguments = list(dict.fromkeys(name for name in outer.values() if name not in self.namespace.values))
        with self.function(source, arguments):
            self.produce(
                plan.input,
                outer,
                lambda row: self.writer.line(f"yield {tuple_of([row[slot] for slot in slots])}"),
            )
        cut = self.namespace.name(islice, "f")
        self.loop_over(f"{cut}({source}({', '.join(arguments)}), *{window})", slots, consume)

    # --- the whole --------------------------------------------------------------------------

    def result(self, plan: Plan) -> None:
        """The outermost consumer: tuples, handed over in batches."""
        slots = plan.output
        size = self.namespace.name(BATCH_ROWS)
        self.writer.line("out = []")

        def consume(row: dict[Slot, str]) -> None:
            self.writer.line(f"out.append({tuple_of([row[slot] for slot in slots])})")
            with self.writer.block(f"if len(out) >= {size}:"):
                self.writer.line("yield out")
                self.writer.line("out = []")

        self.produce(plan, {}, consume)
        self.writer.line("if out: yield out")

    def source(self) -> str:
        """The program's text: prologue, inner functions, then the loops."""
        header, *body = self.writer.lines
        lines = [header]
        lines += ["    " + line for line in self._prologue_lines]
        for function in self._functions:
            lines += ["    " + line for line in function]
        return "\n".join([*lines, *body]) + "\n"


def compile_plan(plan: Plan) -> tuple[Run, str]:
    """The plan as a generator function of (transaction, parameters, now), and its source.

    Each item it yields is a list of rows. It must be advanced inside NUMERIC_CONTEXT.
    """
    program = Program()
    program.result(plan)
    source = program.source()
    namespace = program.namespace.values
    # The text holds names that this package made and nothing that a user wrote: every
    # literal, parameter and function is reached through the namespace.
    exec(compile(source, "<query>", "exec"), namespace)
    run: Any = namespace["run"]
    return run, source


_PRODUCERS: dict[type, Callable[..., None]] = {
    Scan: scans.produce_scan,
    Filter: Program._filter,
    Project: Program._project,
    Values: Program._values,
    Distinct: Program._distinct,
    Sort: Program._sort,
    TopN: Program._top_n,
    Limit: Program._limit,
    Aggregate: aggregates.produce_aggregate,
    HashJoin: joins.produce_hash_join,
    LoopJoin: joins.produce_loop_join,
    LockRows: row_locking.produce_locked_rows,
    KeptRow: row_locking.produce_kept_row,
}
