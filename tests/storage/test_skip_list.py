"""The skip list: sorted whatever comes, and whole at every store of the writer."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import version_model as model
from hypothesis import given
from hypothesis import strategies as st

from ferrisdb.errors import InvariantViolation
from ferrisdb.storage import skip_list as skip_list_module
from ferrisdb.storage.skip_list import MAX_HEIGHT, Node, SkipList


def list_of(keys: list[bytes], seed: int = 0) -> SkipList[int]:
    skip_list = SkipList(0, seed)
    for number, key in enumerate(keys):
        skip_list.insert(key, number)
    return skip_list


def lane(skip_list: SkipList[Any], number: int) -> list[bytes]:
    """The keys that a walk along one lane meets."""
    keys = []
    node = skip_list._head.following[number]
    while node is not None:
        keys.append(node.key)
        node = node.following[number]
    return keys


@given(st.lists(model.keys, unique=True), st.integers(0, 100))
def test_lane_0_has_every_key_in_order_and_each_other_a_part_of_the_one_below(keys, seed):
    skip_list = list_of(keys, seed)
    assert lane(skip_list, 0) == sorted(keys)
    for number in range(1, MAX_HEIGHT):
        assert set(lane(skip_list, number)) <= set(lane(skip_list, number - 1))
        assert lane(skip_list, number) == sorted(lane(skip_list, number))


@given(st.lists(model.keys, unique=True), model.keys)
def test_searches_answer_as_a_sorted_list_does(keys, wanted):
    skip_list = list_of(keys)
    above = [key for key in sorted(keys) if key >= wanted]
    below = [key for key in sorted(keys) if key < wanted]
    assert key_of(skip_list.at_or_after(wanted)) == (above[0] if above else None)
    assert key_of(skip_list.last_before(wanted)) == (below[-1] if below else None)
    assert key_of(skip_list.last_before(None)) == (max(keys) if keys else None)
    assert key_of(skip_list.find(wanted)) == (wanted if wanted in keys else None)


def key_of(node: Node[int] | None) -> bytes | None:
    return None if node is None else node.key


def test_a_key_is_put_in_once():
    skip_list = list_of([b"a"])
    with pytest.raises(InvariantViolation, match="already"):
        skip_list.insert(b"a", 1)


def test_a_quarter_of_the_nodes_goes_up_at_each_lane():
    skip_list = list_of([b"%06d" % number for number in range(40_000)])
    sizes = [len(lane(skip_list, number)) for number in range(4)]
    for below, above in pairwise(sizes):
        assert 0.2 < above / below < 0.3


class WatchedLinks(list[Any]):
    """The links of a node; after each store `watcher` looks at the list."""

    watcher: Callable[[], None] = staticmethod(lambda: None)

    def __setitem__(self, lane: Any, node: Any) -> None:
        super().__setitem__(lane, node)
        WatchedLinks.watcher()


def test_a_reader_at_any_store_of_an_insert_sees_a_whole_list(monkeypatch: pytest.MonkeyPatch):
    """The writer is stopped after each of its stores, and everything is read: as any reader
    in any thread might do at that moment."""

    class WatchedNode(Node[int]):
        __slots__ = ()

        def __init__(self, key: bytes, content: int, following: list[Node[int] | None]) -> None:
            super().__init__(key, content, WatchedLinks(following))

    monkeypatch.setattr(skip_list_module, "Node", WatchedNode)
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chooser = random.Random(seed)
    skip_list: SkipList[int] = SkipList(0, seed)
    present: list[bytes] = []
    arriving = b""
    stores = 0

    def look() -> None:
        nonlocal stores
        stores += 1
        keys = lane(skip_list, 0)
        # The first store puts it in. Every later one only makes it quicker to find.
        assert keys == sorted([*present, arriving])
        for number in range(1, MAX_HEIGHT):
            assert set(lane(skip_list, number)) <= set(keys)
        for key in keys:
            assert key_of(skip_list.find(key)) == key
        assert key_of(skip_list.last_before(None)) == keys[-1]

    monkeypatch.setattr(WatchedLinks, "watcher", staticmethod(look))
    for _ in range(150):
        arriving = b"%06d" % chooser.randrange(1_000_000)
        if arriving in present:
            continue
        skip_list.insert(arriving, 1)
        present.append(arriving)
    assert stores > len(present), "some nodes stand in several lanes"
