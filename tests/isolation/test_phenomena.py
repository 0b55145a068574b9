"""The textbook: for each anomaly a history that shows it, and who allows it.

The histories are those of the papers that the names come from (`ferrisdb.isolation.phenomena`),
in our notation.
"""

from __future__ import annotations

import pytest

from ferrisdb.isolation.checker import check, forbidden
from ferrisdb.isolation.history import parse
from ferrisdb.isolation.phenomena import FORBIDDEN, Anomaly
from ferrisdb.txn.api import IsolationLevel

TEXTBOOK = {
    "two overwrite each other": (
        Anomaly.G0,
        """
        x: T1 << T2
        y: T2 << T1
        T1: w(x)=1 w(y)=1 commit
        T2: w(x)=2 w(y)=2 commit
        """,
    ),
    "appends of two, mixed": (
        Anomaly.G0,
        """
        T1: a(l)=1 a(l)=3 commit
        T2: a(l)=2 commit
        T3: r(l)=[1,2,3] commit
        """,
    ),
    "a read of what was rolled back": (
        Anomaly.G1A,
        """
        initial x=0
        T1: w(x)=1 abort
        T2: r(x)=1 commit
        """,
    ),
    "an aborted element in the middle of a list": (
        Anomaly.G1A,
        """
        T1: a(l)=1 abort
        T2: r(l)=[1] a(l)=2 commit
        T3: r(l)=[1,2] commit
        """,
    ),
    "two look at two changes, and the clock decides who is wrong": (
        Anomaly.G_NONADJACENT,
        """
        initial x=0 y=0
        T1 1-10: w(y)=1 commit#2
        T2 2-11: r(x)=0 r(y)=1 commit
        T3 1-3: w(x)=1 commit#1
        T4 4-9: r(y)=0 commit
        """,
    ),
    "a read of what was deleted and taken back": (
        Anomaly.G1A,
        """
        initial x=0
        T1: w(x)=nil abort
        T2: s(a..z)={} commit
        """,
    ),
    "a read of what was deleted for a moment": (
        Anomaly.G1B,
        """
        initial x=0
        T1: w(x)=nil w(x)=1 commit
        T2: r(x)=nil commit
        """,
    ),
    "one key twice in a range, old and new": (
        Anomaly.MISSHAPEN_RANGE,
        """
        initial a=0
        T1: w(a)=1 commit
        T2: s(a..c)={a:0,a:1} commit
        """,
    ),
    "an old version beside its own": (
        Anomaly.MISSHAPEN_RANGE,
        """
        initial a=0
        T1: w(a)=1 s(a..c)={a:0,a:1} commit
        """,
    ),
    "a key that is no part of the range": (
        Anomaly.MISSHAPEN_RANGE,
        """
        initial a=0 x=0
        T1: s(a..c)={a:0,x:0} commit
        """,
    ),
    "a range out of order": (
        Anomaly.MISSHAPEN_RANGE,
        """
        initial a=0 b=0
        T1: s(a..c)={b:0,a:0} commit
        """,
    ),
    "a read of what was replaced": (
        Anomaly.G1B,
        """
        T1: w(x)=1 w(x)=2 commit
        T2: r(x)=1 commit
        """,
    ),
    "half of a list's appends": (
        Anomaly.G1B,
        """
        T1: a(l)=1 a(l)=2 commit
        T2: r(l)=[1] commit
        """,
    ),
    "each sees the other's write": (
        Anomaly.G1C,
        """
        T1: w(x)=1 r(y)=2 commit#1
        T2: w(y)=2 r(x)=1 commit#2
        """,
    ),
    "both read 100, both add": (
        Anomaly.LOST_UPDATE,
        """
        initial x=100
        T1: r(x)=100 w(x)=110 commit#1
        T2: r(x)=100 w(x)=120 commit#2
        """,
    ),
    "a lost update of which nobody knows the order": (
        Anomaly.LOST_UPDATE,
        """
        initial x=100
        T1: r(x)=100 w(x)=110 commit
        T2: r(x)=100 w(x)=120 commit
        """,
    ),
    "a lost update with a blind write in between": (
        Anomaly.LOST_UPDATE,
        """
        initial x=100
        T1: r(x)=100 w(x)=110 commit#1
        T2: w(x)=115 commit#2
        T3: r(x)=100 w(x)=120 commit#3
        """,
    ),
    "half of a transfer": (
        Anomaly.G_SINGLE,
        """
        initial x=50 y=50
        T1: r(x)=50 r(y)=90 commit#2
        T2: w(x)=10 w(y)=90 commit#1
        """,
    ),
    "one value read twice and differently": (
        Anomaly.G_SINGLE,
        """
        initial x=0
        T1: r(x)=0 r(x)=1 commit#2
        T2: w(x)=1 commit#1
        """,
    ),
    "the sum and the parts (a phantom in one reader)": (
        Anomaly.G_SINGLE,
        """
        initial sum=10 worker1=10
        T1: s(worker..x)={worker1:10} r(sum)=20 commit#2
        T2: w(worker2)=10 w(sum)=20 commit#1
        """,
    ),
    "what was committed long ago is not seen": (
        Anomaly.STALE_READ,
        """
        initial x=0
        T1 1-2: w(x)=1 commit#1
        T2 3-4: r(x)=0 commit#2
        """,
    ),
    "an old value, and a newer one than what replaced it": (
        Anomaly.G_SI,
        """
        initial x=0 y=0
        T1 1-8: r(x)=0 r(y)=3 commit#3
        T2 2-3: w(x)=2 commit#1
        T3 4-5: w(y)=3 commit#2
        """,
    ),
    "two readers, two orders": (
        Anomaly.LONG_FORK,
        """
        initial x=0 y=0
        T1: w(x)=1 commit#1
        T2: w(y)=1 commit#2
        T3: r(x)=1 r(y)=0 commit#3
        T4: r(x)=0 r(y)=1 commit#4
        """,
    ),
    "doctors on call": (
        Anomaly.WRITE_SKEW,
        """
        initial alice=on bob=on
        T1: r(alice)=on r(bob)=on w(alice)=off1 commit#1
        T2: r(alice)=on r(bob)=on w(bob)=off2 commit#2
        """,
    ),
    "write skew over lists": (
        Anomaly.WRITE_SKEW,
        """
        T1: r(x)=[] a(y)=1 commit
        T2: r(y)=[] a(x)=2 commit
        T3: r(x)=[2] r(y)=[1] commit
        """,
    ),
    "the bank's fee (Fekete, O'Neil, O'Neil)": (
        Anomaly.READ_ONLY,
        """
        initial x=0 y=0
        T1: r(y)=0 w(y)=20 commit#1
        T2: r(x)=0 r(y)=0 w(x)=-11 commit#2
        T3: r(x)=0 r(y)=20 commit#3
        """,
    ),
    "three in a ring": (
        Anomaly.G2_ITEM,
        """
        initial x=0 y=0 z=0
        T1: r(x)=0 w(y)=1 commit#1
        T2: r(y)=0 w(z)=2 commit#2
        T3: r(z)=0 w(x)=3 commit#3
        """,
    ),
    "two look for a free hour and both take one": (
        Anomaly.G2,
        """
        T1: s(a..z)={} w(h)=1 commit#1
        T2: s(a..z)={} w(i)=2 commit#2
        """,
    ),
    "a list without what was in it before": (
        Anomaly.LOST_WRITE,
        """
        T1 1-2: a(l)=1 commit
        T2 3-4: r(l)=[] a(l)=2 commit
        T3 5-6: r(l)=[2] commit
        """,
    ),
    "two reads that do not fit together": (
        Anomaly.INCOMPATIBLE_ORDER,
        """
        T1: a(l)=1 commit
        T2: a(l)=2 commit
        T3: r(l)=[1,2] commit
        T4: r(l)=[2] commit
        """,
    ),
    "a value of nobody": (Anomaly.THIN_AIR, "T1: r(x)=7 commit"),
    "a row that a scan does not find": (
        Anomaly.THIN_AIR,
        """
        initial x=0
        T1: s(a..z)={} commit
        """,
    ),
    "a transaction that does not see its own write": (
        Anomaly.BROKEN_READ,
        """
        initial x=0
        T1: w(x)=1 r(x)=0 commit
        """,
    ),
}

