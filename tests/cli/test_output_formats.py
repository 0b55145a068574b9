"""Each format, as a transcript: the same four rows, NULL and what must be escaped."""

from __future__ import annotations

import csv
import datetime
import io
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrisdb.cli.csv_file import CsvFile, CsvFormat
from ferrisdb.cli.main import FORMATS
from ferrisdb.cli.output import WRITERS
from ferrisdb.query.session import ResultColumn
from ferrisdb.query.types import DATE, DOUBLE, INTEGER, NUMERIC, TEXT, Value

COLUMNS = (
    ResultColumn("id", INTEGER),
    ResultColumn("price", NUMERIC),
    ResultColumn("name", TEXT),
    ResultColumn("day", DATE),
)
ROWS: list[tuple[Value, ...]] = [
    (1, Decimal("17.00"), "007", datetime.date(1994, 1, 1)),
    (-20, None, 'a|b "c", <d>', None),
    (3, Decimal("0.5"), "", None),
    (4, Decimal("1E+3"), "two\nlines\x1b[31m", None),
]

SHOWN = {
    "table": """\
  id | price | name          | day
-----+-------+---------------+------------
   1 | 17.00 | 007           | 1994-01-01
 -20 |  NULL | a|b "c", <d>  | NULL
   3 |   0.5 |               | NULL
   4 |  1000 | two           | NULL
     |       | lines\\x1b[31m |
""",
    "csv": """\
id,price,name,day
1,17.00,007,1994-01-01
-20,,"a|b ""c"", <d>",
3,0.5,"",
4,1000,"two
lines\x1b[31m",
""",
    "json": """\
[{"id": 1, "price": 17.00, "name": "007", "day": "1994-01-01"},
 {"id": -20, "price": null, "name": "a|b \\"c\\", <d>", "day": null},
 {"id": 3, "price": 0.5, "name": "", "day": null},
 {"id": 4, "price": 1000, "name": "two\\nlines\\u001b[31m", "day": null}]
""",
    "line": """\
   id = 1
price = 17.00
 name = 007
  day = 1994-01-01

   id = -20
price = NULL
 name = a|b "c", <d>
  day = NULL

   id = 3
price = 0.5
 name =\x20
  day = NULL

   id = 4
price = 1000
 name = two
lines\\x1b[31m
  day = NULL
""",
    "html": """\
<table>
<thead><tr><th>id</th><th>price</th><th>name</th><th>day</th></tr></thead>
<tbody>
<tr><td>1</td><td>17.00</td><td>007</td><td>1994-01-01</td></tr>
<tr><td>-20</td><td class="null"></td><td>a|b &quot;c&quot;, &lt;d&gt;</td><td class="null"></td></tr>
<tr><td>3</td><td>0.5</td><td></td><td class="null"></td></tr>
<tr><td>4</td><td>1000</td><td>two
lines\x1b[31m</td><td class="null"></td></tr>
</tbody>
</table>
""",
}


def shown(
    format: str, rows: list[tuple[Value, ...]] = ROWS, columns: tuple[ResultColumn, ...] = COLUMNS
) -> str:
    out = io.StringIO()
    WRITERS[format](columns, iter(rows), out)
    return out.getvalue()


@pytest.mark.parametrize("format", SHOWN)
def test_what_a_format_shows(format: str) -> None:
    assert without_trailing_blanks(shown(format)) == without_trailing_blanks(SHOWN[format])


def without_trailing_blanks(text: str) -> list[str]:
    return [line.rstrip() for line in text.split("\n")]


def test_every_format_of_the_command_line_is_there_and_takes_no_rows() -> None:
    assert tuple(WRITERS) == FORMATS
    for format in FORMATS:
        empty = shown(format, [])
        assert empty == "" if format in {"jsonl", "line"} else empty.endswith("\n")
    assert shown("json", []) == "[]\n"


def test_jsonl_is_an_object_a_line() -> None:
    assert [json.loads(line) for line in shown("jsonl").splitlines()] == json.loads(shown("json"))


@pytest.mark.parametrize(
    ("stored", "seen"),
    [
        ("\N{IDEOGRAPHIC SPACE}日本\N{NO-BREAK SPACE}語", None),
        ("می\N{ZERO WIDTH NON-JOINER}خواهم", None),
        ("👩\N{ZERO WIDTH JOINER}🚀", None),
        ("\x1b[31m\x07\t\x9b", r"\x1b[31m\x07\t\x9b"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}\N{LINE SEPARATOR}", r"\u202e\u2028"),
    ],
)
def test_a_terminal_gets_every_script_and_no_orders(stored: str, seen: str | None) -> None:
    assert shown("line", [(stored,)], (ResultColumn("a", TEXT),)) == f"a = {seen or stored}\n"


def test_markdown_escapes_what_would_end_a_cell() -> None:
    lines = shown("markdown").splitlines()
    assert lines[1].replace("-", "").replace(":", "").replace("|", "") == ""
    assert [line.replace("\\|", "").count("|") for line in lines] == [5] * 6
    assert "two<br>lines" in lines[5]


def test_a_box_is_closed() -> None:
    lines = shown("box").splitlines()
    assert (lines[0][0], lines[0][-1], lines[-1][0], lines[-1][-1]) == ("┌", "┐", "└", "┘")


@given(rows=st.lists(st.tuples(st.none() | st.text(), st.none() | st.text()), max_size=4))
def test_csv_is_read_back_by_import_with_null_and_empty_apart(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str | None, str | None]]
) -> None:
    text = shown("csv", list(rows), (ResultColumn("a", TEXT), ResultColumn("b", TEXT)))
    path: Path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with CsvFile(str(path), CsvFormat()) as file:
        assert [tuple(fields) for _, fields in file.records()] == rows
    assert [[value or "" for value in row] for row in rows] == list(
        csv.reader(io.StringIO(text, newline=""))
    )[1:]


@given(
    st.lists(st.tuples(st.none() | st.floats(allow_nan=False, allow_infinity=False), st.none() | st.text()))
)
def test_json_is_json(rows: list[tuple[float | None, str | None]]) -> None:
    text = shown("json", list(rows), (ResultColumn('a"', DOUBLE), ResultColumn("b", TEXT)))
    assert json.loads(text) == [{'a"': a, "b": b} for a, b in rows]


def test_json_keeps_every_digit() -> None:
    digits = "12345678901234567890.123456789012345678900"
    text = shown("json", [(Decimal(digits),)], (ResultColumn("n", NUMERIC),))
    assert json.loads(text, parse_float=Decimal) == [{"n": Decimal(digits)}]
    assert digits in text
