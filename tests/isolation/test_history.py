"""A history has one text: what is written is read back, and nonsense is refused by its line."""

from __future__ import annotations

import pytest

from ferrisdb.errors import InvalidParameterValue
from ferrisdb.isolation.history import History, RangeRead, TransactionRecord, Write, parse

TEXT = """\
initial x=0 y=zero
x: T1 << T2
T1 alice 1-4: r(x)=0 r(y)=zero w(x)=1 s(a..z)={x:1,y:zero} commit#1
T2 2-5: r(l)=[] a(l)=7 r(l)=[7] w(x)=-2 commit
T3: r(q)=nil w(y)=nil s(a..b)={} abort
T4 bob: unknown"""


def test_a_history_is_read_back_as_it_was_written() -> None:
    assert str(parse(TEXT)) == TEXT
    assert parse(str(parse(TEXT))) == parse(TEXT)


def test_comments_and_empty_lines_are_left_out() -> None:
    assert parse("# a lesson\n\nT1: w(x)=1 commit\n") == History((TransactionRecord(1, (Write("x", 1),)),))


def test_a_range_keeps_what_was_found() -> None:
    (record,) = parse("T1: s(a..c)={a:1,b:word} commit").transactions
    assert record.operations == (RangeRead("a", "c", (("a", 1), ("b", "word"))),)


@pytest.mark.parametrize(
    "line",
    [
        "T1: r(x)=0",
        "r(x)=0 commit",
        "T1: q(x)=0 commit",
        "T1: s(a)={} commit",
        "T1: r(x)=[1 commit",
        "T1: a(x)=b commit",
    ],
)
def test_a_line_that_is_no_transaction_is_named(line: str) -> None:
    with pytest.raises(InvalidParameterValue, match="line 2"):
        parse(f"\n{line}")


@pytest.mark.parametrize("text", ["T1: w(x)=1 commit\nT2: w(x)=1 commit", "initial x=1\nT1: w(x)=1 commit"])
def test_a_value_that_two_have_written_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameterValue, match="twice"):
        parse(text)


def test_two_transactions_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidParameterValue, match="id"):
        parse("T1: commit\nT1: commit")
