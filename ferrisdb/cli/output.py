"""Results as text, in the format that was asked for.

    table, box, markdown   drawn when all rows are there, because the widest sets the width
    csv, json, jsonl,      written as the rows come, in constant memory
    line, html

NULL must not look like an empty text: it is NULL in a table, null in JSON, an empty field
in CSV (where the empty text is ""), and marked by a class in HTML.

A NUMERIC is a JSON number with all of its digits, as PostgreSQL's to_json writes it: 17.00
stays 17.00. A reader that turns JSON numbers into floats loses digits on its own account;
Python's json.loads(text, parse_float=Decimal) does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import TextIO

from ferrisdb.cli.draw_table import draw_table
from ferrisdb.query.session import ResultColumn
from ferrisdb.query.types import Kind, Value
from ferrisdb.query.values import format_value

Columns = Sequence[ResultColumn]
Rows = Iterable[tuple[Value, ...]]
Writer = Callable[[Columns, Rows, TextIO], None]

_PLAIN_ENOUGH = frozenset("\n\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}")
_RIGHT_ALIGNED = frozenset({Kind.INTEGER, Kind.DOUBLE, Kind.NUMERIC})


def _drawn(table_format: str) -> Writer:
    def write(columns: Columns, rows: Rows, out: TextIO) -> None:
        show = _markdown_cell if table_format == "pipe" else _cell
        drawn = draw_table(
            [[show(value) for value in row] for row in rows],
            [show(column.name) for column in columns],
            table_format,
            # Its own reading of numbers would round NUMERIC and align the text "007" right.
            disable_numparse=True,
            preserve_whitespace=True,
            colalign=["right" if c.type.kind in _RIGHT_ALIGNED else "left" for c in columns],
        )
        out.write(drawn + "\n")

    return write


def drawn_lines(headers: Sequence[str], rows: Sequence[Sequence[str]], align: Sequence[str]) -> list[str]:
    """A table of the shell's own, line by line; `align` is "left" or "right" for each column."""
    drawn = draw_table(rows, headers, "presto", disable_numparse=True, colalign=align)
    return [line.rstrip() for line in drawn.splitlines()]


def _cell(value: Value) -> str:
    if value is None:
        return "NULL"
    text = format_value(value)
    return text if text.isprintable() else _harmless(text)


def _harmless(text: str) -> str:
    """Without what a terminal would obey: a stored escape sequence is shown, not done."""
    from unicodedata import category  # noqa: PLC0415

    # To Python no blank but " " is printable; Japanese has one of its own, and the joiners are
    # letters of Persian and the glue of emoji.
    return "".join(
        c
        if c.isprintable() or c in _PLAIN_ENOUGH or category(c) == "Zs"
        else c.encode("unicode_escape").decode()
        for c in text
    )


def _markdown_cell(value: Value) -> str:
    return _cell(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>")


def _write_csv(columns: Columns, rows: Rows, out: TextIO) -> None:
    out.write(",".join(_csv_field(column.name) for column in columns) + "\n")
    for row in rows:
        out.write(
            ",".join(["" if value is None else _csv_field(format_value(value)) for value in row]) + "\n"
        )


def _csv_field(text: str) -> str:
    """RFC 4180, and the empty text quoted. The csv module of Python 3.11 cannot tell it from NULL."""
    if text and not any(c in text for c in ',"\r\n') and text[0] != " " and text[-1] != " ":
        return text
    return '"' + text.replace('"', '""') + '"'


def _write_json(columns: Columns, rows: Rows, out: TextIO) -> None:
    before = "["
    for line in _json_objects(columns, rows):
        out.write(before + line)
        before = ",\n "
    out.write("]\n" if before != "[" else "[]\n")


def _write_jsonl(columns: Columns, rows: Rows, out: TextIO) -> None:
    for line in _json_objects(columns, rows):
        out.write(line + "\n")


def _json_objects(columns: Columns, rows: Rows) -> Iterable[str]:
    from json.encoder import encode_basestring  # noqa: PLC0415

    def text_of(value: Value) -> str:
        if value is None:
            return "null"
        if isinstance(value, float):
            return repr(value)
        if isinstance(value, (bool, int, Decimal)):
            return format_value(value)
        return encode_basestring(format_value(value))

    keys = [encode_basestring(column.name) + ": " for column in columns]
    for row in rows:
        yield "{" + ", ".join([key + text_of(value) for key, value in zip(keys, row, strict=True)]) + "}"


def _write_line(columns: Columns, rows: Rows, out: TextIO) -> None:
    width = max((len(column.name) for column in columns), default=0)
    for number, row in enumerate(rows):
        if number:
            out.write("\n")
        for column, value in zip(columns, row, strict=True):
            out.write(f"{column.name:>{width}} = {_cell(value)}\n")


def _write_html(columns: Columns, rows: Rows, out: TextIO) -> None:
    from html import escape  # noqa: PLC0415

    def cell(value: Value) -> str:
        return '<td class="null"></td>' if value is None else f"<td>{escape(format_value(value))}</td>"

    head = "".join(f"<th>{escape(column.name)}</th>" for column in columns)
    out.write(f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n")
    for row in rows:
        out.write("<tr>" + "".join([cell(value) for value in row]) + "</tr>\n")
    out.write("</tbody>\n</table>\n")


WRITERS: dict[str, Writer] = {
    "table": _drawn("presto"),
    "box": _drawn("simple_outline"),
    "csv": _write_csv,
    "json": _write_json,
    "jsonl": _write_jsonl,
    "markdown": _drawn("pipe"),
    "line": _write_line,
    "html": _write_html,
}
