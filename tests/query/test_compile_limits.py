"""Statements at the edges of what CPython compiles: wide, deep, and many."""

from __future__ import annotations

import pytest
from query_lab import NOON, Lab

from ferrisdb.errors import CardinalityViolation, DivisionByZero, StatementTooComplex, StatementTooLarge
from ferrisdb.query.bind.expressions import Constant, SlotRef
from ferrisdb.query.compile.expressions import MAX_NESTING
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.plan import plan_row_values, plan_target_rows
from ferrisdb.query.types import INTEGER, NUMERIC


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab()


@pytest.mark.parametrize("word", ["AND", "OR"])
def test_a_long_chain_of_conditions_is_flat(lab: Lab, word: str) -> None:
    chain = f" {word} ".join(f"id <> {number + 100}" for number in range(2000))
    assert len(lab.rows(f"SELECT id FROM item WHERE {chain}")) == 30
    assert lab.rows(f"SELECT ({chain}) FROM item WHERE id = 1") == [(True,)]


def test_a_long_case_and_a_long_list(lab: Lab) -> None:
    whens = " ".join(f"WHEN id = {number} THEN maker + {number}" for number in range(300))
    expected = [(None if n % 7 == 0 else n % 5 + n,) for n in range(1, 31)]
    assert lab.rows(f"SELECT CASE {whens} END FROM item ORDER BY id") == expected
    listed = ", ".join(str(number) for number in range(-3000, 10))
    assert len(lab.rows(f"SELECT id FROM item WHERE id IN ({listed})")) == 9


def test_nesting_deeper_than_python_reads_is_split_into_functions(lab: Lab) -> None:
    depth = 3 * MAX_NESTING
    nested = "COALESCE(" * depth + "maker" + ", 1)" * depth
    assert lab.rows(f"SELECT {nested} FROM item WHERE id IN (6, 7) ORDER BY id") == [(1,), (1,)]
    added = "(" * depth + "maker" + " + 1)" * depth
    assert lab.rows(f"SELECT {added} FROM item WHERE id IN (6, 7) ORDER BY id") == [(1 + depth,), (None,)]


def test_more_joins_than_python_nests_loops(lab: Lab) -> None:
    tables = ", ".join(f"sale s{number}" for number in range(40))
    links = " AND ".join(f"s{number}.amount = s{number + 1}.amount" for number in range(39))
    assert lab.rows(f"SELECT count(*), sum(s0.amount) FROM {tables} WHERE {links}") == [(36, 714)]
    chain = " ".join(
        f"LEFT JOIN sale s{n + 1} ON s{n}.amount = s{n + 1}.amount AND s{n + 1}.day > 0" for n in range(30)
    )
    assert lab.rows(f"SELECT count(*) FROM sale s0 {chain}") == [(40,)]


def test_subqueries_in_subqueries_are_planned_once_each(lab: Lab) -> None:
    depth = 20
    nested = "(SELECT max(id) FROM item WHERE id <= " * depth + "5" + ")" * depth
    assert lab.rows(f"SELECT {nested}") == [(5,)]


def test_limits_are_errors_with_a_name(lab: Lab) -> None:
    with pytest.raises(StatementTooLarge, match="64 tables"):
        lab.rows("SELECT 1 FROM " + ", ".join(f"sale s{number}" for number in range(65)))
    with pytest.raises(StatementTooLarge, match="columns"):
        lab.rows("SELECT " + ", ".join("1" for _ in range(2001)))
    with pytest.raises(StatementTooComplex):
        lab.rows("SELECT " + "+".join("id" for _ in range(1000)) + " FROM item")


def test_case_evaluates_only_what_it_needs(lab: Lab) -> None:
    sql = "SELECT CASE WHEN stock <> 0 THEN 6 / stock ELSE 0 END FROM item WHERE id < 4 ORDER BY id"
    assert lab.rows(sql) == [(6,), (3,), (0,)]
    with pytest.raises(DivisionByZero):
        lab.rows("SELECT 6 / stock FROM item")


def test_a_scalar_subquery_has_one_row(lab: Lab) -> None:
    with pytest.raises(CardinalityViolation):
        lab.rows("SELECT id FROM item WHERE stock = (SELECT day FROM sale)")
    assert lab.rows("SELECT (SELECT day FROM sale WHERE item = 1000)") == [(None,)]


def test_what_the_user_wrote_is_not_in_the_generated_code(lab: Lab) -> None:
    secret = "x'); import os  # \\n"
    literal = secret.replace("'", "''")
    sql = f"SELECT name AS \"{secret}\", '{literal}' FROM item WHERE name <> '{literal}' AND id > 123456789"
    plan = lab.plan(sql, Parameters.of(None))
    assert secret not in plan.source()
    assert "import" not in plan.source()
    assert "123456789" not in plan.source()
    assert [column.name for column in plan.columns] == [secret, "?column?"]


