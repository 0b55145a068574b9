"""Keys and values in SQL's words: 0xff7401000180...03 is account(3).

    account(3)              the row of table account with primary key 3
    account(row 3)          of a table without a primary key: its hidden row id
    by_owner('Ada')         an entry of a unique index
    by_owner('Ada' / 3)     of an index that is not unique: its columns / the row's key
    catalog account         the definition of a table or an index
    'greeting'              any other key that is readable text
    0x00ff                  any other

What is shown can be typed: `parse_key` reads all of these back. Bytes that do not decode are
shown as they are; this is for looking at damage, too.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from ferrisdb.cli.describe import identifier
from ferrisdb.errors import CorruptionError, InvalidParameterValue
from ferrisdb.query.encoding.key_codec import KeyCodec
from ferrisdb.query.encoding.row_codec import RowCodec
from ferrisdb.query.keyspace import (
    CATALOG_NAMES,
    CATALOG_VERSION,
    NEXT_TABLE_ID,
    index_prefix,
    name_key,
    row_prefix,
)
from ferrisdb.query.schema import Column, Index, Table
from ferrisdb.query.types import TEXT, Kind, SqlType, Value
from ferrisdb.query.values import CastContext, cast_function, format_value

_ROW_ID_BYTES = 8
_CALL = re.compile(r"""("(?:[^"]|"")+"|[^\W\d]\w*)\((.*)\)""", re.DOTALL)
_VALUES = re.compile(r"\s*('(?:[^']|'')*'|[^,'/\s]+)\s*([,/]|$)")
_UNQUOTED = frozenset({Kind.INTEGER, Kind.DOUBLE, Kind.NUMERIC, Kind.BOOLEAN})


