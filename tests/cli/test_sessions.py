"""Sessions side by side, as scripts play them.

A transcript is a script and its output in one. What begins with the name of a session, `a> `, or with
a dot is a line of the script. A step is also shown in the output, a dot command is not. Both streams
are compared, each line in its place.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

import ferrisdb
from ferrisdb.cli.main import main
from ferrisdb.cli.script import parsed_step

ACCOUNTS = """\
CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER);
INSERT INTO account VALUES (1, 100), (2, 100), (3, 100);
"""
_TYPED = re.compile(r"^(?:[a-z]\w*> |\.)")


def ran(*arguments: str) -> tuple[int, str]:
    """The exit status, and what stands on the screen: both streams."""
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
        status = main(list(arguments))
    return status, screen.getvalue()


def played(tmp_path: Path, script: str, *arguments: str) -> tuple[int, str]:
    (tmp_path / "scene.sql").write_text(script, encoding="utf-8")
    return ran(*arguments, "-f", str(tmp_path / "scene.sql"))


def assert_plays(tmp_path: Path, transcript: str, *, status: int) -> None:
    lines = transcript.splitlines(keepends=True)
    script = ACCOUNTS + "".join(line for line in lines if _TYPED.match(line))
    expected = "".join(line for line in lines if not line.startswith("."))
    ended, screen = played(tmp_path, script)
    assert without_messages(screen) == expected
    assert ended == status


def without_messages(screen: str) -> str:
    """Errors as ERROR 40001: what the message says is other tests' affair."""
    return re.sub(r"(ERROR \w{5}): .*", r"\1", screen)


def test_a_step_that_waits_is_told_and_so_is_its_end(tmp_path: Path) -> None:
    assert_plays(
        tmp_path,
        """\
a> BEGIN ISOLATION LEVEL READ COMMITTED;
a  BEGIN
b> BEGIN ISOLATION LEVEL READ COMMITTED;
b  BEGIN
a> UPDATE account SET balance = balance - 10 WHERE id = 1;
a  UPDATE 1
b> UPDATE account SET balance = balance - 20 WHERE id = 1;
b  waits for a: account(1)
c> UPDATE account SET balance = 0 WHERE id = 1;
c  waits for a, b: account(1)
.sessions
    | session | state            | level          | snapshot | waits for
----+---------+------------------+----------------+----------+------------------
 -> | ferris  | idle             |                |          |
    | a       | in a transaction | read committed |        2 |
    | b       | waits            | read committed |        2 | a: account(1)
    | c       | waits            | snapshot       |        2 | a, b: account(1)
a> COMMIT;
a  COMMIT
b  goes on: UPDATE 1
c  waits for b: account(1)
b> ROLLBACK;
b  ROLLBACK
c  goes on: ERROR 40001
DETAIL: a committed account(1) after the snapshot of c, which wants to write it (ww)
  a: UPDATE account SET balance = balance - 10 WHERE id = 1
  c: UPDATE account SET balance = 0 WHERE id = 1
HINT: roll back and run the transaction again
a> SELECT balance FROM account WHERE id = 1;
 balance
---------
      90
a  SELECT 1
""",
        status=1,
    )


def test_write_skew_is_drawn(tmp_path: Path) -> None:
    assert_plays(
        tmp_path,
        """\
a> BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT balance FROM account WHERE id = 1;
 balance
---------
     100
a  SELECT 1
b> BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT balance FROM account WHERE id = 2;
 balance
---------
     100
b  SELECT 1
a> UPDATE account SET balance = 1 WHERE id = 2;
a  UPDATE 1
b> UPDATE account SET balance = 2 WHERE id = 1;
b  UPDATE 1
b> COMMIT;
b  COMMIT
a> COMMIT;
a  ERROR 40001
DETAIL: a read account(1) before b wrote it (rw)
  a: SELECT balance FROM account WHERE id = 1
  b: UPDATE account SET balance = 2 WHERE id = 1
b read account(2) before a wrote it (rw)
  b: SELECT balance FROM account WHERE id = 2
  a: UPDATE account SET balance = 1 WHERE id = 2
HINT: run the transaction again; db.run(...) does that for you
b> .why
No transaction of session b has been refused because of another one.
a> .why
The last transaction of session a that was refused: ERROR 40001
Had b and a run one after the other, in any order, this could not be:

  a  read account(1)
       SELECT balance FROM account WHERE id = 1
  |
  |  rw: a has not seen what b wrote, so a comes before b
  v
  b  wrote account(1)
       UPDATE account SET balance = 2 WHERE id = 1

  b  read account(2)
       SELECT balance FROM account WHERE id = 2
  |
  |  rw: b has not seen what a wrote, so b comes before a
  v
  a  wrote account(2)
       UPDATE account SET balance = 1 WHERE id = 2

Together: a before b before a. Nobody comes before himself.
a was the last to commit, so a was rolled back.
Run it again: its new snapshot sees what the others did.
""",
        status=1,
    )


