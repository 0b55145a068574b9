"""Writes the database that stands for one format version: `python make_fixture.py FOLDER`.

Run once for each released version; the folder is then committed and never written again. It
has every kind of file and of value: a table file, a log that recovery must replay, versions
and deletions on both sides, each SQL type with NULL, an index, a unique constraint. Since
version 2 also a table that was ingested, and deleted ranges in the manifest and in the log.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ferrisdb

SCHEMA = """
CREATE TABLE everything (
    id INTEGER PRIMARY KEY, small INTEGER, double_ DOUBLE, price NUMERIC(10,2), exact NUMERIC,
    name VARCHAR(20) UNIQUE, note TEXT DEFAULT 'none', is_on BOOLEAN NOT NULL, day DATE, moment TIMESTAMP)
"""

ROWS = [
    "(1, -9223372036854775808, 1.5e300, 12345678.90, 0.000000000000000000001, 'ann', '', TRUE,"
    " '1994-01-01', '1994-01-01 10:20:30.123456')",
    "(2, 9223372036854775807, -0.1, -0.01, -99999999999999999999.5, 'žluťoučký', 'a\n\"b\"', FALSE,"
    " '0001-01-01', '9999-12-31 23:59:59')",
    "(3, NULL, NULL, NULL, NULL, NULL, NULL, TRUE, NULL, NULL)",
]


def make(folder: str) -> None:
    with ferrisdb.open(folder) as db:
        db.execute(SCHEMA)
        db.execute("CREATE INDEX everything_day ON everything (day, id)")
        db.execute("CREATE TABLE no_key (n INTEGER)")
        for row in ROWS:
            db.execute(f"INSERT INTO everything VALUES {row}")
        db.execute("INSERT INTO no_key VALUES (1), (1), (2)")
        db.execute("UPDATE everything SET note = 'in the table file' WHERE id = 3")
        with db.transaction() as tx:
            tx.put(b"raw key", b"raw value")
        # Holds on to what is deleted below: compaction would settle it before we are done.
        reader = db.begin(read_only=True)
        reader.get(b"raw key")
        db.ingest((b"ingested/%d" % number, b"in bulk") for number in range(6))
        with db.transaction() as tx:
            tx.delete_range(b"ingested/4", b"ingested/5")
        db.flush()
        with db.transaction() as tx:
            tx.delete_range(b"ingested/0", b"ingested/2")
        db.execute("DELETE FROM no_key WHERE n = 2")
        db.execute("UPDATE everything SET price = price + 1 WHERE id = 1")
        db.execute("INSERT INTO everything (id, is_on, name) VALUES (4, TRUE, 'only in the log')")
    (Path(folder) / "LOCK").unlink(missing_ok=True)


if __name__ == "__main__":
    make(sys.argv[1])
