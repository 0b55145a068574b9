"""FerrisDB's ordered bytes as a target: the Hermitage cases' SQL, said in get, put, delete, scan.

    select * from test where id = 1             get
    select * from test where value % 3 = 0      scan, and the condition in Python
    update test set value = 11 where id = 1     get, and put where it is there
    delete from test where value = 20           scan, then delete

So the same cases show that the levels do not depend on SQL. A put without the get would be
another case: a transaction whose first word is a put that waits takes its snapshot when it has
the key, and then has nothing to lose.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

import ferrisdb
from ferrisdb.isolation.target import Answer

Row = tuple[int, int]


class BytesTarget:
    def __init__(self) -> None:
        self.database = ferrisdb.open()

    def connect(self) -> BytesSession:
        return BytesSession(self.database)

    def is_waiting(self, thread_id: int) -> bool:
        return any(wait.thread_id == thread_id for wait in self.database.lock_waits())

    def all_wait_for_ever(self, thread_ids: Collection[int]) -> bool:
        return {wait.thread_id for wait in self.database.lock_waits()}.issuperset(thread_ids)

    def close(self) -> None:
        self.database.close()


class BytesSession:
    notice_count = 0

    def __init__(self, database: ferrisdb.Database) -> None:
        self.database = database
        self.transaction: ferrisdb.Transaction | None = None

    def execute(self, text: str) -> list[Answer]:
        answers = []
        for statement in filter(None, (each.strip().lower() for each in text.split(";"))):
            rows = self._run(statement)
            if rows is not None:
                answers.append(Answer(("id", "value"), tuple(rows)))
        return answers

    def cancel(self) -> None:
        """Nothing here can be cancelled."""

    def close(self) -> None:
        if self.transaction is not None:
            self.transaction.rollback()

    def _run(self, statement: str) -> list[Row] | None:
        if statement.startswith("begin"):
            self.transaction = self.database.begin(statement.removeprefix("begin isolation level "))
        elif statement in ("commit", "rollback"):
            transaction, self.transaction = self.transaction, None
            assert transaction is not None
            if transaction.is_open:
                getattr(transaction, statement)()
        elif self.transaction is not None:
            return operate(self.transaction, statement)
        else:
            with self.database.transaction() as transaction:
                return operate(transaction, statement)
        return None


def operate(tx: ferrisdb.Transaction, statement: str) -> list[Row] | None:
    if match := re.fullmatch(r"select \* from test(?: where (.*?))?(?: order by id)?", statement):
        return matching(tx, match[1])
    if match := re.fullmatch(r"update test set value = (value \+ )?(\d+)(?: where (.*))?", statement):
        added_to, number, condition = match[1], int(match[2]), match[3]
        for id_, value in matching(tx, condition):
            tx.put(key(id_), str(value + number if added_to else number).encode())
    elif match := re.fullmatch(r"delete from test where (.*)", statement):
        for id_, _ in matching(tx, match[1]):
            tx.delete(key(id_))
    elif statement.startswith("insert into test (id, value) values"):
        for id_, value in re.findall(r"\((\d+), (\d+)\)", statement):
            tx.put(key(int(id_)), value.encode())
    elif statement == "drop table test":
        tx.delete_range(key(0), key(9))
    else:
        assert statement.startswith("create table"), statement
    return None


def matching(tx: ferrisdb.Transaction, condition: str | None) -> list[Row]:
    if condition and (match := re.fullmatch(r"id = (\d)", condition)):
        value = tx.get(key(int(match[1])))
        return [] if value is None else [(int(match[1]), int(value))]
    if condition and (match := re.fullmatch(r"id in \((\d),(\d)\)", condition)):
        keys = [int(each) for each in match.groups()]
        values = tx.get_many([key(each) for each in keys])
        return [(id_, int(value)) for id_, value in zip(keys, values, strict=True) if value is not None]
    holds = meaning(condition)
    rows = [(int(found.decode()[-1]), int(value)) for found, value in tx.scan(prefix=b"test/")]
    return [row for row in rows if holds(row[1])]


def meaning(condition: str | None) -> Callable[[int], bool]:
    if condition is None:
        return lambda value: True
    if match := re.fullmatch(r"value % (\d+) = (\d+)", condition):
        return lambda value: value % int(match[1]) == int(match[2])
    match = re.fullmatch(r"value = (\d+)", condition)
    assert match is not None, condition
    return lambda value: value == int(match[1])


def key(id_: int) -> bytes:
    return b"test/%d" % id_