def test_a_deadlock_of_three_is_drawn(tmp_path: Path) -> None:
    script = ACCOUNTS + "".join(
        f"{name}> BEGIN; UPDATE account SET balance = {number} WHERE id = {number};\n"
        for number, name in enumerate("abc", start=1)
    )
    script += "a> UPDATE account SET balance = 0 WHERE id = 2;\nb> DELETE FROM account WHERE id = 3;\n"
    script += "c> UPDATE account SET balance = 0 WHERE id = 1;\nc> .why\n"
    status, screen = played(tmp_path, script)
    assert status == 1
    assert "c  ERROR 40P01: deadlock" in screen
    # What let b go on stands behind the error, and a still waits for b.
    assert screen.index("c  ERROR") < screen.index("b  goes on: DELETE 1") < screen.index("c> .why")
    assert screen.partition("for ever:\n")[2].startswith(
        """
  c  wants account(1), which a has
       UPDATE account SET balance = 0 WHERE id = 1
  |
  v
  a  wants account(2), which b has
       UPDATE account SET balance = 0 WHERE id = 2
  |
  v
  b  wants account(3), which c has
       DELETE FROM account WHERE id = 3
  |
  v
  c

c asked last, so c was rolled back and its locks are free. Run it again.
"""
    )


def test_versions_show_who_sees_which(tmp_path: Path) -> None:
    assert_plays(
        tmp_path,
        """\
a> BEGIN; SELECT count(*) FROM account;
 count
-------
     3
a  SELECT 1
ferris> UPDATE account SET balance = 90 WHERE id = 1;
ferris  UPDATE 1
b> BEGIN; SELECT count(*) FROM account;
 count
-------
     3
b  SELECT 1
ferris> DELETE FROM account WHERE id = 1;
ferris  DELETE 1
c> BEGIN; INSERT INTO account VALUES (1, 7);
c  INSERT 1
d> INSERT INTO account VALUES (1, 8);
d  waits for c: account(1)
.versions account 1
account(1), newest first

 commit | row      | where         | seen by
--------+----------+---------------+-----------------------------------------------
        | (1, 7)   | not committed | c
      4 | deleted  | memory        | d (reads as of 4), whoever begins to read now
      3 | (1, 90)  | memory        | b (reads as of 3)
      2 | (1, 100) | memory        | a (reads as of 2)

locked by c; wanted by d
.versions account 4
account(4), newest first

 commit | row    | where | seen by
--------+--------+-------+----------------------------------------------------------------------------
        | no row |       | a (reads as of 2), b (reads as of 3), c (reads as of 4), d (reads as of 4)
c> ROLLBACK;
c  ROLLBACK
d  goes on: INSERT 1
a> ROLLBACK;
a  ROLLBACK
b> ROLLBACK;
b  ROLLBACK
""",
        status=0,
    )


def test_versions_in_files_in_a_deleted_range_and_without_a_primary_key(tmp_path: Path) -> None:
    with ferrisdb.open(tmp_path / "db") as db:
        db.execute("CREATE TABLE t (name TEXT, part INTEGER, n INTEGER, PRIMARY KEY (name, part))")
        db.execute("CREATE TABLE log (what TEXT)")
        db.execute("INSERT INTO t VALUES ('it''s', 2, 1)")
        db.execute("INSERT INTO log VALUES ('first')")
        db.flush()
    script = """.versions t "it's" 2\n.versions log 1\n"""
    status, screen = played(tmp_path, script, str(tmp_path / "db"))
    assert status == 0
    assert "t('it''s', 2), newest first" in screen
    assert "3 | ('it''s', 2, 1) | level 0 | whoever begins to read now" in screen
    assert "log(row 1), newest first" in screen
    assert "4 | ('first') | level 0 | whoever begins to read now" in screen


@pytest.mark.parametrize("attempt", range(10))
def test_a_scene_looks_the_same_each_time(tmp_path: Path, attempt: int) -> None:
    script = ACCOUNTS + "a> BEGIN; UPDATE account SET balance = 0;\n"
    script += "".join(
        f"{name}> UPDATE account SET balance = 5 WHERE id = {id};\n" for id, name in ((1, "b"), (2, "c"))
    )
    script += "a> ROLLBACK;\nb> SELECT sum(balance) FROM account;\n"
    assert played(tmp_path, script) == (
        0,
        """\
a> BEGIN; UPDATE account SET balance = 0;
a  UPDATE 3
b> UPDATE account SET balance = 5 WHERE id = 1;
b  waits for a: account(1)
c> UPDATE account SET balance = 5 WHERE id = 2;
c  waits for a: account(2)
a> ROLLBACK;
a  ROLLBACK
b  goes on: UPDATE 1
c  goes on: UPDATE 1
b> SELECT sum(balance) FROM account;
 sum
-----
 110
b  SELECT 1
""",
    )


