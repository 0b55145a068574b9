"""Keys as bytes: the order of the bytes is the order of the values.

A key is its values one after another, each with a marker before it:

    0x01 value       0x02 alone is NULL, which so comes last

    INTEGER, TIMESTAMP   u64 big-endian, the sign bit flipped (microseconds since 1970)
    DOUBLE               its 64 bits big-endian; a negative one inverted, else the sign bit
                         flipped; -0.0 is written as 0.0
    BOOLEAN              00 or 01
    DATE                 u32 big-endian, 1 is 0001-01-01
    TEXT                 UTF-8, with 00 written as 01 01 and 01 as 01 02, then 00
    NUMERIC              02 for zero; a positive number 03, the exponent of its first digit
                         (u16 big-endian plus 8000 hex), its digits without trailing zeros;
                         each digit d is the half byte d + 1, and a half byte 0 or two end
                         them. A negative one is 01 and then all of that inverted.

Each value says itself where it ends, so no encoded value is the beginning of another, and
a key of the first columns is a prefix exactly of the keys that share them. Equal values
have equal bytes: 1.0 and 1.00 are the same key, as are 0.0 and -0.0. (FoundationDB's tuple
layer is the model. TEXT ends in one byte here because its escape is never below it.)

TEXT is ordered by code point, PostgreSQL's collation "C".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn

from ferrisdb.errors import CorruptionError, InvariantViolation, NumericValueOutOfRange, broken
from ferrisdb.query.types import Kind, SqlType, Value

_PRESENT, _NULL = 1, 2
_SIGN = 1 << 63
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_INVERTED = bytes(255 - byte for byte in range(256))
_DIGIT_TO_HALF_BYTE = str.maketrans("0123456789", "123456789a")
_HALF_BYTE_TO_DIGIT = str.maketrans("123456789a", "0123456789")
_EXPONENT_BIAS = 0x8000
_UNREADABLE = (struct.error, ValueError, IndexError, ArithmeticError)

_pack_marked_u64 = struct.Struct(">BQ").pack
_pack_marked_u32 = struct.Struct(">BI").pack
_pack_double = struct.Struct(">d").pack
_unpack_u64 = struct.Struct(">Q").unpack_from
_unpack_i64 = struct.Struct(">q").unpack
_unpack_u32 = struct.Struct(">I").unpack_from
_unpack_double = struct.Struct(">d").unpack


Encoder = Callable[[Sequence[Value]], bytes]


class KeyCodec:
    """Writes and reads keys of these types. Thread-safe. `prefix` stands before every key."""

    def __init__(self, types: Sequence[SqlType], prefix: bytes = b"") -> None:
        self.types = tuple(types)
        self.prefix = prefix
        self.encode: Encoder = _compile_encoder(self.types, prefix)
        """The key of one value for each type. Raises InvariantViolation for other values."""
        self._readers = [_READERS[type.kind] for type in self.types]

    def decode(self, data: bytes) -> tuple[Value, ...]:
        """The values, NUMERIC in its shortest form or the column's scale. Raises CorruptionError."""
        values: list[Value] = []
        offset = len(self.prefix)
        try:
            for type, read in zip(self.types, self._readers, strict=True):
                value, offset = _read_value(data, offset, type, read)
                values.append(value)
            if offset != len(data):
                raise ValueError("bytes are left over")
        except _UNREADABLE as error:
            _damaged(data, offset, error)
        return tuple(values)

    def decode_first(self, data: bytes) -> tuple[tuple[Value, ...], bytes]:
        """As many values as are there, and the bytes behind them: of a bound, which may stand
        anywhere between two keys."""
        values: list[Value] = []
        offset = len(self.prefix)
        for type, read in zip(self.types, self._readers, strict=True):
            try:
                value, offset = _read_value(data, offset, type, read)
            except _UNREADABLE:
                break
            values.append(value)
        return tuple(values), data[offset:]


def encode_key(types: Sequence[SqlType], values: Sequence[Value]) -> bytes:
    """One key, without making a codec for it."""
    return b"".join(_encode_value(type, value) for type, value in zip(types, values, strict=True))


