"""Blocks that lead back to their loop, and blocks that lead out of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext

import pytest

from ferrisdb.api.loop_exit import leads_back, place_of_caller


class Rounds:
    """One round; what its block's end looked like is in `led_back`."""

    led_back: list[bool]

    def __init__(self) -> None:
        self.rounds = 0

    def __iter__(self) -> Rounds:
        return self

    def __next__(self) -> Rounds:
        self.rounds += 1
        if self.rounds > 1:
            raise StopIteration
        self.header = place_of_caller(1)
        return self

    def __enter__(self) -> int:
        return self.rounds

    def __exit__(self, *error: object) -> None:
        Rounds.led_back.append(leads_back(place_of_caller(1), self.header))


# Each source is the body of a function; the loop is over `Rounds()`.
BACK = {
    "a block and nothing else": """
for each in Rounds():
    with each: pass
""",
    "code and loops on both sides": """
for each in Rounds():
    for x in "ab":
        if x == "a": continue
    with each: x = 2
    for x in "ab":
        if x == "a": break
    while x == "c": pass
""",
    "a branch that returns, not taken": """
for each in Rounds():
    with each as number:
        if number == 7: return 3
        x = 2
    if x == 7: return
""",
    "continue": """
for each in Rounds():
    with each: continue
""",
    "finally, and other blocks around it": """
with nullcontext():
    for each in Rounds():
        try:
            with nullcontext(), each, nullcontext(): x = 1
        finally:
            x = 2
""",
    "a generator's": """
for each in Rounds():
    with each: yield 1
""",
}
OUT = {
    "return": """
for each in Rounds():
    with each: return 3
""",
    "return of what was computed": """
for each in Rounds():
    with each:
        x = [1]
        return x
""",
    "break": """
for each in Rounds():
    with each: break
""",
    "break, in a loop that begins the whole anew": """
for again in "ab":
    for each in Rounds():
        with each: break
while len(Rounds.led_back) < 3:
    for each in Rounds():
        with each: break
""",
    "break that is sometimes taken, in a loop that begins the whole anew": """
for again in "ab":
    for each in Rounds():
        with each as number:
            if number == 1: break
""",
    "break behind the block": """
for each in Rounds():
    with each: x = 1
    break
""",
    "a branch that returns": """
for each in Rounds():
    with each as number:
        if number == 1: return 3
        x = 2
""",
    "return through finally and other blocks": """
for each in Rounds():
    try:
        with nullcontext(), each, nullcontext(): return
    finally:
        x = 1
""",
    "no loop": """
each = next(Rounds())
with each: pass
""",
    "entered by somebody else": """
for each in Rounds():
    with ExitStack() as stack:
        stack.enter_context(each)
""",
}


@pytest.mark.parametrize("source", [*BACK.values(), *OUT.values()], ids=[*BACK, *OUT])
@pytest.mark.parametrize("is_traced", [False, True], ids=["", "traced"])
def test_the_end_of_a_block(source: str, is_traced: bool) -> None:
    names = {"Rounds": Rounds, "ExitStack": ExitStack, "nullcontext": nullcontext}
    exec("def work():\n" + "".join(f"    {line}\n" for line in source.splitlines()), names)
    Rounds.led_back = []
    before = sys.gettrace()
    if is_traced:
        sys.settrace(lambda frame, event, argument: lambda *more: None)
    try:
        done = names["work"]()  # type: ignore[operator]
        if isinstance(done, Iterator):
            list(done)
    finally:
        sys.settrace(before)
    assert set(Rounds.led_back) == {source in BACK.values()}


def test_where_nothing_is_known_the_answer_is_no() -> None:
    here = place_of_caller(0)
    assert here is not None and here.code is test_where_nothing_is_known_the_answer_is_no.__code__
    assert not leads_back(None, here)
    assert not leads_back(here, None)
    assert not leads_back(here, here), "that is no header of a loop"
    assert place_of_caller(100_000) is None
