"""Rows as bytes: functions made for one table, and for the columns that a query needs.

`RowCodec` writes Python code for its table and compiles it. A decoder of two columns of
nine is one `struct.unpack_from`, whose format skips the other seven, and one slice:

    r_layout, r_null0, a, r_end2, r_end3 = r_unpack(row)
    if r_layout != 1: a, b = r_other(row)
    else:
        if not 53 <= r_end2 <= r_end3 <= len(row): r_bad_ends()
        b = row[r_end2:r_end3].decode()
        if r_null0 & 9: ...

The layout is drawn in row_layout.py. Figures: 9 columns, 2 of them decoded, 0.2 us against
1 us for all; a NUMERIC(p,s) up to 18 digits is a scaled integer, which is written and read
in less than half the time of decimal text.

Bytes that cannot be a row are a CorruptionError. Not every damaged row can be told from a
good one here: a changed digit is still a number. The checksums of the storage below see that.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn

from ferrisdb.errors import CorruptionError, InvariantViolation
from ferrisdb.query.encoding.row_layout import NARROW, NARROW_MAX_BYTES, WIDE, Field, RowLayout, Storage
from ferrisdb.query.schema import Column
from ferrisdb.query.types import Value
from ferrisdb.query.values.numbers import NUMERIC_CONTEXT

RowDecoder = Callable[[bytes], tuple[Value, ...]]

ROW_ERRORS = (struct.error, ValueError, ArithmeticError, IndexError)
"""What decoding of bytes that are no row may raise inside; never at the user."""

_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


class _Dates(dict[int, date]):
    """Days to dates. A look-up takes a third of `date.fromordinal`; years 1900 to 2100 are kept."""

    _KEPT = range(date(1900, 1, 1).toordinal(), date(2101, 1, 1).toordinal())

    def __missing__(self, days: int) -> date:
        made = date.fromordinal(days)
        if days in self._KEPT:
            self[days] = made
        return made


_DATES = _Dates()


class RowCodec:
    """Writes and reads the rows of one table. Thread-safe."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._layout = RowLayout(columns)
        self._all = tuple(range(len(columns)))
        self._lock = threading.Lock()
        self._decoders: dict[tuple[tuple[int, ...], bool], RowDecoder] = {}
        self._encode = _compile_encoder(self._layout)

    def encode(self, values: Sequence[Value]) -> bytes:
        """The bytes of a row. The values have the types of the columns, NUMERIC(p,s) its scale.

        Raises InvariantViolation for values that do not: casts and NOT NULL come before.
        """
        try:
            return self._encode(values)
        except (*ROW_ERRORS, TypeError, AttributeError) as error:
            raise InvariantViolation(
                f"internal rule broken: a row must fit its columns ({error})",
                hint="this is a bug in FerrisDB; please report it",
            ) from error

    def decode(self, data: bytes) -> tuple[Value, ...]:
        """All values. Raises CorruptionError."""
        return self.decoder(self._all)(data)

    def decoder(self, positions: Sequence[int]) -> RowDecoder:
        """A function that reads the columns at `positions`, in that order. Made once and kept."""
        return self._decoder(tuple(positions), is_wide=False)

    def inline_decoder(
        self, positions: Sequence[int], row: str, targets: Sequence[str]
    ) -> tuple[list[str], dict[str, object]]:
        """Python lines that read the bytes in the variable `row` into the `targets`.

        The second part says what their free names mean; all names begin with `row`'s own
        and an underscore. The lines run inside NUMERIC_CONTEXT, or at least in a decimal
        context of 18 digits. `positions` must not repeat. CorruptionError is raised as by
        `decode`.
        """
        return self._lines(tuple(positions), row, targets, is_wide=False, is_context_known=True)

    # --- making decoders ----------------------------------------------------------------

    def _decoder(self, positions: tuple[int, ...], is_wide: bool) -> RowDecoder:
        found = self._decoders.get((positions, is_wide))
        if found is not None:
            return found
        targets = [f"value{number}" for number in range(len(positions))]
        distinct = dict(zip(positions, targets, strict=True))
        lines, names = self._lines(tuple(distinct), "row", list(distinct.values()), is_wide, False)
        result = "".join(f"{distinct[position]}, " for position in positions)
        decode = _define("decode(row)", [*lines, f"return ({result})"], names)
        with self._lock:
            return self._decoders.setdefault((positions, is_wide), decode)

    def _lines(
        self,
        positions: tuple[int, ...],
        row: str,
        targets: Sequence[str],
        is_wide: bool,
        is_context_known: bool,
    ) -> tuple[list[str], dict[str, object]]:
        if not positions:
            return [], {}
        writer = _DecoderWriter(self._layout, row, is_wide, is_context_known)
        writer.write([self._layout.fields[position] for position in positions], targets)
        writer.names[f"{row}_other"] = _refuse if is_wide else self._other_layout(positions)
        return writer.lines, writer.names

    def _other_layout(self, positions: tuple[int, ...]) -> RowDecoder:
        """Reads rows that are not NARROW: seldom used, so made when the first one comes."""

        def decode(row: bytes) -> tuple[Value, ...]:
            return self._decoder(positions, is_wide=True)(row)

        return decode


