"""The shell at a terminal: a real one (a pty), typed at key by key."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ferrisdb.cli.describe import create_table_sql, identifier, parents_first
from ferrisdb.cli.shell import is_finished

pytest.importorskip("pty", reason="this system has no pty")

CTRL_C, CTRL_D, TAB = "\x03", "\x04", "\t"
DEADLINE_S = 20.0
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[=>]|\r")


class Terminal:
    """The shell in a terminal of its own; what it shows, without the control sequences.

    The line editor moves the cursor over blanks instead of writing them, so what is waited
    for in a line that is being typed must not hold any.
    """

    def __init__(self, path: Path, state: Path) -> None:
        spawn = f"import pty, sys; pty.spawn([sys.executable, '-m', 'ferrisdb', {str(path)!r}])"
        environment = {
            **os.environ,
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "TERM": "xterm",
            "XDG_STATE_HOME": str(state),
            "PYTHONWARNINGS": "ignore",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", spawn], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        self._shown = ""
        self._taken = 0
        self._arrival = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while data := os.read(self._process.stdout.fileno(), 65536):
            with self._arrival:
                self._shown += data.decode(errors="replace")
                self._arrival.notify()

    def type(self, keys: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(keys.encode())
        self._process.stdin.flush()

    def wait_for(self, text: str) -> str:
        """What was shown since the last wait, up to and with `text`."""
        ends_s = time.monotonic() + DEADLINE_S
        with self._arrival:
            while True:
                plain = _CONTROL.sub("", self._shown)
                place = plain.find(text, self._taken)
                if place >= 0:
                    since, self._taken = plain[self._taken : place + len(text)], place + len(text)
                    return since
                left_s = ends_s - time.monotonic()
                assert left_s > 0, f"waited for {text!r}, saw {plain[self._taken :]!r}"
                self._arrival.wait(left_s)

    def leave(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._reader.join()
        self._process.stdout.close()

    def wait_for_exit(self) -> int:
        return self._process.wait(DEADLINE_S)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(tmp_path / "shop", tmp_path / "state")
    opened.wait_for("ferris>")
    yield opened
    opened.leave()


def test_an_hour_at_the_shell(terminal: Terminal, tmp_path: Path) -> None:
    terminal.type("CREATE TABLE t (a INTEGER PRIMARY KEY, name TEXT);\r")
    terminal.wait_for("CREATE TABLE\n")
    terminal.wait_for("ferris>")
    # a statement over several lines
    terminal.type("INSERT INTO t\r")
    terminal.wait_for("...>")
    terminal.type("VALUES (1, 'x');\r")
    terminal.wait_for("INSERT 1\n")
    # an error is shown with its place, and the shell goes on
    terminal.wait_for("ferris>")
    terminal.type("SELECT nme FROM t;\r")
    assert "ERROR 42703" in terminal.wait_for("did you mean t.name?")
    # the prompt tells of the transaction
    terminal.wait_for("ferris>")
    terminal.type("BEGIN; DELETE FROM t;\r")
    terminal.wait_for("ferris*>")
    terminal.type("SELECT nothing;\r")
    terminal.wait_for("ferris!>")
    terminal.type("ROLLBACK;\r")
    terminal.wait_for("ROLLBACK\n")
    terminal.wait_for("ferris>")
    # Ctrl-C drops the line
    terminal.type("SELECT half a")
    terminal.wait_for("half")
    terminal.type(CTRL_C)
    terminal.wait_for("ferris>")
    terminal.type("SELECT a, name FROM t;\r")
    terminal.wait_for(" 1 | x")
    terminal.wait_for("SELECT 1\n")
    # Ctrl-D leaves, and what was typed is remembered
    terminal.wait_for("ferris>")
    terminal.type(CTRL_D)
    assert terminal.wait_for_exit() == 0
    assert "SELECT a, name FROM t;" in (tmp_path / "state" / "ferrisdb" / "history").read_text()


def test_dot_commands_and_completion(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "s.sql").write_text("CREATE TABLE town (id INTEGER, inhabitants INTEGER);\nSELECT oops;\n")
    (tmp_path / "t.csv").write_text("id,inhabitants\n1,500\n")
    for typed, shown in (
        (f".read {tmp_path}/s.sql", "s.sql:2: ERROR 42703"),
        (".tables", "\ntown\n"),
        (f".import {tmp_path}/t.csv town", "1 rows into town"),
        (".schema town", "CREATE TABLE town (\n  id INTEGER,\n  inhabitants INTEGER\n);"),
        (".schema nowhere", 'table "nowhere" does not exist'),
        (".format json", "ferris>"),
        ("SELECT inhabitants FROM town;", '[{"inhabitants": 500}]'),
        (".format pdf", "there is no format pdf"),
        (".timer on", "ferris>"),
        ("SELECT 2;", " ms)"),
        (".stats", "commits: "),
        (".stats", "level | tables |"),
        (".stats", "write |"),
        (".events", "created a new database"),
        (".events 0", "it is .events [N], with N from 1 to 1000"),
        (".events 1001", "it is .events [N], with N from 1 to 1000"),
        (".help", ".quit"),
        (".nothing", "there is no command .nothing"),
        (".read", "it is .read FILE"),
        (".read 'half", "No closing quotation"),
        ("BEGIN;", "ferris*>"),
        (f".import {tmp_path}/t.csv town", "COMMIT or ROLLBACK first"),
    ):
        terminal.type(typed + "\r")
        terminal.wait_for(shown)
        if not shown.endswith(">"):
            terminal.wait_for(">")
    terminal.type("SELECT inhab" + TAB)
    terminal.wait_for("inhabitants")
    terminal.type(CTRL_C)
    terminal.wait_for("ferris*>")
    terminal.type(".quit\r")
    terminal.wait_for("the open transaction was rolled back")
    assert terminal.wait_for_exit() == 0


def test_ctrl_c_stops_a_statement_and_the_transaction_it_ran_in(terminal: Terminal) -> None:
    terminal.type(
        "CREATE TABLE n (i INTEGER); INSERT INTO n VALUES (1),(2),(3),(4),(5),(6),(7),(8),(9),(10);\r"
    )
    terminal.wait_for("INSERT 10\n")
    for begin, said in (("", "cancelled\n"), ("BEGIN; ", "cancelled; the transaction was rolled back\n")):
        terminal.wait_for("ferris>")
        tables = ", ".join(f"n n{place}" for place in range(12))
        terminal.type(f"{begin}SELECT 'started'; SELECT sum(n0.i + n11.i) FROM {tables};\r")
        terminal.wait_for("SELECT 1\n")
        time.sleep(0.5)
        terminal.type(CTRL_C)
        terminal.wait_for(said)
    terminal.wait_for("ferris>")
    terminal.type("SELECT count(*) FROM n;\r")
    terminal.wait_for("10")


def test_two_people_at_one_prompt(terminal: Terminal) -> None:
    terminal.type("CREATE TABLE t (a INTEGER PRIMARY KEY, n INTEGER);\r")
    terminal.wait_for("ferris>")
    terminal.type("INSERT INTO t VALUES (1, 1);\r")
    terminal.wait_for("ferris>")
    # the prompt says who is asked, and how he is
    terminal.type(".session bo\r")
    terminal.wait_for("bo>")
    terminal.type("BEGIN;\r")
    terminal.wait_for("bo*>")
    terminal.type("UPDATE t SET n = 2;\r")
    terminal.wait_for("bo*>")
    terminal.type("ada> BEGIN; SET lock_timeout = '1s';\r")
    terminal.wait_for("ada  SET")
    terminal.wait_for("bo*>")
    terminal.type("ada> UPDATE t SET n = 3;\r")
    terminal.wait_for("ada  waits for bo: t(1)\n")
    terminal.wait_for("bo*>")
    # When a wait ends while a line is typed, the news stand above it, and the line stays whole.
    terminal.type("SELECT 40 + 2 AS so")
    terminal.wait_for("so")
    terminal.wait_for("ada  goes on: ERROR 55P03")
    terminal.wait_for("bo*>")
    terminal.type("_much;\r")
    terminal.wait_for("so_much")
    terminal.wait_for("42")
    # When one leaves in the middle, all that is open is rolled back.
    terminal.wait_for("bo*>")
    terminal.type(".quit\r")
    terminal.wait_for("bo  the open transaction was rolled back")
    assert terminal.wait_for_exit() == 0


def test_ctrl_c_brings_the_prompt_back_while_a_session_works(terminal: Terminal) -> None:
    tables = ", ".join(f"n n{place}" for place in range(5))
    terminal.type("CREATE TABLE n (i INTEGER); INSERT INTO n VALUES (1),(2),(3),(4),(5),(6),(7),(8),(9);\r")
    terminal.wait_for("INSERT 9\n")
    terminal.type("INSERT INTO n SELECT n.i FROM n, n m LIMIT 21;\r")
    terminal.wait_for("INSERT 21\n")
    terminal.wait_for("ferris>")
    terminal.type("a> SELECT 'ready';\r")
    terminal.wait_for("a  SELECT 1\n")
    terminal.wait_for("ferris>")
    terminal.type(f"a> SELECT sum(n0.i * n4.i) * 0 + 4711 AS big FROM {tables};\r")
    time.sleep(1)
    terminal.type(CTRL_C)
    terminal.wait_for("a  goes on; its end will be told\n")
    terminal.wait_for("ferris>")
    terminal.type("SELECT 'mean' || 'while';\r")
    terminal.wait_for("meanwhile")
    terminal.wait_for("a  goes on: SELECT 1\n")
    terminal.wait_for("4711")


@pytest.mark.parametrize(
    ("text", "finished"),
    [
        ("", True),
        (".tables", True),
        ("exit", True),
        ("quit;", True),
        ("\\dt", True),
        ("exit strategy", False),
        ("SELECT 1", False),
        ("SELECT 1;", True),
        ("SELECT ';", False),
        ("SELECT 1; SELECT 2", False),
        ("SELECT 1; -- and so on", True),
        ("a> SELECT 1", False),
        ("a> SELECT 1;", True),
        ("a> .why", True),
    ],
)
def test_when_enter_runs_what_was_typed(text: str, finished: bool) -> None:
    assert is_finished(text) is finished


@pytest.mark.parametrize("word", ["exit", "quit;", "\\q"])
def test_the_words_that_leave_other_shells_leave_this_one(terminal: Terminal, word: str) -> None:
    terminal.type(f"{word}\r")
    assert terminal.wait_for_exit() == 0


def test_a_line_that_is_too_long_for_the_terminal_goes_on_without_a_prompt(terminal: Terminal) -> None:
    terminal.type("SELECT '" + "x" * 100 + "';\r")
    assert "...>" not in terminal.wait_for("SELECT 1")
    terminal.type("SELECT\r2;\r")
    assert "...>" in terminal.wait_for("SELECT 1")


def test_a_schema_can_be_run_again() -> None:
    import ferrisdb

    statements = [
        'CREATE TABLE "Odd name" '
        '("select" INTEGER DEFAULT 1 + 1, "a""b" VARCHAR(3) NOT NULL, UNIQUE ("select", "a""b"))',
        "CREATE TABLE t (a INTEGER, b NUMERIC(5,2), c DOUBLE PRECISION, d TIMESTAMP, PRIMARY KEY (b, a))",
        "CREATE UNIQUE INDEX first ON t (c, d)",
        "CREATE TABLE z (a INTEGER PRIMARY KEY, b INTEGER REFERENCES z ON DELETE SET NULL)",
        'CREATE TABLE m (b INTEGER REFERENCES z, c VARCHAR(3), CONSTRAINT "by both" FOREIGN KEY (c, b) '
        'REFERENCES "Odd name" ("a""b", "select") ON DELETE CASCADE ON UPDATE SET DEFAULT)',
    ]
    with ferrisdb.open() as db, ferrisdb.open() as copy:
        for statement in statements:
            db.execute(statement)
        with copy.connect(autocommit=True) as con:
            for table in parents_first(db.tables()):
                for statement in create_table_sql(table, db.tables()).split(";\n"):
                    con.execute(statement)
        assert [create_table_sql(t, copy.tables()) for t in copy.tables()] == [
            create_table_sql(t, db.tables()) for t in db.tables()
        ]
    assert [identifier(name) for name in ("a_1", "A", "1a", "select", 'q"')] == [
        "a_1",
        '"A"',
        '"1a"',
        '"select"',
        '"q"""',
    ]
