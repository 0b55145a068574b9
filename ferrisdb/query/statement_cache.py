"""What was prepared once is not prepared again.

Two maps, each a bounded LRU:

    text                                              -> syntax tree, parameters it names
    text, catalog version, kinds of the parameters    -> plan

A plan fits only the schema it was made for, so the catalog's version is part of its key:
DDL makes no entry wrong, it only makes it unreachable, and the LRU lets it go. The kinds of
the parameters are part of it because types decide which casts and operators a plan holds.

Long texts are not kept. They are mostly an INSERT with its values in it, which will not
come again, and their trees are large.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

MAX_STATEMENTS = 512
MAX_PLANS = 1024
MAX_CACHED_CHARACTERS = 8192

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class LruCache(Generic[K, V]):
    """At most `capacity` entries; the one used longest ago goes first. Thread-safe."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        with self._lock:
            value = self._entries.get(key)
            if value is not None:
                self._entries.move_to_end(key)
            return value

    def put(self, key: K, value: V) -> None:
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            if len(self._entries) > self._capacity:
                self._entries.popitem(last=False)

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)
