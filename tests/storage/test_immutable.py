"""`@immutable` is `@dataclass(frozen=True, slots=True)` but for the frozen: each is held against one."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ferrisdb.immutable import immutable


def _definitions(decorate, by_identity):
    @decorate
    class Point:
        x: object
        y: object = 0

    @decorate
    class Tagged(Point):
        tag: str = field(default="", compare=False)

    @decorate
    class One:
        x: object

    @decorate
    class Nothing:
        """Has no fields."""

    @by_identity
    class Node:
        x: object

    return Point, Tagged, One, Nothing, Node


OURS = _definitions(immutable, immutable(eq=False))
THEIRS = _definitions(dataclass(frozen=True, slots=True), dataclass(frozen=True, slots=True, eq=False))

VALUES = st.one_of(st.integers(-1, 1), st.booleans(), st.sampled_from([1.0, "1", None, (1,)]))
OBJECTS = st.one_of(
    st.tuples(st.just(0), st.tuples(VALUES, VALUES)),
    st.tuples(st.just(1), st.tuples(VALUES, VALUES, st.sampled_from("ab"))),
    st.tuples(st.sampled_from([2, 4]), st.tuples(VALUES)),
    st.tuples(st.just(3), st.just(())),
)


@given(OBJECTS, OBJECTS)
def test_equality_and_repr_are_those_of_a_dataclass(one, other) -> None:
    ours, theirs = ([kinds[kind](*values) for kind, values in (one, other)] for kinds in (OURS, THEIRS))
    assert (ours[0] == ours[1]) is (theirs[0] == theirs[1])
    assert (ours[0] == ours[0], ours[0] == 1) == (True, False)
    assert repr(ours[0]) == repr(theirs[0])
    if ours[0] == ours[1]:
        assert hash(ours[0]) == hash(ours[1])


def test_fields_replace_and_match_work() -> None:
    point, tagged, *_ = OURS
    moved = replace(tagged(1, 2, "a"), y=3)
    assert [each.name for each in fields(moved)] == ["x", "y", "tag"]
    match moved:
        case point(x, y):
            assert (x, y) == (1, 3)


def test_a_mistyped_attribute_is_refused_at_run_time_too() -> None:
    with pytest.raises(AttributeError):
        OURS[0](1).z = 2


def test_what_a_class_says_itself_is_kept() -> None:
    @immutable
    class Secret:
        text: str

        def __repr__(self) -> str:
            return "Secret(...)"

    assert repr(Secret("a")) == "Secret(...)"
    assert Secret("a") == Secret("a")