def test_one_plan_runs_with_any_values_of_its_signature(lab: Lab) -> None:
    first, second = Parameters.of((7,)), Parameters.of((8,))
    assert first.signature == second.signature != Parameters.of(("8",)).signature
    plan, tx = lab.plan("SELECT id, name FROM item WHERE id = ?", first), lab.store.begin()
    assert list(plan.run(tx, first, NOON)) == [[(7, "i7")]]
    assert list(plan.run(tx, second, NOON)) == [[(8, None)]]


def test_rows_to_change_come_with_their_bytes_by_every_path(lab: Lab) -> None:
    tx = lab.store.begin()
    everything = dict(tx.scan(b"", None))
    for where in ("id = 5", "id IN (5, 6)", "maker = 2", "name = 'i5'", "id > 28", "price > 7"):
        sql = f"SELECT id + 1 FROM item WHERE {where}"
        body = lab.query(sql).body
        plan = plan_target_rows(
            body.from_items[0],  # type: ignore[union-attr,arg-type]
            body.where,  # type: ignore[union-attr]
            [(body.items[0].expression, NUMERIC)],  # type: ignore[union-attr]
            lab.catalog,
            Parameters.of(None),
        )
        rows = [row for batch in plan.run(tx, Parameters.of(None), NOON) for row in batch]
        assert sorted(value for _, _, value in rows) == sorted(id for (id,) in lab.rows(sql))  # type: ignore[type-var]
        assert rows
        assert all(everything[key] == row for key, row, _ in rows)  # type: ignore[index]


def test_a_row_of_values_is_cast_by_assignment(lab: Lab) -> None:
    items = [(cell, INTEGER) for cell in lab.query("VALUES ('5', 2.0 + 0.6)").body.rows[0]]  # type: ignore[union-attr]
    plan = plan_row_values(items, lab.catalog, Parameters.of(None))
    assert list(plan.run(lab.store.begin(), Parameters.of(None), NOON)) == [[(5, 3)]]


def test_a_bound_expression_knows_whether_it_can_be_null(lab: Lab) -> None:
    (_, stock), (_, maker), (_, one) = lab.bound("SELECT stock, maker, 1 FROM item").items  # type: ignore[attr-defined]
    assert isinstance(stock, SlotRef) and not stock.is_nullable
    assert isinstance(maker, SlotRef) and maker.is_nullable
    assert isinstance(one, Constant) and not one.is_nullable
    joined = lab.bound("SELECT m.id FROM item LEFT JOIN maker m ON m.id = maker")
    assert joined.items[0][1].is_nullable  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", ["TRUE", "FALSE", "CAST(NULL AS BOOLEAN)"])
def test_a_constant_of_a_derived_table_reaches_a_subquery(lab: Lab, value: str) -> None:
    source = f"FROM (SELECT {value} AS known, id FROM item) AS d WHERE id = 1"
    expected = [(30 if value == "TRUE" else 0,)]
    assert lab.rows(f"SELECT (SELECT count(*) FROM item WHERE d.known) {source}") == expected
    assert lab.rows(f"SELECT (SELECT 1 FROM item WHERE d.known LIMIT 1) IS NULL {source}") == [
        (value != "TRUE",)
    ]
    deep = "NOT (" * 40 + "known" + ")" * 40
    assert lab.rows(f"SELECT ({deep}) IS TRUE {source}") == [(value == "TRUE",)]


def test_an_operand_that_is_named_again_inside_survives_the_split(lab: Lab) -> None:
    # NULLIF and COALESCE name their operand, which is the same one at every level.
    nested = "NULLIF(maker + 1, 0 + " * 30 + "COALESCE(maker + 1, 0)" + ")" * 30
    assert lab.rows(f"SELECT {nested} FROM item WHERE id IN (1, 7) ORDER BY id") == [(2,), (None,)]


@pytest.mark.parametrize(
    "source", ["id FROM item ORDER BY id", "id FROM item", "id FROM item ORDER BY price"]
)
def test_the_largest_limit_is_no_limit(lab: Lab, source: str) -> None:
    most = 2**63 - 1
    assert len(lab.rows(f"SELECT {source} LIMIT {most} OFFSET 1")) == 29
    assert lab.rows(f"SELECT {source} LIMIT {most} OFFSET {most}") == []


def test_a_row_that_fails_the_filter_is_not_decoded_further(lab: Lab) -> None:
    plan = lab.plan("SELECT name FROM item WHERE price > 3 AND stock = 1", Parameters.of(None))
    filtering, rest = plan.source().split("continue", 1)
    assert "decode()" not in filtering
    assert "decode()" in rest


def test_more_answers_than_are_kept_are_still_right(lab: Lab) -> None:
    numbers = ", ".join(f"({number % 150})" for number in range(450))
    source = f"(VALUES {numbers}) AS v"
    condition = "column1 IN (SELECT id FROM item WHERE id <= v.column1)"
    assert lab.rows(f"SELECT count(*) FROM {source} WHERE {condition}") == [(90,)]