def show_bytes(data: bytes, most: int) -> str:
    """'text' when it is printable ASCII, else 0x and hexadecimal; cut to about `most` characters."""
    if data.isascii() and data.decode("ascii").isprintable():
        text = "'" + data.decode("ascii").replace("'", "''") + "'"
        return text if len(text) <= most else f"{text[:most]}... ({len(data)} bytes)"
    shown = data[: max(1, most // 2)]
    return f"0x{shown.hex()}" + ("" if len(shown) == len(data) else f"... ({len(data)} bytes)")


class KeyNames:
    """What the keys of a database mean, by its catalog. No tables: all is bytes."""

    def __init__(self, tables: Sequence[Table], most: int) -> None:
        """`most` characters are shown of a key or a value."""
        self._most = most
        self._entries = [entry for table in tables for entry in _entries_of(table)]

    def key(self, key: bytes) -> str:
        if key == CATALOG_VERSION:
            return "catalog version"
        if key == NEXT_TABLE_ID:
            return "catalog next table id"
        if key.startswith(CATALOG_NAMES):
            return self._cut(
                "catalog " + identifier(key.removeprefix(CATALOG_NAMES).decode(errors="replace"))
            )
        for entry in self._entries:
            if key.startswith(entry.prefix):
                return self._cut(entry.text(key)) or show_bytes(key, self._most)
        return show_bytes(key, self._most)

    def value(self, key: bytes, value: bytes | None) -> str:
        """The value of `key`: a row's columns, an index entry's row, or bytes."""
        if value is None:
            return "deleted"
        for entry in self._entries:
            if key.startswith(entry.prefix):
                return self._cut(entry.value_text(value)) or show_bytes(value, self._most)
        return show_bytes(value, self._most)

    def parse_key(self, text: str) -> bytes:
        """The key that `text` shows. A word in no form stands for its own bytes.

        Raises InvalidParameterValue.
        """
        if text.startswith("0x"):
            try:
                return bytes.fromhex(text[2:])
            except ValueError:
                raise InvalidParameterValue(f"{text} is not hexadecimal: two digits a byte") from None
        if len(text) > 1 and text[0] == text[-1] == "'":
            return text[1:-1].replace("''", "'").encode()
        if text in ("catalog version", "catalog next table id"):
            return CATALOG_VERSION if text == "catalog version" else NEXT_TABLE_ID
        if text.startswith("catalog "):
            return name_key(_unquoted(text.removeprefix("catalog ")))
        call = _CALL.fullmatch(text)
        for entry in self._entries:
            if call is not None and entry.name == _unquoted(call[1]):
                return entry.parse(call[2])
        return text.encode()

    def _cut(self, text: str) -> str:
        return text if len(text) <= self._most else text[: self._most] + "..."


class _Entries:
    """The rows of a table (`index` None), or the entries of one of its indexes."""

    def __init__(self, table: Table, index: Index | None) -> None:
        self._table = table
        self._index = index
        self.name = table.name if index is None else index.name
        self.prefix = row_prefix(table.id) if index is None else index_prefix(table.id, index.id)
        self._row_types = [table.columns[position].type for position in table.primary_key]
        positions = table.primary_key if index is None else index.columns
        self._types = [table.columns[position].type for position in positions]

    def text(self, key: bytes) -> str:
        """Empty when the key cannot be decoded."""
        rest = key[len(self.prefix) :]
        if self._index is None:
            inside = self._row_key_text(rest)
        else:
            inside = _values_text(self._types, rest) or self._plain_entry_text(rest)
        return f"{identifier(self.name)}({inside})" if inside else ""

    def value_text(self, value: bytes) -> str:
        if self._index is None:
            try:
                values = _row_codec(self._table.columns).decode(value)
            except CorruptionError:
                return ""
            return "(" + _joined([column.type for column in self._table.columns], values) + ")"
        inside = self._row_key_text(value)
        return f"{identifier(self._table.name)}({inside})" if inside else ""

    def parse(self, inside: str) -> bytes:
        """The key whose text has this between its parentheses."""
        if self._index is None:
            return self.prefix + self._parse_row_key(inside)
        values, row = _parse_values(inside)
        key = self.prefix + self._encode(self._types, values)
        return key if row is None else key + self._parse_row_key(row)

    def _row_key_text(self, data: bytes) -> str:
        if self._row_types:
            return _values_text(self._row_types, data)
        return f"row {int.from_bytes(data)}" if len(data) == _ROW_ID_BYTES else ""

    def _plain_entry_text(self, data: bytes) -> str:
        """Of an entry that has the row's key behind its own columns."""
        if self._row_types:
            values = _decoded([*self._types, *self._row_types], data)
            if values is None:
                return ""
            count = len(self._types)
            row = _joined(self._row_types, values[count:])
            return f"{_joined(self._types, values[:count])} / {row}"
        own = _values_text(self._types, data[:-_ROW_ID_BYTES])
        return f"{own} / {self._row_key_text(data[-_ROW_ID_BYTES:])}" if own else ""

    def _parse_row_key(self, text: str) -> bytes:
        if self._row_types:
            values, _ = _parse_values(text)
            return self._encode(self._row_types, values)
        match = re.fullmatch(r"\s*(?:row\s+)?(\d{1,19})\s*", text)
        if match is None:
            raise InvalidParameterValue(
                f"{self._table.name} has no primary key: its rows are {self._table.name}(row 1) and on"
            )
        return int(match[1]).to_bytes(_ROW_ID_BYTES)

    def _encode(self, types: Sequence[SqlType], values: Sequence[str | None]) -> bytes:
        if len(values) != len(types):
            raise InvalidParameterValue(
                f"a key of {self.name} has {len(types)} values, not {len(values)}: "
                + ", ".join(str(type) for type in types)
            )
        return _codec(tuple(types)).encode(
            [_typed(value, type) for value, type in zip(values, types, strict=True)]
        )


@functools.lru_cache(maxsize=256)
def _codec(types: tuple[SqlType, ...]) -> KeyCodec:
    return KeyCodec(types)


@functools.lru_cache(maxsize=256)
def _row_codec(columns: tuple[Column, ...]) -> RowCodec:
    return RowCodec(columns)


def _entries_of(table: Table) -> list[_Entries]:
    return [_Entries(table, None), *(_Entries(table, index) for index in table.indexes)]


def _decoded(types: Sequence[SqlType], data: bytes) -> tuple[Value, ...] | None:
    try:
        return _codec(tuple(types)).decode(data)
    except CorruptionError:
        return None


def _values_text(types: Sequence[SqlType], data: bytes) -> str:
    values = _decoded(types, data)
    return "" if values is None else _joined(types, values)


def _joined(types: Sequence[SqlType], values: Sequence[Value]) -> str:
    return ", ".join(_value_text(type, value) for type, value in zip(types, values, strict=True))


def _value_text(type: SqlType, value: Value) -> str:
    if value is None:
        return "NULL"
    text = format_value(value)
    if type.kind in _UNQUOTED:
        return text
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "'" + text.replace("'", "''") + "'"


def _parse_values(text: str) -> tuple[list[str | None], str | None]:
    """The values before a slash, and the text behind it: None when there is no slash."""
    values: list[str | None] = []
    offset = 0
    while True:
        match = _VALUES.match(text, offset)
        if match is None:
            raise InvalidParameterValue(
                f"({text}) is not a list of values",
                hint="write texts and dates as 'text', and commas between",
            )
        word = match[1]
        values.append(
            word[1:-1].replace("''", "'") if word[0] == "'" else None if word.upper() == "NULL" else word
        )
        offset = match.end()
        if match[2] != ",":
            return values, text[offset:] if match[2] else None


def _typed(text: str | None, type: SqlType) -> Value:
    cast = cast_function(TEXT, SqlType(type.kind), CastContext.EXPLICIT)
    return text if text is None or cast is None else cast.call(text)


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name[:1] == '"' else name.lower()
