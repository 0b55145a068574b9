"""`ferrisdb import`: all rows or none, and the reason by line and column."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

import ferrisdb
from ferrisdb.cli.main import main

Import = Callable[..., tuple[int, str]]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "db")


@pytest.fixture
def load(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Import:
    def run(table: str, content: str, *options: str) -> tuple[int, str]:
        file = tmp_path / "t.csv"
        file.write_text(content, encoding="utf-8")
        status = main(["import", path, table, str(file), *options])
        shown = capsys.readouterr()
        assert shown.out == ""
        assert "Traceback" not in shown.err
        return status, shown.err.replace(str(tmp_path) + "/", "")

    return run


def rows(path: str, sql: str) -> list[tuple[object, ...]]:
    with ferrisdb.open(path) as db:
        return db.query(sql).all()


def columns(path: str, table: str) -> dict[str, str]:
    with ferrisdb.open(path) as db:
        return {c.name: str(c.type) for t in db.tables() if t.name == table for c in t.columns}


def test_a_new_table_takes_its_types_from_every_value(load: Import, path: str) -> None:
    status, err = load(
        "Shop",
        "id,Zip,price,Opened on,open,note\n"
        '1,00123,1.50,1994-01-01,true,\n2,99,7,,FALSE,""\n3,,,2020-02-29,,x\n',
    )
    assert status == 0
    assert (
        'created shop (id INTEGER, zip TEXT, price NUMERIC, "Opened on" DATE, open BOOLEAN, note TEXT)' in err
    )
    assert "3 rows into Shop" in err
    assert columns(path, "shop") == {
        "id": "INTEGER",
        "zip": "TEXT",
        "price": "NUMERIC",
        "Opened on": "DATE",
        "open": "BOOLEAN",
        "note": "TEXT",
    }
    assert rows(
        path, 'SELECT id, zip, note FROM shop WHERE "Opened on" IS NULL OR note IS NULL ORDER BY id'
    ) == [
        (1, "00123", None),
        (2, "99", ""),
    ]


def test_a_table_that_exists_is_matched_by_the_header(load: Import, path: str) -> None:
    with ferrisdb.open(path) as db:
        db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b VARCHAR(3), c INTEGER DEFAULT 7)")
    assert load("T", "B,a\nx,1\n,2\n")[0] == 0
    assert rows(path, "SELECT a, b, c FROM t ORDER BY a") == [(1, "x", 7), (2, None, 7)]
    status, err = load("t", "a,bb,cc\n3,x,1\n")
    assert status == 1
    assert err.splitlines()[0] == 'ERROR 42703: t.csv: the table "t" has no column "bb", "cc"'
    status, err = load("t", "a\n3\n")
    assert status == 1
    assert 'the header does not name "b" of the table "t"' in err
    status, err = load("t", "a,b,A\n3,x,4\n")
    assert status == 1
    assert 'names "a" more than once' in err
    assert rows(path, "SELECT count(*) FROM t") == [(2,)]


def test_a_value_that_does_not_read_changes_nothing(load: Import, path: str) -> None:
    with ferrisdb.open(path) as db:
        db.execute("CREATE TABLE t (a INTEGER, b DATE)")
    content = "a,b\n" + "1,1994-01-01\n" * 4709 + "1,soon\n" + "2,1994-01-01\n" * 10
    status, err = load("t", content)
    assert status == 1
    assert err.splitlines()[0] == (
        'ERROR 22007: t.csv, line 4711, column "b": invalid input syntax for type DATE: "soon"'
    )
    assert "nothing was changed" in err
    assert rows(path, "SELECT count(*) FROM t") == [(0,)]


def test_a_row_that_the_database_refuses_is_named_by_its_line(load: Import, path: str) -> None:
    with ferrisdb.open(path) as db:
        db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT NOT NULL, c VARCHAR(3))")
    good = "".join(f"{n},x,y\n" for n in range(2500))
    for bad, code in (("7,again,y\n", "23505"), ("9000,,y\n", "23502"), ("9000,x,four\n", "22001")):
        status, err = load("t", "a,b,c\n" + good + bad + "9001,x,y\n")
        assert status == 1
        assert err.startswith(f"ERROR {code}: t.csv, line 2502: ")
        assert rows(path, "SELECT count(*) FROM t") == [(0,)]


def test_a_bad_new_table_is_not_left_behind(load: Import, path: str) -> None:
    status, err = load("t", "a,b\n1,2\n1\n")
    assert status == 1
    assert "line 3: 1 fields, but the header has 2" in err
    assert columns(path, "t") == {}


def test_in_batches_what_was_committed_stands(load: Import, path: str) -> None:
    with ferrisdb.open(path) as db:
        db.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    status, err = load("t", "a\n" + "".join(f"{n}\n" for n in range(25)) + "x\n", "--batch", "10")
    assert status == 1
    assert 'line 27, column "a"' in err
    assert "20 rows were committed before and stand" in err
    assert rows(path, "SELECT count(*), max(a) FROM t") == [(20, 19)]
    for batch in (1, 7, 10, 25, 100):
        status, err = load(f"new{batch}", "a\n" + "".join(f"{n}\n" for n in range(20)), "--batch", str(batch))
        assert status == 0, err
        assert rows(path, f"SELECT count(*), sum(a) FROM new{batch}") == [(20, 190)]


def test_delimiters_null_texts_encodings_and_compression(path: str, tmp_path: Path) -> None:
    file = tmp_path / "t.csv.gz"
    file.write_bytes(gzip.compress('a\tb\n1\t\\N\n2\tä\n3\t\n4\t"\\N"\n'.encode("latin-1")))
    options = ["--delimiter", "\\t", "--null", "\\N", "--encoding", "latin-1"]
    assert main(["import", path, "t", str(file), *options]) == 0
    assert rows(path, "SELECT a, b FROM t ORDER BY a") == [(1, None), (2, "ä"), (3, ""), (4, "\\N")]


def test_the_progress_bar_is_for_terminals_and_those_who_ask(load: Import) -> None:
    content = "a\n" + "1\n" * 3000
    assert "%" not in load("quiet", content)[1]
    assert "100%" in load("shown", content, "--progress")[1]


def test_a_file_without_rows_makes_a_table_of_text(load: Import, path: str) -> None:
    assert load("t", "a,b\n")[0] == 0
    assert columns(path, "t") == {"a": "TEXT", "b": "TEXT"}


def test_an_export_is_imported_as_it_was(
    load: Import, path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ferrisdb.open(path) as db:
        db.execute("CREATE TABLE t (a INTEGER, b TEXT, c TIMESTAMP, d NUMERIC)")
        db.execute_many(
            "INSERT INTO t VALUES (?, ?, ?, ?)",
            [(1, "", "2020-01-01 10:00:00.25", "1.50"), (2, None, None, None), (3, 'a,"b"\n;', None, "-7")],
        )
    assert main([path, "-c", "SELECT * FROM t ORDER BY a", "--format", "csv"]) == 0
    assert load("again", capsys.readouterr().out)[0] == 0
    assert columns(path, "again") == columns(path, "t")
    assert rows(path, "SELECT * FROM again ORDER BY a") == rows(path, "SELECT * FROM t ORDER BY a")


@pytest.mark.shared
def test_tables_of_tpch_are_loaded_as_declared_and_as_inferred(path: str) -> None:
    folder = Path(__file__).parents[2].parent / "shared" / "suites" / "tpch"
    if not folder.is_dir():
        pytest.skip("the TPC-H files do not lie beside the checkout")
    assert main([path, "-f", str(folder / "schema.sql")]) == 0
    file = str(folder / "customer.csv.gz")
    assert main(["import", path, "customer", file]) == 0
    assert main(["import", path, "inferred", file, "--batch", "700"]) == 0
    balances = [
        rows(path, f"SELECT count(*), sum(c_acctbal), min(c_name) FROM {table}")
        for table in ("customer", "inferred")
    ]
    assert balances[0] == balances[1]
    assert balances[0][0][0] == 1500
    assert columns(path, "inferred") == {
        name: type.partition("(")[0] for name, type in columns(path, "customer").items()
    }


@pytest.mark.parametrize(("file", "said"), [("absent.csv", "No such file"), ("torn.csv", "no header")])
def test_a_file_that_cannot_be_read_makes_no_database(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, said: str
) -> None:
    (tmp_path / "torn.csv").touch()
    assert main(["import", path, "t", str(tmp_path / file)]) == 1
    assert said in capsys.readouterr().err
    assert not Path(path).exists()


def test_an_encoding_of_bytes_to_bytes_is_none(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["import", path, "t", "t.csv", "--encoding", "base64"])
    assert "there is no encoding 'base64'" in capsys.readouterr().err
