"""sqlite3 as the oracle: the same rows, the same query, the same answer.

plans/oracle.sql holds the queries, one a line. They keep to what both dialects mean alike;
without an ORDER BY the order of the answer does not count.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from query_lab import Lab, plain, sqlite_with_the_same_rows

QUERIES = [
    line
    for line in (Path(__file__).parent / "plans" / "oracle.sql").read_text().splitlines()
    if line and not line.startswith("--")
]


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab()


@pytest.fixture(scope="module")
def lab_without_indexes() -> Lab:
    return Lab(has_indexes=False)


@pytest.mark.parametrize("sql", QUERIES)
def test_both_databases_agree(sql: str, lab: Lab, lab_without_indexes: Lab) -> None:
    theirs = plain(sqlite_with_the_same_rows().execute(sql).fetchall())
    ours = plain(lab.rows(sql))
    unindexed = plain(lab_without_indexes.rows(sql))
    if "ORDER BY" not in sql:
        for rows in (ours, theirs, unindexed):
            rows.sort(key=repr)
    assert ours == theirs
    assert unindexed == theirs