SOUND = """
    initial x=0
    T1 1-6: r(x)=0 w(x)=1 r(x)=1 commit#1
    T2 2-3: r(x)=0 s(a..z)={x:0} commit
    T3 7-9: r(x)=1 s(a..z)={x:1} w(x)=nil s(a..z)={} r(l)=[] a(l)=4 commit#2
    T4 8-10: w(x)=77 abort
    T5 10-11: r(x)=nil r(l)=[4] commit#3
"""


@pytest.mark.parametrize("lesson", TEXTBOOK)
def test_the_anomaly_has_its_name(lesson: str) -> None:
    expected, text = TEXTBOOK[lesson]
    assert expected in {each.anomaly for each in check(parse(text))}


def test_every_name_has_its_textbook_history() -> None:
    assert {anomaly for anomaly, _ in TEXTBOOK.values()} == set(Anomaly)


def test_a_sound_history_shows_nothing() -> None:
    assert check(parse(SOUND)) == []


def test_what_a_level_forbids_the_stronger_ones_forbid_too() -> None:
    weak, middle, strong = (FORBIDDEN[each] for each in IsolationLevel)
    assert weak < middle < strong


@pytest.mark.parametrize(
    ("lesson", "allowing"),
    [
        ("two overwrite each other", set()),
        ("both read 100, both add", {IsolationLevel.READ_COMMITTED}),
        ("doctors on call", {IsolationLevel.READ_COMMITTED, IsolationLevel.SNAPSHOT}),
    ],
)
def test_a_level_lets_pass_what_it_allows(lesson: str, allowing: set[IsolationLevel]) -> None:
    findings = check(parse(TEXTBOOK[lesson][1]))
    assert {level for level in IsolationLevel if not forbidden(findings, level)} == allowing


