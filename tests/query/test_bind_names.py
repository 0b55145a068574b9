"""What `*` and the columns of USING stand for, and whose an aggregate is."""

from __future__ import annotations

import pytest
from query_lab import Lab

from ferrisdb.errors import AmbiguousColumn, NotSupportedError
from ferrisdb.query.parameters import Parameters


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab()


def star(lab: Lab, source: str) -> list[str]:
    return [column.name for column in lab.plan(f"SELECT * FROM {source}", Parameters.of(None)).columns]


@pytest.mark.parametrize(
    ("source", "columns"),
    [
        ("visit JOIN sale USING (day)", "day town guests item amount"),
        # The column of USING comes first in its own join, not before all of FROM.
        ("maker, visit JOIN sale USING (day)", "id name town day town guests item amount"),
        (
            "visit v JOIN sale USING (day) JOIN maker ON maker.id = v.day",
            "day town guests item amount id name town",
        ),
        # Another table that has a column of that name does not make `*` ambiguous.
        ("visit JOIN sale USING (day), visit AS w", "day town guests item amount town day guests"),
        (
            "visit JOIN sale USING (day) JOIN visit AS w USING (day)",
            "day town guests item amount town guests",
        ),
        (
            "visit JOIN sale USING (day) JOIN visit AS w USING (town)",
            "town day guests item amount day guests",
        ),
        ("visit LEFT JOIN visit AS w USING (day, town)", "day town guests guests"),
    ],
)
def test_star_shows_a_column_of_using_once_and_first(lab: Lab, source: str, columns: str) -> None:
    assert star(lab, source) == columns.split()


def test_a_column_of_using_is_ambiguous_beside_a_third_of_its_name(lab: Lab) -> None:
    assert lab.rows("SELECT count(day) FROM visit JOIN sale USING (day)") == [(120,)]
    with pytest.raises(AmbiguousColumn):
        lab.rows("SELECT day FROM visit JOIN sale USING (day), visit AS w")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT (SELECT sum(item.stock) FROM maker) FROM item",
        "SELECT maker FROM item GROUP BY maker HAVING EXISTS (SELECT 1 FROM maker WHERE id = count(item.id))",
    ],
)
def test_an_aggregate_of_outer_columns_is_not_taken_for_one_of_the_subquery(lab: Lab, sql: str) -> None:
    with pytest.raises(NotSupportedError, match="query around"):
        lab.rows(sql)
    assert lab.rows("SELECT (SELECT sum(id + item.id) FROM maker) FROM item WHERE id = 1") == [(21,)]