class _DecoderWriter:
    """Writes the lines of one decoder."""

    def __init__(self, layout: RowLayout, row: str, is_wide: bool, is_context_known: bool) -> None:
        self.layout = layout
        self.row = row
        self.is_wide = is_wide
        self.is_context_known = is_context_known
        self.lines: list[str] = []
        self.names: dict[str, object] = {}

    def write(self, fields: Sequence[Field], targets: Sequence[str]) -> None:
        row = self.row
        target_of = {field.position: target for field, target in zip(fields, targets, strict=True)}
        null_bytes = sorted({field.position // 8 for field in fields if field.is_nullable})
        fixed = sorted((field for field in fields if not field.is_variable), key=lambda field: field.slot)
        variable = sorted((field for field in fields if field.is_variable), key=lambda field: field.slot)
        ends = sorted({slot for field in variable for slot in (field.slot - 1, field.slot) if slot >= 0})
        head = [f"{row}_layout", *(f"{row}_null{byte}" for byte in null_bytes)]
        head += [target_of[field.position] for field in fixed]
        head += [f"{row}_end{slot}" for slot in ends]
        fixed_slots = [field.slot for field in fixed]
        self.names[f"{row}_unpack"] = struct.Struct(
            self.layout.format(self.is_wide, null_bytes, fixed_slots, ends)
        ).unpack_from
        self.names[f"{row}_errors"] = ROW_ERRORS
        self.names[f"{row}_damaged"] = damaged_row
        body = [*self._check_ends(ends)]
        for field in (*fixed, *variable):
            body += self._convert(field, target_of[field.position])
        body += self._nulls(fields, target_of)
        listed = ", ".join(targets) + ","
        self.lines = [
            "try:",
            f"    {', '.join(head)}, = {row}_unpack({row})",
            f"    if {row}_layout != {WIDE if self.is_wide else NARROW}:",
            f"        {listed} = {row}_other({row})",
            *(["    else:", *(f"        {line}" for line in body)] if body else []),
            f"except {row}_errors as {row}_error:",
            f"    {row}_damaged({row}, {row}_error)",
        ]

    def _check_ends(self, ends: Sequence[int]) -> list[str]:
        if not ends:
            return []
        start = self.layout.variable_start(self.is_wide)
        chain = " <= ".join(f"{self.row}_end{slot}" for slot in ends)
        is_last = ends[-1] == len(self.layout.variable) - 1
        length = f"{'==' if is_last else '<='} len({self.row})"
        self.names[f"{self.row}_bad_ends"] = _bad_ends
        return [f"if not {start} <= {chain} {length}: {self.row}_bad_ends()"]

    def _convert(self, field: Field, target: str) -> list[str]:
        """From what struct gives to the value of the column."""
        row = self.row
        if field.storage is Storage.DATE:
            self.names[f"{row}_dates"] = _DATES
            return [f"{target} = {row}_dates[{target}]"]
        if field.storage is Storage.TIMESTAMP:
            self.names |= {f"{row}_epoch": _EPOCH, f"{row}_timedelta": timedelta}
            return [f"{target} = {row}_epoch + {row}_timedelta(0, 0, {target})"]
        if field.storage is Storage.SCALED:
            unit = f"{row}_unit{field.scale}"
            self.names[unit] = Decimal((0, (1,), -field.scale))
            if self.is_context_known:
                return [f"{target} = {target} * {unit}"]
            self.names[f"{row}_multiply"] = NUMERIC_CONTEXT.multiply
            return [f"{target} = {row}_multiply({target}, {unit})"]
        if not field.is_variable:
            return []
        text = f"{row}[{self._start(field)}:{row}_end{field.slot}].decode()"
        if field.storage is Storage.TEXT:
            return [f"{target} = {text}"]
        self.names[f"{row}_decimal"] = Decimal
        made = f"{row}_decimal({text})"
        return [
            f"{target} = None if {self._null_test(field)} else {made}"
            if field.is_nullable
            else f"{target} = {made}"
        ]

    def _start(self, field: Field) -> str:
        if field.slot == 0:
            return str(self.layout.variable_start(self.is_wide))
        return f"{self.row}_end{field.slot - 1}"

    def _null_test(self, field: Field) -> str:
        return f"{self.row}_null{field.position // 8} & {1 << field.position % 8}"

    def _nulls(self, fields: Sequence[Field], target_of: dict[int, str]) -> list[str]:
        """One test for each bitmap byte: most rows have no NULL and stop there."""
        lines: list[str] = []
        by_byte: dict[int, list[Field]] = {}
        for field in fields:
            if field.is_nullable and field.storage is not Storage.DECIMAL_TEXT:
                by_byte.setdefault(field.position // 8, []).append(field)
        for byte, group in sorted(by_byte.items()):
            tests = [f"if {self._null_test(field)}: {target_of[field.position]} = None" for field in group]
            if len(tests) > 1:
                mask = sum(1 << field.position % 8 for field in group)
                tests = [f"if {self.row}_null{byte} & {mask}:", *(f"    {test}" for test in tests)]
            lines += tests
        return lines


def _bad_ends() -> NoReturn:
    raise ValueError("its ends are out of order")


def _refuse(row: bytes) -> NoReturn:
    raise ValueError(f"layout {row[0]} is unknown")


def damaged_row(row: bytes, error: Exception) -> NoReturn:
    raise CorruptionError(
        f"a row of {len(row)} bytes cannot be read: {error}",
        file="table row",
        offset=0,
        hint="check the database; the row's block passed its checksum, so it was written wrong",
    ) from error


# --- the encoder ------------------------------------------------------------------------

_FILLERS = {
    Storage.DATE: "1",
    Storage.DOUBLE: "0.0",
    Storage.BOOLEAN: "False",
    Storage.TEXT: "b''",
    Storage.DECIMAL_TEXT: "b''",
}


def _compile_encoder(layout: RowLayout) -> Callable[[Sequence[Value]], bytes]:
    names: dict[str, object] = {
        "pack_narrow": struct.Struct(layout.format(is_wide=False)).pack,
        "pack_wide": struct.Struct(layout.format(is_wide=True)).pack,
        "epoch": _EPOCH,
        "microsecond": _MICROSECOND,
        "quantize": NUMERIC_CONTEXT.quantize,
        "scaleb": NUMERIC_CONTEXT.scaleb,
        "Decimal": Decimal,
    }
    lines = ["".join(f"c{field.position}, " for field in layout.fields) + "= values"] if layout.fields else []
    lines += [f"null{byte} = 0" for byte in range(layout.bitmap_bytes)]
    for field in layout.fields:
        lines += _encode_column(field, names)
    nulls = [f"null{byte}" for byte in range(layout.bitmap_bytes)]
    fixed = [f"c{field.position}" for field in layout.fixed]
    variable = [f"c{field.position}" for field in layout.variable]
    last = str(layout.variable_start(is_wide=False))
    for field in layout.variable:
        lines.append(f"end{field.slot} = {last} + len(c{field.position})")
        last = f"end{field.slot}"
    if variable:
        wider = layout.variable_start(is_wide=True) - layout.variable_start(is_wide=False)
        wide_ends = [f"end{field.slot} + {wider}" for field in layout.variable]
        wide = ", ".join([str(WIDE), *nulls, *fixed, *wide_ends])
        lines.append(
            f"if {last} > {NARROW_MAX_BYTES}: return b''.join((pack_wide({wide}), {', '.join(variable)}))"
        )
    ends = [f"end{field.slot}" for field in layout.variable]
    packed = f"pack_narrow({', '.join([str(NARROW), *nulls, *fixed, *ends])})"
    lines.append(f"return {' + '.join([packed, *variable])}")
    encode: Callable[[Sequence[Value]], bytes] = _define("encode(values)", lines, names)
    return encode


def _encode_column(field: Field, names: dict[str, object]) -> list[str]:
    column = f"c{field.position}"
    convert = _encoding(field, column, names)
    if not field.is_nullable:
        return [f"{column} = {convert}"] if convert else []
    bit = 1 << field.position % 8
    filler = _FILLERS.get(field.storage, "0")
    lines = [f"if {column} is None: null{field.position // 8} |= {bit}; {column} = {filler}"]
    return [*lines, f"else: {column} = {convert}"] if convert else lines


def _encoding(field: Field, column: str, names: dict[str, object]) -> str | None:
    """The expression that makes struct's number, or the variable bytes, of a value."""
    if field.storage is Storage.DATE:
        return f"{column}.toordinal()"
    if field.storage is Storage.TIMESTAMP:
        return f"({column} - epoch) // microsecond"
    if field.storage is Storage.SCALED:
        names[f"unit{field.scale}"] = Decimal((0, (1,), -field.scale))
        # quantize traps Inexact: a digit that the column cannot hold is an error, not lost.
        return f"int(scaleb(quantize({column}, unit{field.scale}), {field.scale}))"
    if field.storage is Storage.TEXT:
        return f"{column}.encode()"
    if field.storage is Storage.DECIMAL_TEXT:
        return f"str({column}).encode()"
    return None


def _define(signature: str, lines: Sequence[str], names: dict[str, object]) -> Any:
    source = f"def {signature}:\n" + "".join(f"    {line}\n" for line in lines)
    namespace = dict(names)
    # Every literal and name in the source is a number or an identifier of this module.
    exec(compile(source, "<row codec>", "exec"), namespace)
    return namespace[signature.partition("(")[0]]
