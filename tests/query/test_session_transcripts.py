"""The lessons in transcripts/session/*.txt: SQL, and under it what the database says.

    a: SELECT id FROM t          session a runs a statement
       1                         a row; values are parted by " | "
    b: INSERT INTO t VALUES (1)  another session of the same database
       ERROR 23505: ...          as the shell prints it

Statements whose answer is their own name (CREATE TABLE, BEGIN) show nothing. After each
transcript the indexes must agree with the rows. With FERRISDB_REWRITE=1 the files are
written anew instead of compared.
"""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

import pytest
from index_consistency import check_indexes

from ferrisdb.errors import Error, render
from ferrisdb.query.session import Session, SharedState
from ferrisdb.query.values import format_value
from ferrisdb.storage.options import Durability, StorageOptions
from ferrisdb.txn.local import LocalStore

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts" / "session").glob("*.txt"))
INDENT = "   "


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_the_database_says_what_the_lesson_says(path: Path) -> None:
    written = path.read_text()
    said = Conversation().answer(written)
    if os.environ.get("FERRISDB_REWRITE"):
        path.write_text(said)
    else:
        assert said == written


class Conversation:
    """Sessions by name over one store."""

    def __init__(self) -> None:
        self.store = LocalStore.in_memory(StorageOptions(durability=Durability.OFF, retention_s=3600))
        self.shared = SharedState(clock=lambda: datetime(2024, 2, 29, 12, 30))
        self.sessions: dict[str, Session] = {}

    def answer(self, transcript: str) -> str:
        """The transcript with every answer given anew."""
        lines: list[str] = []
        for line in transcript.splitlines():
            if line.startswith(INDENT):
                continue
            lines.append(line)
            if line and not line.startswith("#"):
                name, _, sql = line.partition(": ")
                lines += [(INDENT + said).rstrip() for said in self.run(name, sql)]
        for session in self.sessions.values():
            session.close()
        check_indexes(self.store.begin())
        return "\n".join(lines) + "\n"

    def run(self, name: str, sql: str) -> list[str]:
        session = self.sessions.setdefault(name, Session(self.store, self.shared))
        try:
            result = session.execute(sql)
            if result.columns:
                return [
                    " | ".join("NULL" if v is None else format_value(v) for v in row) for row in result.rows
                ]
        except Error as error:
            # Numbers of transactions and snapshots are no part of a lesson.
            return re.sub(r"\b(transaction|as of|commit at) \d+", r"\1 N", render(error, sql)).splitlines()
        return [] if set(result.tag.split()) <= set(sql.upper().split()) else [result.tag]