def test_what_still_waits_at_the_end_never_happens(tmp_path: Path) -> None:
    # Given that b waits for a, and c for what b has locked meanwhile. Nobody lets them go.
    script = ACCOUNTS + "a> BEGIN; UPDATE account SET balance = 1 WHERE id = 3;\n"
    script += "b> UPDATE account SET balance = 2 WHERE id >= 2;\n"
    script += "c> UPDATE account SET balance = 3 WHERE id = 2;\n"
    # When the script is over
    status, screen = played(tmp_path, script, str(tmp_path / "db"))
    # Then none of it is done, although the end of each would let the next one go on.
    assert status == 1
    assert "b  waits for a: account(3): canceled and rolled back" in screen
    assert "c  waits for b: account(2): canceled and rolled back" in screen
    assert "a  the open transaction was rolled back" in screen
    with ferrisdb.open(tmp_path / "db") as db:
        assert db.query("SELECT DISTINCT balance FROM account").all() == [(100,)]


def test_a_session_that_is_closed_lets_others_go_and_takes_its_own_wait_back(tmp_path: Path) -> None:
    assert_plays(
        tmp_path,
        """\
a> BEGIN; UPDATE account SET balance = 1 WHERE id = 1;
a  UPDATE 1
b> UPDATE account SET balance = 2 WHERE id = 1;
b  waits for a: account(1)
c> UPDATE account SET balance = 3 WHERE id = 1;
c  waits for a, b: account(1)
.session b close
b  waits for a: account(1): canceled and rolled back
c  waits for a: account(1)
.session a close
a  the open transaction was rolled back
c  goes on: UPDATE 1
c> SELECT balance FROM account WHERE id = 1;
 balance
---------
       3
c  SELECT 1
""",
        status=1,
    )


def test_a_wait_with_a_timeout_ends_before_the_next_step_of_its_session(tmp_path: Path) -> None:
    script = ACCOUNTS + "a> BEGIN; UPDATE account SET balance = 1 WHERE id = 1;\n"
    script += "b> SET lock_timeout = '1s';\nb> UPDATE account SET balance = 2 WHERE id = 1;\n"
    script += "b> SELECT 7 AS seven;\n"
    status, screen = played(tmp_path, script)
    assert status == 1
    told = re.sub(r"(55P03).*\n.*\n.*\n", r"\1\n", screen)
    assert told.endswith(
        """\
b  waits for a: account(1)
b> SELECT 7 AS seven;
b  goes on: ERROR 55P03
 seven
-------
     7
b  SELECT 1
a  the open transaction was rolled back
"""
    )


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (".session 1a\n", "1a is no name for a session"),
        (".session ferris close\n", "session ferris is the first one, and stays"),
        (".session nobody close\n", "session nobody is not open"),
        (".session a b\n", "it is .session NAME or .session NAME close"),
        ("".join(f".session s{n}\n" for n in range(26)), "26 sessions are open, which is the limit"),
        (".versions nothing 1\n", 'table "nothing" does not exist'),
        (".versions account\n", "it is .versions TABLE KEY"),
        (".versions account 1 2\n", "a key of account has 1 values, not 2"),
        (".versions account one\n", "invalid input"),
        (".read other.sql\n", ".read does not go in a script"),
        (".session a\nSELECT nothing;\n", ':4: ERROR 42703: column "nothing" does not exist'),
        ("a> SELECT 'x;\n", "ERROR 42601"),
        (
            "a> BEGIN; DELETE FROM account;\n.session b\nDELETE FROM account;\nSELECT 1;\n",
            "session b still waits for a: account(1)",
        ),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, script: str, told: str) -> None:
    status, screen = played(tmp_path, ACCOUNTS + script)
    assert status == 1
    assert told in screen
    assert "bug" not in screen


def test_a_session_that_is_gone_over_to_runs_what_follows(tmp_path: Path) -> None:
    script = ACCOUNTS + ".session a\nBEGIN;\nUPDATE account\n  SET balance = 0;\n.session ferris\n"
    script += "-- as the others see it; a comment, and then a step\na> SELECT sum(balance)\n  FROM account;\n"
    script += "SELECT sum(balance) FROM account;\n"
    status, screen = played(tmp_path, script, "--format", "csv")
    assert status == 0
    assert screen.startswith("a> SELECT sum(balance)\n  FROM account;\nsum\n0\na  SELECT 1\nsum\n300\n")


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("a> SELECT 1;", ("a", "SELECT 1;")),
        (" a1*> SELECT 1;\n", ("a1", "SELECT 1;\n")),
        ("b waits> x", ("b", "x")),
        ("b!>", ("b", "")),
        ("SELECT a > b;", None),
        ("a >b", None),
        ("a>= 1", None),
        ("1> SELECT", None),
    ],
)
def test_what_is_a_step(text: str, step: tuple[str, str] | None) -> None:
    assert parsed_step(text) == step


def test_an_ordinary_script_may_hold_lines_that_look_like_steps(tmp_path: Path) -> None:
    status, screen = played(tmp_path, "SELECT '\na> x\n.why\n' AS t;\n", "--format", "json")
    assert (status, screen) == (0, '[{"t": "\\na> x\\n.why\\n"}]\n')
