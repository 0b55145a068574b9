"""Parameters: what a user may pass, and what the binder makes of it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from query_lab import Lab

from ferrisdb.errors import InterfaceError, InvalidTextRepresentation, UndefinedParameter
from ferrisdb.query.parameters import Parameters
from ferrisdb.query.types import BOOLEAN, INTEGER, UNKNOWN


def test_a_sequence_is_numbered_from_one_and_a_mapping_keeps_its_names() -> None:
    assert dict(Parameters.of((5, "x")).values) == {1: 5, 2: "x"}
    assert dict(Parameters.of({"b": True, "a": None}).values) == {"a": None, "b": True}
    assert Parameters.of({"b": True, "a": None}).type_of("b") == BOOLEAN
    assert Parameters.of([1]).type_of(1) == INTEGER


def test_only_the_kinds_make_the_signature() -> None:
    assert Parameters.of((1, "x")).signature == Parameters.of((2, None)).signature
    assert Parameters.of((1,)).signature != Parameters.of((1.0,)).signature
    assert Parameters.of({"a": 1, "b": 2}).signature == Parameters.of({"b": 3, "a": 4}).signature
    assert Parameters.of(("x",)).type_of(1) == UNKNOWN


@pytest.mark.parametrize("wrong", ["text", b"bytes", 5, {1: 2}])
def test_what_holds_no_values_is_refused(wrong: object) -> None:
    with pytest.raises(InterfaceError):
        Parameters.of(wrong)  # type: ignore[arg-type]


def test_a_missing_value_is_named() -> None:
    with pytest.raises(UndefinedParameter, match=r"\?2") as caught:
        Parameters.of((1,)).type_of(2)
    assert caught.value.detail == "1 value was given"
    with pytest.raises(UndefinedParameter, match=":b") as named:
        Parameters.of({"a": 1}).type_of("b")
    assert named.value.detail == "given are a"


def test_text_and_null_take_their_type_from_where_they_stand() -> None:
    lab = Lab()
    assert lab.rows("SELECT ? + 1, CAST(? AS DATE), ? || 'x'", "5", "2024-02-29", "y") == [
        (6, date(2024, 2, 29), "yx")
    ]
    assert lab.rows("SELECT id FROM item WHERE id = ?", "7") == [(7,)]
    assert lab.rows("SELECT id FROM item WHERE id = ?", None) == []
    assert lab.rows("SELECT id FROM item WHERE id IN (?, ?, ?)", 1, "2", None) == [(1,), (2,)]
    assert lab.rows("SELECT id FROM item ORDER BY id LIMIT ? OFFSET ?", 2, "3") == [(4,), (5,)]
    assert lab.rows("SELECT id FROM item WHERE price = ?", Decimal("1.25")) == [(5,)]
    with pytest.raises(InvalidTextRepresentation):
        lab.rows("SELECT id FROM item WHERE id = ?", "seven")
