"""Laws that hold for every condition, tried with generated ones.

Ternary partition (M. Rigger, Z. Su, "Finding Bugs in Database Systems via Query
Partitioning", 2020): a row satisfies p, or NOT p, or p IS NULL, and only one of them. A
wrong NULL rule anywhere in binding, rules or generated code breaks the sum.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from query_lab import Lab, plain, sqlite_with_the_same_rows

LAB = Lab()
UNINDEXED = Lab(has_indexes=False)
ORACLE = sqlite_with_the_same_rows()

numbers = st.one_of(
    st.sampled_from(["id", "maker", "stock", "(NULL + 0)"]),
    st.integers(-2, 12).map(str),
)
sums = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*"]), inner),
        st.builds("COALESCE({}, {})".format, inner, inner),
        st.builds("NULLIF({}, {})".format, inner, inner),
        st.builds("CASE WHEN {} > {} THEN {} ELSE {} END".format, inner, inner, inner, inner),
        st.builds("(SELECT max(day) FROM sale WHERE sale.item = {})".format, inner),
    ),
    max_leaves=4,
)
comparisons = st.one_of(
    st.builds("{} {} {}".format, sums, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), sums),
    st.builds("{} BETWEEN {} AND {}".format, sums, sums, sums),
    st.builds("{} {} ({}, {}, {})".format, sums, st.sampled_from(["IN", "NOT IN"]), sums, sums, sums),
    st.builds("{} IS {}".format, sums, st.sampled_from(["NULL", "NOT NULL"])),
    st.builds("{} IS DISTINCT FROM {}".format, sums, sums),
    st.builds(
        "name {} '{}'".format,
        st.sampled_from(["LIKE", "NOT LIKE", "=", ">"]),
        st.sampled_from(["i1%", "i2", "%"]),
    ),
    st.builds("{} IN (SELECT item FROM sale WHERE day < {})".format, sums, numbers),
    st.builds("EXISTS (SELECT 1 FROM sale WHERE sale.item = item.id AND sale.day = {})".format, sums),
)
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {})".format, inner, inner),
        st.builds("(NOT {})".format, inner),
        st.builds("(({}) IS {})".format, inner, st.sampled_from(["TRUE", "NOT TRUE", "FALSE", "NOT FALSE"])),
    ),
    max_leaves=5,
)
few = settings(max_examples=60, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])


@few
@given(conditions)
def test_each_row_is_in_one_of_three_parts(condition: str) -> None:
    note(condition)
    parts: Counter[object] = Counter()
    for test in (f"{condition}", f"NOT ({condition})", f"({condition}) IS NULL"):
        parts.update(LAB.rows(f"SELECT id FROM item WHERE {test}"))
    assert parts == Counter(LAB.rows("SELECT id FROM item"))


@few
@given(conditions)
def test_showing_a_condition_and_filtering_by_it_agree(condition: str) -> None:
    note(condition)
    shown = [id for id, truth in LAB.rows(f"SELECT id, {condition} FROM item") if truth is True]
    kept = [id for (id,) in LAB.rows(f"SELECT id FROM item WHERE {condition}")]
    assert sorted(kept) == sorted(shown)  # type: ignore[type-var]


@few
@given(conditions)
def test_a_condition_means_what_it_means_to_sqlite(condition: str) -> None:
    note(condition)
    sql = f"SELECT id FROM item WHERE {condition}"
    assert sorted(plain(LAB.rows(sql))) == sorted(plain(ORACLE.execute(sql).fetchall()))  # type: ignore[type-var]


keys = st.one_of(
    st.builds("maker {} {}".format, st.sampled_from(["=", "<", "<=", ">", ">="]), st.integers(-1, 6)),
    st.builds("stock {} {}".format, st.sampled_from(["=", "<", "<=", ">", ">="]), st.integers(-1, 4)),
    st.builds("id {} {}".format, st.sampled_from(["=", "<", "<=", ">", ">="]), st.integers(-1, 32)),
    st.builds("name {} 'i{}'".format, st.sampled_from(["=", "<", "<=", ">", ">="]), st.integers(0, 31)),
    st.builds("maker IN ({}, {}, {})".format, *[st.sampled_from(["0", "1", "3", "NULL"])] * 3),
    st.builds("maker BETWEEN {} AND {}".format, st.integers(-1, 5), st.integers(-1, 5)),
)
orders = st.sampled_from(
    ["", " ORDER BY maker, stock, id", " ORDER BY maker DESC, stock DESC, id DESC", " ORDER BY id DESC"]
)


@few
@given(st.lists(keys, min_size=1, max_size=4), orders)
def test_an_index_gives_what_the_whole_table_gives(parts: list[str], order: str) -> None:
    sql = f"SELECT id, maker, stock FROM item WHERE {' AND '.join(parts)}{order}"
    note(sql)
    note("\n".join(LAB.explain(sql)))
    ours, whole = LAB.rows(sql), UNINDEXED.rows(sql)
    assert ours == whole if order else sorted(ours, key=repr) == sorted(whole, key=repr)


@few
@given(orders.filter(bool), st.integers(0, 12), st.integers(0, 12))
def test_a_limit_is_a_slice_of_the_order(order: str, limit: int, offset: int) -> None:
    sql = f"SELECT id, maker FROM item{order}"
    assert LAB.rows(f"{sql} LIMIT {limit} OFFSET {offset}") == LAB.rows(sql)[offset : offset + limit]


@few
@given(
    st.lists(st.one_of(st.none(), st.integers(0, 50)), max_size=600),
    st.sampled_from(["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]),
    st.integers(0, 30),
)
def test_the_top_rows_are_the_first_of_all(values: list[int | None], direction: str, limit: int) -> None:
    # Ids tell equal values apart: which of them is first must not depend on the LIMIT.
    cells = ", ".join(f"({'NULL' if v is None else v} + 0, {n})" for n, v in enumerate(values)) or "(1, 1)"
    sql = f"SELECT column1, column2 FROM (VALUES {cells}) AS v ORDER BY column1{direction}"
    assert LAB.rows(f"{sql} LIMIT {limit}") == LAB.rows(sql)[:limit]