def prefix_range(prefix: bytes) -> tuple[bytes, bytes]:
    """(lo, hi): lo <= key < hi is true of exactly the keys that begin with `prefix`.

    The prefix must not be all 0xFF bytes, which no SQL key is.
    """
    kept = prefix.rstrip(b"\xff")
    if not kept:
        broken("a prefix must have a byte below 0xFF")
    return prefix, kept[:-1] + bytes([kept[-1] + 1])


def _not_a_key(error: Exception) -> NoReturn:
    raise InvariantViolation(
        f"internal rule broken: a key must have the types of its columns ({error})",
        hint="this is a bug in FerrisDB; please report it",
    ) from error


def _damaged(data: bytes, offset: int, error: Exception) -> NoReturn:
    raise CorruptionError(
        f"a key of {len(data)} bytes cannot be read: {error}", file="table key", offset=offset
    ) from error


# --- writing ----------------------------------------------------------------------------


def _encode_text(value: str) -> bytes:
    return b"\x01" + value.encode().replace(b"\x01", b"\x01\x02").replace(b"\x00", b"\x01\x01") + b"\x00"


def _encode_double(value: float) -> bytes:
    # Adding 0.0 turns -0.0 into 0.0, and nothing else.
    (bits,) = _unpack_i64(_pack_double(value + 0.0))
    return _pack_marked_u64(_PRESENT, bits + _SIGN if bits >= 0 else ~bits)


def _encode_numeric(value: Decimal | int) -> bytes:
    if not value:
        return b"\x01\x02"
    # '-1.2345E+3', for numbers of any size and without rounding.
    mantissa, _, exponent = format(Decimal(value), "E").partition("E")
    biased = int(exponent) + _EXPONENT_BIAS
    if not 0 <= biased <= 0xFFFF:
        raise NumericValueOutOfRange("NUMERIC is too large or too small for a key")
    digits = mantissa.lstrip("-").replace(".", "").rstrip("0").translate(_DIGIT_TO_HALF_BYTE)
    body = biased.to_bytes(2) + bytes.fromhex(digits + ("0" if len(digits) % 2 else "00"))
    return b"\x01\x01" + body.translate(_INVERTED) if mantissa[0] == "-" else b"\x01\x03" + body


_BODIES: dict[Kind, str] = {
    Kind.INTEGER: "pack_u64(1, {0} + 9223372036854775808)",
    Kind.TIMESTAMP: "pack_u64(1, ({0} - epoch) // microsecond + 9223372036854775808)",
    Kind.DATE: "pack_u32(1, {0}.toordinal())",
    Kind.BOOLEAN: "(b'\\x01\\x01' if {0} else b'\\x01\\x00')",
    Kind.DOUBLE: "encode_double({0})",
    Kind.TEXT: "encode_text({0})",
    Kind.NUMERIC: "encode_numeric({0})",
}
_NAMES = {
    "pack_u64": _pack_marked_u64,
    "pack_u32": _pack_marked_u32,
    "epoch": _EPOCH,
    "microsecond": _MICROSECOND,
    "encode_double": _encode_double,
    "encode_text": _encode_text,
    "encode_numeric": _encode_numeric,
    "struct_error": struct.error,
    "not_a_key": _not_a_key,
}


def _compile_encoder(types: Sequence[SqlType], prefix: bytes) -> Encoder:
    """One function for a key: `v0, v1, = values; return prefix + (...) + (...)`."""
    variables = [f"v{number}" for number in range(len(types))]
    parts = [
        f"(b'\\x02' if {variable} is None else {_BODIES[type.kind].format(variable)})"
        for variable, type in zip(variables, types, strict=True)
    ]
    if prefix or not parts:
        parts.insert(0, "prefix")
    source = [
        "def encode(values):",
        "    try:",
        f"        [{', '.join(variables)}] = values",
        f"        return {' + '.join(parts)}",
        "    except (TypeError, AttributeError, ValueError, struct_error) as error:",
        "        not_a_key(error)",
    ]
    namespace: dict[str, Any] = {**_NAMES, "prefix": prefix}
    exec(compile("\n".join(source), "<key codec>", "exec"), namespace)
    encode: Encoder = namespace["encode"]
    return encode


