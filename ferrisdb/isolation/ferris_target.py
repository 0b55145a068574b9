"""FerrisDB as a target, through the connections that programs use.

In memory each permutation gets a database of its own. In a folder all permutations share the
database, as they do on a server: then it is the spec's teardown that cleans up.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import ferrisdb
from ferrisdb.api.connection import Connection
from ferrisdb.isolation.target import Answer, answer_of
from ferrisdb.query.parse import split_statements


class FerrisTarget:
    """A database in memory, or in the folder `path`. Raises as `ferrisdb.open` does."""

    def __init__(self, path: str = ":memory:", **options: Any) -> None:
        self._database = ferrisdb.open(path, **options)

    def connect(self) -> FerrisSession:
        return FerrisSession(self._database.connect(autocommit=True))

    def is_waiting(self, thread_id: int) -> bool:
        return any(wait.thread_id == thread_id for wait in self._database.lock_waits())

    def all_wait_for_ever(self, thread_ids: Collection[int]) -> bool:
        waits = self._database.lock_waits()
        return {wait.thread_id for wait in waits if wait.timeout_s is None}.issuperset(thread_ids)

    def close(self) -> None:
        self._database.close()


class FerrisSession:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, text: str) -> list[Answer]:
        answers = []
        for _, statement in split_statements(text):
            with self._connection.execute(statement) as cursor:
                if cursor.columns:
                    answers.append(answer_of((column.name for column in cursor.columns), cursor))
        return answers

    @property
    def notice_count(self) -> int:
        return 0

    def cancel(self) -> None:
        """FerrisDB cannot break off a statement: its wait ends when the others have ended."""

    def close(self) -> None:
        self._connection.close()