def test_a_reader_is_told_the_cycle_edge_by_edge() -> None:
    history = parse(TEXTBOOK["doctors on call"][1])
    (finding,) = check(history)
    assert (
        finding.explain(history)
        == """\
write skew: two transactions each read what the other replaced, and both acted on it
  T1 read bob = on, before T2 wrote bob = off2  (rw)
  T2 read alice = on, before T1 wrote alice = off1  (rw)
  so in a serial order T1 before T2 before T1, and there is none
  what they did:
    T1: r(alice)=on r(bob)=on w(alice)=off1 commit#1
    T2: r(alice)=on r(bob)=on w(bob)=off2 commit#2"""
    )


def test_a_phantom_is_told_by_the_range_that_was_looked_through() -> None:
    history = parse(TEXTBOOK["two look for a free hour and both take one"][1])
    (finding,) = check(history)
    assert "T1 looked from a to z and found no i, before T2 wrote i = 2  (rw)" in finding.explain(history)


def test_a_commit_of_unknown_end_counts_once_somebody_has_seen_it() -> None:
    seen = parse("T1: w(x)=1 w(y)=1 unknown\nT2: r(x)=1 r(y)=nil commit")
    assert {each.anomaly for each in check(seen)} == {Anomaly.G_SINGLE}
    assert check(parse("T1: w(x)=1 unknown\nT2: r(x)=nil commit")) == []


@pytest.mark.parametrize(
    "text",
    [
        "initial x=0\nT1: w(x)=nil unknown\nT2: r(x)=nil commit",
        "T1: w(x)=nil w(x)=5 commit#1\nT2: r(x)=nil commit#2",
    ],
    ids=["a delete of unknown end was seen", "there was no x at first, so nil is no half of T1"],
)
def test_an_absence_that_can_be_explained_is_no_finding(text: str) -> None:
    assert check(parse(text)) == []
