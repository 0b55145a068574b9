"""Whatever is done to a table, it is what a dict would be, and its indexes agree with it.

A random session inserts, updates, deletes, opens transactions and savepoints, fails and
goes back. Beside it runs a dict with copies for BEGIN and SAVEPOINT, and a list for a table
without a primary key. After each step the rows are the model's, and each index has exactly
one entry for each row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from index_consistency import check_indexes

from ferrisdb.errors import InFailedTransaction, InvalidSavepoint, UniqueViolation
from ferrisdb.query.session import Session, SessionStatus, SharedState
from ferrisdb.txn.local import LocalStore

Row = tuple[int, int | None, int]
Rows = dict[int, Row]
Bag = list[tuple[int | None, int]]

keys = st.integers(0, 9)
uniques = st.none() | st.integers(0, 9)
plains = st.integers(0, 3)
rows = st.tuples(keys, uniques, plains)
names = st.sampled_from(["s", "t"])


class TableMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = LocalStore.in_memory()
        self.session = Session(self.store, SharedState())
        self.session.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, u INTEGER UNIQUE, p INTEGER NOT NULL)")
        self.session.execute("CREATE TABLE h (v INTEGER, w INTEGER)")
        self.rows: Rows = {}
        self.bag: Bag = []
        self.before: tuple[Rows, Bag] | None = None
        self.savepoints: list[tuple[str, tuple[Rows, Bag]]] = []
        self.is_failed = False

    @initialize()
    def index(self) -> None:
        self.session.execute("CREATE INDEX t_p ON t (p)")
        self.session.execute("CREATE INDEX t_u_p ON t (u, p)")
        self.session.execute("CREATE INDEX h_v ON h (v)")

    def copy(self) -> tuple[Rows, Bag]:
        return dict(self.rows), list(self.bag)

    # --- rows ---------------------------------------------------------------------------

    @rule(new=st.lists(rows, min_size=1, max_size=3))
    def insert(self, new: list[Row]) -> None:
        values = ", ".join("(?, ?, ?)" for _ in new)
        flat = [value for row in new for value in row]
        expected = [*self.rows.values(), *new]
        self.change(f"INSERT INTO t VALUES {values}", flat, expected, len(new))

    @rule(new=st.lists(rows, max_size=4))
    def insert_many(self, new: list[Row]) -> None:
        expected = [*self.rows.values(), *new]
        self.change_with(
            lambda: self.session.execute_many("INSERT INTO t VALUES (?, ?, ?)", new), expected, len(new)
        )

    @rule(p=plains, u=uniques)
    def set_unique(self, p: int, u: int | None) -> None:
        hit = [row for row in self.rows.values() if row[2] == p]
        expected = [(row[0], u, row[2]) if row in hit else row for row in self.rows.values()]
        self.change("UPDATE t SET u = ? WHERE p = ?", [u, p], expected, len(hit))

    @rule(step=st.integers(-2, 2), p=plains)
    def shift_keys(self, step: int, p: int) -> None:
        hit = [row for row in self.rows.values() if row[2] >= p]
        expected = [(row[0] + step, row[1], row[2]) if row in hit else row for row in self.rows.values()]
        self.change("UPDATE t SET id = id + ? WHERE p >= ?", [step, p], expected, len(hit))

    @rule(key=keys, p=plains)
    def swap_unique(self, key: int, p: int) -> None:
        hit = [row for row in self.rows.values() if row[0] <= key]
        mirrored = {row: (row[0], None if row[1] is None else 9 - row[1], p) for row in hit}
        expected = [mirrored.get(row, row) for row in self.rows.values()]
        self.change("UPDATE t SET u = 9 - u, p = ? WHERE id <= ?", [p, key], expected, len(hit))

    @rule(u=uniques)
    def delete_by_unique(self, u: int | None) -> None:
        expected = [row for row in self.rows.values() if u is None or row[1] != u]
        self.change("DELETE FROM t WHERE u = ?", [u], expected, len(self.rows) - len(expected))

    @rule(low=keys)
    def delete_range(self, low: int) -> None:
        expected = [row for row in self.rows.values() if row[0] < low]
        self.change("DELETE FROM t WHERE id >= ?", [low], expected, len(self.rows) - len(expected))

    def change(self, sql: str, parameters: list[int | None], expected: list[Row], count: int) -> None:
        self.change_with(lambda: self.session.execute(sql, parameters).row_count, expected, count)

    def change_with(self, run: Callable[[], int], expected: list[Row], count: int) -> None:
        if self.is_failed:
            with pytest.raises(InFailedTransaction):
                run()
        elif is_unique(expected):
            assert run() == count
            self.rows = {row[0]: row for row in expected}
        else:
            with pytest.raises(UniqueViolation):
                run()
            self.is_failed = self.before is not None

    # --- rows without a primary key -----------------------------------------------------

    @rule(v=uniques, w=plains)
    def insert_into_bag(self, v: int | None, w: int) -> None:
        self.change_bag("INSERT INTO h VALUES (?, ?)", [v, w], [*self.bag, (v, w)], 1)

    @rule(w=plains)
    def double_bag(self, w: int) -> None:
        new = [(v, w) for v, known in self.bag if known == w][:8]
        if len(self.bag) < 30 and len(new) == sum(known == w for _, known in self.bag):
            sql = "INSERT INTO h SELECT v, w FROM h WHERE w = ?"
            self.change_bag(sql, [w], [*self.bag, *new], len(new))

    @rule(w=plains)
    def move_in_bag(self, w: int) -> None:
        expected = [
            ((known_v or 0) + 1 if known_w == w else known_v, known_w) for known_v, known_w in self.bag
        ]
        hit = sum(known == w for _, known in self.bag)
        self.change_bag("UPDATE h SET v = coalesce(v, 0) + 1 WHERE w = ?", [w], expected, hit)

    @rule(v=uniques)
    def delete_from_bag(self, v: int | None) -> None:
        expected = [row for row in self.bag if v is None or row[0] != v]
        self.change_bag("DELETE FROM h WHERE v = ?", [v], expected, len(self.bag) - len(expected))

    def change_bag(self, sql: str, parameters: list[int | None], expected: Bag, count: int) -> None:
        if self.is_failed:
            with pytest.raises(InFailedTransaction):
                self.session.execute(sql, parameters)
        else:
            assert self.session.execute(sql, parameters).row_count == count
            self.bag = expected

    # --- transactions -------------------------------------------------------------------

    @precondition(lambda self: self.before is None)
    @rule()
    def begin(self) -> None:
        self.session.begin()
        self.before = self.copy()

    @precondition(lambda self: self.before is not None)
    @rule(is_commit=st.booleans())
    def end(self, is_commit: bool) -> None:
        tag = self.session.execute("COMMIT" if is_commit else "ROLLBACK").tag
        assert tag == ("COMMIT" if is_commit and not self.is_failed else "ROLLBACK")
        if tag == "ROLLBACK":
            assert self.before is not None
            self.rows, self.bag = self.before
        self.before, self.savepoints, self.is_failed = None, [], False

    @precondition(lambda self: self.before is not None and not self.is_failed)
    @rule(name=names)
    def savepoint(self, name: str) -> None:
        self.session.execute(f"SAVEPOINT {name}")
        self.savepoints.append((name, self.copy()))

    @precondition(lambda self: self.before is not None)
    @rule(name=names)
    def rollback_to(self, name: str) -> None:
        places = [place for place, (known, _) in enumerate(self.savepoints) if known == name]
        if not places:
            with pytest.raises(InvalidSavepoint):
                self.session.execute(f"ROLLBACK TO {name}")
            self.is_failed = True
            return
        self.session.execute(f"ROLLBACK TO {name}")
        del self.savepoints[places[-1] + 1 :]
        rows, bag = self.savepoints[-1][1]
        self.rows, self.bag = dict(rows), list(bag)
        self.is_failed = False

    @precondition(lambda self: self.savepoints and not self.is_failed)
    @rule()
    def release(self) -> None:
        name, _ = self.savepoints.pop()
        self.session.execute(f"RELEASE {name}")

    # --- what must hold -----------------------------------------------------------------

    @invariant()
    def the_session_is_in_the_state_it_should_be(self) -> None:
        if self.before is None:
            assert self.session.status is SessionStatus.IDLE
        else:
            assert self.session.status is (SessionStatus.FAILED if self.is_failed else SessionStatus.OPEN)

    @invariant()
    def rows_are_the_models(self) -> None:
        if not self.is_failed:
            found = self.session.execute("SELECT id, u, p FROM t ORDER BY id").fetch_all()
            assert found == [self.rows[key] for key in sorted(self.rows)]
            bag = self.session.execute("SELECT v, w FROM h").fetch_all()
            assert Counter(bag) == Counter(self.bag)

    @invariant()
    def indexes_agree_with_rows(self) -> None:
        transaction = self.session.transaction
        if transaction is None:
            check_indexes(self.store.begin(read_only=True))
        elif transaction.is_open and not self.is_failed:
            check_indexes(transaction)

    def teardown(self) -> None:
        self.session.close()
        self.store.close()


def is_unique(rows: list[Row]) -> bool:
    known = [row[1] for row in rows if row[1] is not None]
    return len({row[0] for row in rows}) == len(rows) and len(set(known)) == len(known)


TestTable = TableMachine.TestCase
TestTable.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