_ENCODERS = {kind: _compile_encoder((SqlType(kind),), b"") for kind in _BODIES}


def _encode_value(type: SqlType, value: Value) -> bytes:
    return _ENCODERS[type.kind]((value,))


# --- reading ----------------------------------------------------------------------------
#
# Each takes the offset behind the marker, and gives the value and the offset behind it.


def _read_value(
    data: bytes, offset: int, type: SqlType, read: Callable[[bytes, int, SqlType], tuple[Value, int]]
) -> tuple[Value, int]:
    """From the marker on. Raises one of _UNREADABLE."""
    if data[offset] == _NULL:
        return None, offset + 1
    if data[offset] != _PRESENT:
        raise ValueError(f"marker {data[offset]} is unknown")
    return read(data, offset + 1, type)


def _read_integer(data: bytes, offset: int, type: SqlType) -> tuple[Value, int]:
    return _unpack_u64(data, offset)[0] - _SIGN, offset + 8


def _read_timestamp(data: bytes, offset: int, type: SqlType) -> tuple[Value, int]:
    return _EPOCH + timedelta(0, 0, _unpack_u64(data, offset)[0] - _SIGN), offset + 8


def _read_date(data: bytes, offset: int, type: SqlType) -> tuple[Value, int]:
    return date.fromordinal(_unpack_u32(data, offset)[0]), offset + 4


def _read_boolean(data: bytes, offset: int, type: SqlType) -> tuple[Value, int]:
    if data[offset] > 1:
        raise ValueError(f"boolean {data[offset]} is unknown")
    return data[offset] == 1, offset + 1


def _read_double(data: bytes, offset: int, type: SqlType) -> tuple[Value, int]:
    (bits,) = _unpack_u64(data, offset)
    raw = bits - _SIGN if bits & _SIGN else ~bits & 0xFFFF_FFFF_FFFF_FFFF
    return _unpack_double(raw.to_bytes(8))[0], offset + 8


def _read_text(data: bytes, offset: int, type: SqlType) -> tuple[Value, int]:
    end = data.index(b"\x00", offset)
    raw = data[offset:end]
    if b"\x01" in raw:
        raw = raw.replace(b"\x01\x01", b"\x00").replace(b"\x01\x02", b"\x01")
    return raw.decode(), end + 1


def _read_numeric(data: bytes, offset: int, type: SqlType) -> tuple[Value, int]:
    sign = data[offset]
    if sign == 2:
        return Decimal(0) if not type.scale else Decimal((0, (0,), -type.scale)), offset + 1
    if sign not in (1, 3):
        raise ValueError(f"sign {sign} is unknown")
    end = _end_of_digits(data, offset + 3, ended_by=0x00 if sign == 3 else 0xFF)
    body = data[offset + 1 : end] if sign == 3 else data[offset + 1 : end].translate(_INVERTED)
    digits = body[2:].hex().rstrip("0").translate(_HALF_BYTE_TO_DIGIT)
    exponent = int.from_bytes(body[:2]) - _EXPONENT_BIAS
    # At least the places that the column shows, and no positive exponent.
    missing = max(exponent + (type.scale or 0) - (len(digits) - 1), 0)
    digits += "0" * missing
    return Decimal(f"{'-' if sign == 1 else ''}{digits}E{exponent - len(digits) + 1}"), end


def _end_of_digits(data: bytes, offset: int, ended_by: int) -> int:
    low = ended_by & 0x0F
    while data[offset] & 0x0F != low:
        offset += 1
    return offset + 1


_READERS: dict[Kind, Callable[[bytes, int, SqlType], tuple[Value, int]]] = {
    Kind.INTEGER: _read_integer,
    Kind.TIMESTAMP: _read_timestamp,
    Kind.DATE: _read_date,
    Kind.BOOLEAN: _read_boolean,
    Kind.DOUBLE: _read_double,
    Kind.TEXT: _read_text,
    Kind.NUMERIC: _read_numeric,
}
