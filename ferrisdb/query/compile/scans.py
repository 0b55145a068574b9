"""Code that reads a table: the whole of it, ranges of a key, or single keys.

    whole or range     for keys, rows in tx.scan_batches(lo, hi): for row in rows: ...
    single key         row = tx.get(key)
    index              its entries first; each names a row's key, and rows come by get_many

The columns are decoded in place, and only those that the plan mentions.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ferrisdb.query.algebra.operators import KeyRange, Scan
from ferrisdb.query.bind.expressions import Slot
from ferrisdb.query.compile.access import KeyRanges
from ferrisdb.query.compile.writer import tuple_of
from ferrisdb.query.encoding.row_codec import RowCodec
from ferrisdb.query.keyspace import row_prefix
from ferrisdb.query.schema import Column

if TYPE_CHECKING:
    from ferrisdb.query.compile.program import Consume, Program


@functools.lru_cache(maxsize=256)
def codec_of(columns: tuple[Column, ...]) -> RowCodec:
    """Codecs write code of their own; one for a table is enough."""
    return RowCodec(columns)


def produce_scan(program: Program, scan: Scan, outer: Mapping[Slot, str], consume: Consume) -> None:
    _ScanWriter(program, scan, outer).write(consume)


class _ScanWriter:
    def __init__(self, program: Program, scan: Scan, outer: Mapping[Slot, str]) -> None:
        self._program = program
        self._scan = scan
        self._outer = outer
        self._names = program.namespace
        self._row = self._names.fresh("row")
        self._key = self._names.fresh("key")
        self._ranges = KeyRanges(scan.source.table, scan.access)
        self._wants_key = scan.source.row_key in scan.columns

    def write(self, consume: Consume) -> None:
        writer, access = self._program.writer, self._scan.access
        with ExitStack() as loops:
            for header in self._point_loops() if access.is_point else self._range_loops():
                loops.enter_context(writer.loop(header))
            if access.is_point or access.index is not None:
                writer.line(f"if {self._row} is None: continue")
            consume(self._decode())

    def _range_loops(self) -> list[str]:
        scan, access = self._scan, self._scan.access
        reverse = ", reverse=True" if access.is_reverse else ""
        loops = []
        if access.ranges == (KeyRange(),) or not any(True for _ in scan.expressions()):
            lo, hi = (self._names.name(bound) for bound in self._ranges.everything())
        else:
            lo, hi = self._names.fresh("lo"), self._names.fresh("hi")
            ranges = self._names.name(self._ranges.ranges, "f")
            loops.append(f"for {lo}, {hi} in {ranges}({', '.join(self._values())}):")
        keys, rows = self._names.fresh("keys"), self._names.fresh("rows")
        loops.append(f"for {keys}, {rows} in tx.scan_batches({lo}, {hi}{reverse}):")
        if access.index is not None:
            return [*loops, self._fetch(rows)]
        if self._wants_key:
            return [*loops, f"for {self._key}, {self._row} in zip({keys}, {rows}):"]
        return [*loops, f"for {self._row} in {rows}:"]

    def _point_loops(self) -> list[str]:
        """Loops over the rows of points; a missing row is None."""
        access, values, writer = self._scan.access, self._values(), self._program.writer
        keys = self._names.fresh("keys")
        if len(values) > 1:
            writer.line(f"{keys} = {self._names.name(self._ranges.points, 'f')}({', '.join(values)})")
        else:
            writer.line(f"{self._key} = {self._names.name(self._ranges.point, 'f')}(*{values[0]})")
            if access.index is None and not self._wants_key:
                return [f"for {self._row} in (tx.get({self._key}),) if {self._key} is not None else ():"]
            writer.line(f"{keys} = () if {self._key} is None else ({self._key},)")
        if access.index is None:
            return [f"for {self._key}, {self._row} in zip({keys}, tx.get_many({keys})):"]
        entries, entry = self._names.fresh("entries"), self._names.fresh("entry")
        writer.line(f"{entries} = [{entry} for {entry} in tx.get_many({keys}) if {entry} is not None]")
        return [self._fetch(entries)]

    def _fetch(self, entries: str) -> str:
        """A loop over rows whose keys end in the bytes that the index entries hold."""
        prefix = self._names.name(row_prefix(self._scan.source.table.id))
        keys = f"[{prefix} + {self._key} for {self._key} in {entries}]"
        if self._wants_key:
            batch = self._names.fresh("keys")
            return f"for {self._key}, {self._row} in zip(({batch} := {keys}), tx.get_many({batch})):"
        return f"for {self._row} in tx.get_many({keys}):"

    def _values(self) -> list[str]:
        """Code for the values of each range, as tuples."""
        compiler = self._program.expressions(self._outer, {})
        return [
            tuple_of([compiler.value(expression) for expression in key_range.expressions()])
            for key_range in self._scan.access.ranges
        ]

    def _decode(self) -> dict[Slot, str]:
        scan = self._scan
        source = scan.source
        stored = [slot for slot in scan.columns if slot.position is not None]
        names = self._program.new_names(stored)
        codec = codec_of(source.table.columns)
        positions = [slot.position for slot in stored if slot.position is not None]
        lines, free_names = codec.inline_decoder(positions, self._row, list(names.values()))
        for line in lines:
            self._program.writer.line(line)
        self._names.include(free_names)
        if source.row_key is not None:
            names[source.row_key] = self._key
        if source.row_value is not None:
            names[source.row_value] = self._row
        return names
