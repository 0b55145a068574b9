"""CSV files: what is NULL, where a record stands, and which type a column has."""

from __future__ import annotations

import datetime
import gzip
import os
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrisdb.cli.csv_file import CsvFile, CsvFormat, is_quoted
from ferrisdb.cli.csv_types import TypeInference, convert_column, first_misfit
from ferrisdb.errors import DataError, Error, OperationalError
from ferrisdb.query.types import Kind

FIELD = st.none() | st.text(alphabet='ab,"\n\r ;NULé', max_size=6)


def records_of(path: Path, format: CsvFormat | None = None) -> list[tuple[int, list[str | None]]]:
    with CsvFile(str(path), format or CsvFormat()) as file:
        return [(line, list(fields)) for line, fields in file.records()]


def written(rows: list[list[str | None]], delimiter: str, null_text: str) -> str:
    """The model: quote everything that is not NULL."""

    def field(text: str | None) -> str:
        return null_text if text is None else '"' + text.replace('"', '""') + '"'

    return "".join(delimiter.join(field(text) for text in row) + "\n" for row in rows)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(st.lists(FIELD, min_size=3, max_size=3), max_size=5),
    delimiter=st.sampled_from([",", ";", "\t"]),
    null_text=st.sampled_from(["", "NULL", "\\N"]),
)
def test_what_is_quoted_comes_back_and_what_is_not_is_null(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str | None]], delimiter: str, null_text: str
) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_text(written([["a", "b", "c"], *rows], delimiter, null_text), encoding="utf-8", newline="")
    found = records_of(path, CsvFormat(delimiter, null_text))
    assert [fields for _, fields in found] == rows


@given(
    fields=st.lists(st.tuples(st.booleans(), st.text(alphabet='a,"\n ', max_size=5)), min_size=1, max_size=5)
)
def test_quoted_fields_are_told_from_bare_ones(fields: list[tuple[bool, str]]) -> None:
    raw = ",".join(
        '"' + text.replace('"', '""') + '"' if quoted else text.translate({ord(c): None for c in ',"\n'})
        for quoted, text in fields
    )
    assert is_quoted(raw + "\n", ",") == [quoted for quoted, _ in fields]


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'a,b\r\n1,"two\r\nlines"\r\n\r\n3,\r\n')
    assert records_of(path) == [(2, ["1", "two\r\nlines"]), (5, ["3", None])]


def test_an_empty_line_is_null_where_there_is_one_column(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('a\n1\n\n""\n')
    assert records_of(path) == [(2, ["1"]), (3, [None]), (4, [""])]


def test_compressed_files_byte_order_marks_and_encodings(tmp_path: Path) -> None:
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress("\ufeffa,b\nä,ö\n".encode()))
    with CsvFile(str(packed), CsvFormat()) as file:
        assert file.header == ["a", "b"]
        assert list(file.records()) == [(2, ["ä", "ö"])]
        assert file.position_bytes == file.size_bytes
    latin = tmp_path / "l.csv"
    latin.write_bytes("a\nä\n".encode("latin-1"))
    assert records_of(latin, CsvFormat(encoding="latin-1")) == [(2, ["ä"])]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no header"),
        (b"a,,c\n", "field 2 of the header is empty"),
        (b"a,b\n1,2\n1\n", "line 3: 1 fields, but the header has 2"),
        (b"a,b\n1,2,3\n", "line 2: 3 fields"),
        (b'a\n"never closed\n', "line 2: "),
        (b'a\n"x"y\n', "line 2: "),
        (b"a\n\xff\n", "not utf-8"),
    ],
)
def test_a_damaged_file_is_a_clear_error(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as error:
        records_of(path)
    assert "bad.csv" in error.value.message


def test_a_damaged_archive_is_a_clear_error(tmp_path: Path) -> None:
    whole = gzip.compress(b"a\n" + b"".join(b"%d\n" % (7919 * n % 10007) for n in range(5000)))
    damaged = tmp_path / "damaged.csv.gz"
    damaged.write_bytes(whole[:200] + bytes(4) + whole[204:])
    with pytest.raises(OperationalError, match=r"cannot read .*damaged\.csv\.gz"):
        records_of(damaged)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_can_not_be_read_twice_and_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OperationalError, match="it is a pipe"):
        records_of(tmp_path / "pipe")


