"""One statement with many parameters: executemany.

A statement is prepared once for each combination of kinds among the parameters, which is
mostly one. Rows of an INSERT that is made of parameters and constants take a shorter way:

    parameters -> kinds, the same as before? -> row -> batch of 1000 -> checked and written

Everything else, UPDATE and DELETE and an INSERT that reads the store, runs parameter by
parameter, and sees what the runs before it did.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ferrisdb.query.change.insert import INSERT_BATCH_ROWS, PreparedInsert
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.prepared import PreparedChange
from ferrisdb.query.types import SqlType, Value
from ferrisdb.query.values import type_of_value

if TYPE_CHECKING:
    from ferrisdb.query.shared_state import ParsedStatement
    from ferrisdb.query.statement_runner import StatementRunner

RowMaker = Callable[[Sequence[Value]], list[Value]]


class ManyRuns:
    """The runs of one executemany, in one transaction."""

    def __init__(self, runner: StatementRunner, parsed: ParsedStatement) -> None:
        self._runner = runner
        self._parsed = parsed
        self._prepared: dict[Hashable, PreparedChange] = {}
        self._makers: dict[tuple[SqlType, ...], RowMaker] = {}
        self._batch: list[list[Value]] = []
        self._batch_insert: PreparedInsert | None = None

    def run(self, rows: Iterable[Sequence[object] | Mapping[str, object]]) -> int:
        """The number of rows that all runs changed."""
        count = 0
        last_kinds: tuple[SqlType, ...] | None = None
        make: RowMaker | None = None
        for given in rows:
            if type(given) is tuple or type(given) is list:
                # Every value passes here before it is used: it also refuses what does not fit.
                kinds = tuple(map(type_of_value, given))
                if kinds != last_kinds:
                    last_kinds, make = kinds, self._makers.get(kinds)
                if make is not None:
                    self._batch.append(make(given))
                    if len(self._batch) >= INSERT_BATCH_ROWS:
                        count += self._write_batch()
                    continue
                last_kinds = None
            count += self._write_batch() + self._run_once(Parameters.of(given))
        return count + self._write_batch()

    def _run_once(self, given: Parameters) -> int:
        prepared = self._prepared.get(given.signature)
        if prepared is None:
            prepared = self._runner.prepare_change(self._parsed, given)
            self._prepared[given.signature] = prepared
            self._learn_maker(prepared, given)
        return prepared.run(self._runner.execution(given))

    def _learn_maker(self, prepared: PreparedChange, given: Parameters) -> None:
        if isinstance(prepared, PreparedInsert) and all(isinstance(key, int) for key in given.values):
            maker = prepared.row_maker()
            if maker is not None:
                self._makers[tuple(map(type_of_value, given.values.values()))] = maker
                self._batch_insert = prepared

    def _write_batch(self) -> int:
        if not self._batch or self._batch_insert is None:
            return 0
        batch, self._batch = self._batch, []
        return self._batch_insert.run_each(self._runner.execution(Parameters({})), batch)
