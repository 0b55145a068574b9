"""The skip list: sorted keys that many read, without a lock, while one writes.

A sorted linked list is easy to change and slow to search. A skip list adds express lanes: a
quarter of the nodes stand in lane 1 too, a quarter of those in lane 2, and so on. A search
begins in the fastest lane, and changes down where the next node would be too far:

    lane 2   head ----------------------------> m ----------------------> end
    lane 1   head ---------> d ---------------> m ---------> t ---------> end
    lane 0   head --> a --> d --> f --> k --> m --> p --> t --> w --> end

    find p:  head =2=> m     t is too far: down     m =0=> p

How tall a node is, chance decides and nothing else, so there is no balancing, and an insert
changes only the links that lead to the new node.

Why a reader never sees a half-linked node. The writer inserts in this order:

    1  the node is made whole: key, content, and its own links in all of its lanes
    2  lane 0 is linked to it by one store: from here on it is in the list
    3  then lane 1, lane 2, ...: they only make it quicker to find

A reader follows one link at a time, and loads each once. Before 2 no link leads to the node.
After it, whoever comes to the node, by whichever lane, finds all of its own links set, for
they were set before anything led there. A reader that is between 2 and 3 walks past it in the
upper lanes and meets it in lane 0. Were lane 1 linked before lane 0, nothing would be lost
either, but a node could be seen by one search and not by a later one that came another way.
Nodes are never removed and keys never change, so no step of a reader can lead astray.

What it needs of Python is that storing or loading one element of a list, or one attribute, is
atomic, and that whoever loads a reference sees what was written to the object before it was
stored. With the GIL that is plain; the free-threaded build promises it too, by a lock in each
container for stores, and stores that release where loads acquire (PEP 703). Two writers
would each link their node behind the same one, and one would be lost: writers take turns.

Follows Pugh: Skip Lists (CACM 1990), and the order of publication in LevelDB's skiplist.h.

Limits: links lead forward only, so a step back is a search. In Python a
search takes ten times as long as in the dict of `memtable.py`; docs/performance.md#memtables has
the figures.
"""

from __future__ import annotations

import random
from typing import Final, Generic, TypeVar

from ferrisdb.errors import broken

Content = TypeVar("Content")

MAX_HEIGHT: Final = 12
"""Lanes: with one node in four going up, enough for 16 million."""

_HEIGHT_BITS: Final = 2 * (MAX_HEIGHT - 1)


class Node(Generic[Content]):
    """A key and what belongs to it. `following` has the next node of each lane it stands in."""

    __slots__ = ("content", "following", "key")

    def __init__(self, key: bytes, content: Content, following: list[Node[Content] | None]) -> None:
        self.key = key
        self.content = content
        """Replaced by one store, as a whole: a reader has the old one or the new one."""
        self.following = following


class SkipList(Generic[Content]):
    """Distinct keys in order. One thread at a time inserts; any number reads beside it."""

    def __init__(self, no_content: Content, seed: int = 0) -> None:
        """`no_content` fills the head, which nobody reads. Equal seeds give equal heights."""
        self._head: Node[Content] = Node(b"", no_content, [None] * MAX_HEIGHT)
        self._height = 1
        self._random_bits = random.Random(seed).getrandbits

    def insert(self, key: bytes, content: Content) -> None:
        """Put in a key that is not here yet."""
        before = self._path_to(key)
        behind = before[0].following[0]
        if behind is not None and behind.key == key:
            broken(f"{key!r} is in the skip list already")
        height = self._random_height()
        # A reader that sees the new height already finds the head's lane empty, and goes down.
        self._height = max(self._height, height)
        node = Node(key, content, [before[lane].following[lane] for lane in range(height)])
        for lane in range(height):
            # From lane 0 upward, and only now that the node is whole: see above.
            before[lane].following[lane] = node

    def find(self, key: bytes) -> Node[Content] | None:
        """The node of `key`."""
        node = self.at_or_after(key)
        return node if node is not None and node.key == key else None

    def at_or_after(self, key: bytes) -> Node[Content] | None:
        """The first node whose key is not below `key`. Go on with its `following[0]`."""
        node = self._head
        following: Node[Content] | None = None
        for lane in range(self._height - 1, -1, -1):
            # Each link is loaded once: a second load might give a node that has come between.
            following = node.following[lane]
            while following is not None and following.key < key:
                node = following
                following = node.following[lane]
        return following

    def last_before(self, key: bytes | None) -> Node[Content] | None:
        """The last node whose key is below `key`; the last of all for None."""
        node = self._head
        for lane in range(self._height - 1, -1, -1):
            following = node.following[lane]
            while following is not None and (key is None or following.key < key):
                node = following
                following = node.following[lane]
        return None if node is self._head else node

    def _path_to(self, key: bytes) -> list[Node[Content]]:
        """In each lane, the last node whose key is below `key`."""
        path = [self._head] * MAX_HEIGHT
        node = self._head
        for lane in range(self._height - 1, -1, -1):
            following = node.following[lane]
            while following is not None and following.key < key:
                node = following
                following = node.following[lane]
            path[lane] = node
        return path

    def _random_height(self) -> int:
        """1 for three nodes in four, 2 for three in sixteen, and so on: pairs of zero bits."""
        bits = self._random_bits(_HEIGHT_BITS) | 1 << _HEIGHT_BITS
        return 1 + ((bits & -bits).bit_length() - 1) // 2