def test_a_file_that_cannot_be_read_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match="No such file"):
        records_of(tmp_path / "absent.csv")
    torn = tmp_path / "torn.csv.gz"
    torn.write_bytes(gzip.compress(b"a\n" + bytes(range(48, 58)) * 1000 + b"\n")[:-12])
    with pytest.raises(OperationalError, match=r"torn\.csv\.gz"):
        records_of(torn)


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["0", "-7", None, "9223372036854775807"], Kind.INTEGER),
        (["1", "9223372036854775808"], Kind.NUMERIC),
        (["17.00", "3"], Kind.NUMERIC),
        (["1e10", "2.5"], Kind.DOUBLE),
        (["true", "FALSE", None], Kind.BOOLEAN),
        (["1994-01-01", "2020-02-29"], Kind.DATE),
        (["1994-01-01", "2020-02-29 10:00:00.25", "2020-02-29T10:00"], Kind.TIMESTAMP),
        (["2020-02-30"], Kind.TEXT),
        (["00123"], Kind.TEXT),
        (["+49"], Kind.TEXT),
        (["1_000"], Kind.TEXT),
        (["1", "x"], Kind.TEXT),
        (["t", "f"], Kind.TEXT),
        (["1", "true"], Kind.TEXT),
        (["1", ""], Kind.TEXT),
        (["١"], Kind.TEXT),
        (["nan"], Kind.TEXT),
        (["1e999"], Kind.TEXT),
        ([None, None], Kind.TEXT),
        ([], Kind.TEXT),
    ],
)
def test_the_type_of_a_column(texts: list[str | None], kind: Kind) -> None:
    inference = TypeInference()
    for text in texts:
        inference.see([text])
    assert inference.type.kind is kind


@given(
    column=st.one_of(
        st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)),
        st.lists(st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=2)),
        st.lists(st.none() | st.dates()),
        st.lists(st.none() | st.datetimes()),
        st.lists(st.none() | st.booleans()),
    )
)
def test_a_column_comes_back_with_the_type_that_was_inferred(column: list[object]) -> None:
    texts = [None if value is None else str(value) for value in column]
    inference = TypeInference()
    inference.see(texts)
    found = list(convert_column(inference.type.kind, texts))
    if all(value is None for value in column) or inference.type.kind is Kind.TEXT:
        assert found == texts
    else:
        assert [None if v is None else Decimal(v) if isinstance(v, int) else v for v in found] == [
            None if v is None else Decimal(v) if isinstance(v, int) else v for v in column
        ]


@given(
    kind=st.sampled_from([Kind.INTEGER, Kind.NUMERIC, Kind.DOUBLE, Kind.DATE, Kind.TIMESTAMP, Kind.BOOLEAN]),
    texts=st.lists(st.none() | st.text(alphabet="0123456789-. :Te_x", max_size=20), max_size=6),
)
def test_the_fast_way_and_the_slow_way_agree(kind: Kind, texts: list[str | None]) -> None:
    misfit = first_misfit(kind, texts)
    try:
        together = list(convert_column(kind, texts))
    except Error:
        assert misfit is not None
        return
    assert misfit is None
    assert together == [next(iter(convert_column(kind, [text]))) for text in texts]


def test_a_misfit_is_found_where_it_stands() -> None:
    found = first_misfit(Kind.INTEGER, ["1", None, "two"])
    assert found is not None
    assert found[:2] == (2, "two")
    assert first_misfit(Kind.TEXT, ["x"]) is None
    assert list(convert_column(Kind.DATE, ["1994-01-01", None])) == [datetime.date(1994, 1, 1), None]
