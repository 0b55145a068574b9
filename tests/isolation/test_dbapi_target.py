"""Other databases: any DB-API module will do, with its own words for levels."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ferrisdb.isolation.dbapi_target import DbApiSession, opener
from ferrisdb.isolation.dialects import DUCKDB, MYSQL, POSTGRESQL, SQL_SERVER, SQLITE, dialect_of
from ferrisdb.isolation.runner import RunOptions, run_permutations
from ferrisdb.isolation.runs import PermutationRun
from ferrisdb.isolation.spec_parser import parse_spec

LOST_UPDATE = """
setup { CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 10); }
teardown { DROP TABLE t; }
session a
setup { BEGIN ISOLATION LEVEL @LEVEL@; }
step a_reads { SELECT v FROM t; }
step a_writes { UPDATE t SET v = 11; }
step a_ends { COMMIT; }
session b
setup { BEGIN ISOLATION LEVEL @LEVEL@; }
step b_reads { SELECT v FROM t; }
step b_writes { UPDATE t SET v = 12; }
step b_ends { COMMIT; }
permutation a_reads b_reads a_writes b_writes a_ends b_ends
permutation a_writes a_ends b_writes b_ends
"""


def play(url: str, level: str) -> list[PermutationRun]:
    _, open_target = opener(url)
    options = RunOptions(level, abort_on_error=True)
    return list(run_permutations(parse_spec(LOST_UPDATE), open_target, options))


def test_sqlite_in_a_file_runs_a_spec(tmp_path: Path) -> None:
    # Given a database that locks the whole file, and tells by an error that it is locked
    url = f'sqlite3:connect("{tmp_path / "lab.db"}", timeout=5.0)'
    together, alone = play(url, "SERIALIZABLE")
    # Then the second writer is refused at once: waiting would be a deadlock,
    error = together.outcomes()["b_writes"].error
    assert error is not None
    assert error.message == "database is locked"
    # the first one's commit waits until the reader is gone,
    assert together.outcomes()["a_ends"].error is None
    # and one after the other may write.
    assert not alone.has_error
    assert together.teardown_failures == alone.teardown_failures == []


def test_a_database_that_cannot_be_asked_is_told_to_wait_by_the_clock(tmp_path: Path) -> None:
    # FerrisDB through its DB-API alone: nobody asks its lock table.
    together, alone = play(f'ferrisdb:connect("{tmp_path / "lab.ferris"}")', "SNAPSHOT")
    assert "b_writes" in together.waited
    error = together.outcomes()["b_writes"].error
    assert error is not None
    assert error.sqlstate == "40001"
    assert not alone.has_error


@pytest.mark.parametrize(
    ("name", "level", "statements"),
    [
        ("postgresql+psycopg://h/d", "SNAPSHOT", ["BEGIN ISOLATION LEVEL REPEATABLE READ"]),
        ("psycopg2", "read  committed", ["BEGIN ISOLATION LEVEL READ COMMITTED"]),
        (
            "mysql+pymysql://h/d",
            "snapshot",
            ["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION"],
        ),
        ("mssql+pyodbc://h/d", "snapshot", ["SET TRANSACTION ISOLATION LEVEL SNAPSHOT", "BEGIN TRANSACTION"]),
        ("sqlite3", "serializable", ["BEGIN"]),
        ("ferrisdb", "snapshot", ["BEGIN ISOLATION LEVEL SNAPSHOT"]),
    ],
)
def test_a_level_is_asked_for_in_the_words_of_the_database(
    name: str, level: str, statements: list[str]
) -> None:
    dialect = dialect_of(name)
    assert dialect.translated(f"BEGIN ISOLATION LEVEL {level}") == statements
    assert dialect.translated(f"begin transaction isolation level {level}") == statements
    assert dialect.translated("BEGIN") == ["BEGIN"]
    assert dialect.translated("SELECT 'BEGIN ISOLATION LEVEL X'") == ["SELECT 'BEGIN ISOLATION LEVEL X'"]


def test_every_level_stands_for_one_that_is_known() -> None:
    for dialect in (POSTGRESQL, MYSQL, SQL_SERVER, SQLITE, DUCKDB):
        for level in dialect.levels:
            assert level.reference in ("read committed", "snapshot", "serializable")


class Driver:
    """A driver of another make: autocommit is a method, notices are kept in a list."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.notices: list[str] = []
        self.description = None

    def autocommit(self, on: bool) -> None:
        self.calls.append(f"autocommit {on}")

    def cursor(self) -> Driver:
        return self

    def execute(self, statement: str) -> None:
        self.calls.append(statement)
        self.notices.append("heard")

    def cancel(self) -> None:
        self.calls.append("cancel")

    def rollback(self) -> None:
        self.calls.append("rollback")

    def close(self) -> None:
        self.calls.append("close")


def test_a_step_is_cut_into_statements_but_not_where_it_holds_a_function() -> None:
    driver = Driver()
    session = DbApiSession(driver, MYSQL)
    session.execute("BEGIN ISOLATION LEVEL SNAPSHOT; SELECT ';' -- ;\n; ")
    session.execute("CREATE FUNCTION f() AS $$ a; b; $$")
    assert driver.calls == [
        "autocommit True",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "close",
        "START TRANSACTION",
        "close",
        "SELECT ';'",
        "close",
        "CREATE FUNCTION f() AS $$ a; b; $$",
        "close",
    ]
    assert session.notice_count == 4
    session.cancel()
    session.close()
    assert driver.calls[-3:] == ["cancel", "rollback", "close"]


def test_a_url_of_sqlalchemy_reaches_the_drivers_own_connection(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy, which is the extra ferrisdb[isolation]")
    together, alone = play(f"sqlite:///{tmp_path / 'lab.db'}", "SERIALIZABLE")
    assert together.outcomes()["b_writes"].error is not None
    assert not alone.has_error


def test_connections_are_made_in_the_thread_that_uses_them(tmp_path: Path) -> None:
    # sqlite3 refuses any other thread; so this would fail in every step.
    assert threading.current_thread() is threading.main_thread()
    assert all(
        run.failure is None for run in play(f'sqlite3:connect("{tmp_path / "lab.db"}")', "SERIALIZABLE")
    )
