"""The committed transactions that still matter, and who met whom.

A node is one serializable transaction that has committed, or has passed its check and is on its
way through the log. It knows what it read and wrote, and which nodes come after it. The index
finds, for a transaction that wants to commit, all nodes with which it has a key in common:

    writers    key -> nodes          what the newcomer read: before it (wr), or after it (rw)
                                     what it wrote: before it (ww)
    readers    key -> nodes          what it wrote: they come before it (rw)
    ranges     (lo, hi) -> nodes     the same, for each range that meets one of its keys

When did a node commit? As a rule that is one number. It is two where it is not known exactly:
not before `earliest`, and visible to all from `latest` on. A snapshot in between may see it or
not, and then both is taken for true.

    node        pending                committed at 7      interrupted    several in one
    earliest    NEVER                  7                   5              3
    latest      NEVER                  7                   8              9
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, KeysView, Mapping
from typing import Final, TypeAlias

from sortedcontainers import SortedList

from ferrisdb.conflict import statement_excerpt
from ferrisdb.txn.serializable_footprint import Footprint, Span, key_span

NEVER: Final = 2**64
"""Above every commit timestamp."""

Edge: TypeAlias = tuple[str, Span]
"""wr, ww or rw, and about what."""


class Node:
    """One transaction that was let through. Under the mutex of the graph, but for what is set when
    it is made."""

    __slots__ = (
        "after",
        "earliest",
        "is_logged",
        "latest",
        "over",
        "probe",
        "reads",
        "relied_on",
        "snapshot",
        "statements",
        "transaction_id",
        "writes",
    )

    def __init__(
        self,
        transaction_id: int | None,
        snapshot: int,
        reads: Footprint,
        writes: Footprint,
        *,
        statements: tuple[str, ...] = (),
        probe: Span | None = None,
        relied_on: Footprint | None = None,
    ) -> None:
        """`statements` are texts; statement number n of a footprint is at n - 1. `probe` is a key,
        or a range, that it has really written. On what is there under `relied_on` it relies, no
        matter what it looks like."""
        self.transaction_id = transaction_id
        self.snapshot = snapshot
        self.reads = reads
        self.writes = writes
        self.statements = statements
        self.probe = probe
        self.relied_on = relied_on
        self.earliest = NEVER
        self.latest = NEVER
        self.after: dict[Node, Edge] = {}
        """Those that come after it, and why."""
        self.is_logged = False
        """Whether writing it has begun: from then on it may be committed."""
        self.over = threading.Lock()
        """Held until it is known what has become of it."""
        self.over.acquire()

    @property
    def is_pending(self) -> bool:
        return self.latest == NEVER

    @property
    def entry_count(self) -> int:
        return len(self.reads) + len(self.writes)

    def statement(self, footprint: Footprint, span: Span) -> str:
        """The text of the statement that touched `span`; "" when it is not known."""
        number = footprint.statement_of(span)
        return statement_excerpt(self.statements[number - 1]) if number else ""


class KeptNodes:
    """A set of nodes, found by what they read and wrote. Nodes are added, never taken out: to
    forget some, make another set of the rest."""

    __slots__ = (
        "_read_ranges",
        "_readers",
        "_writers",
        "_written",
        "_written_ranges",
        "entry_count",
        "nodes",
    )

    def __init__(self, nodes: Iterable[Node] = ()) -> None:
        self.nodes: dict[Node, None] = {}
        """In the order in which they came."""
        self.entry_count = 0
        self._writers: dict[bytes, list[Node]] = {}
        self._written = SortedList()
        """The keys of `_writers`."""
        self._readers: dict[bytes, list[Node]] = {}
        self._read_ranges: dict[Span, list[Node]] = {}
        self._written_ranges: dict[Span, list[Node]] = {}
        for node in nodes:
            self.add(node)

    def add(self, node: Node) -> None:
        # First, so that whoever looks for it after an interrupt finds it.
        self.nodes[node] = None
        self.entry_count += node.entry_count
        for key in node.writes.keys:
            others = self._writers.get(key)
            if others is None:
                self._written.add(key)
                self._writers[key] = [node]
            else:
                others.append(node)
        for key in node.reads.keys:
            self._readers.setdefault(key, []).append(node)
        for span in node.reads.ranges:
            self._read_ranges.setdefault(span, []).append(node)
        for span in node.writes.ranges:
            self._written_ranges.setdefault(span, []).append(node)

    def neighbours_of(self, node: Node) -> tuple[dict[Node, Edge], dict[Node, Edge]]:
        """The nodes that come before `node`, which is not among them, and those that come after."""
        before: dict[Node, Edge] = {}
        after: dict[Node, Edge] = {}
        snapshot = node.snapshot
        for span, other in self._readers_of(node.writes):
            before.setdefault(other, ("rw", span))
        for span, other in self._writers_of(node.reads):
            if other.latest > snapshot:
                after.setdefault(other, ("rw", span))
            if other.earliest <= snapshot:
                before.setdefault(other, ("wr", span))
        for span, other in self._writers_of(node.relied_on) if node.relied_on is not None else ():
            if other.earliest <= snapshot:
                before.setdefault(other, ("wr", span))
        for span, other in self._writers_of(node.writes):
            # Locks keep two writers of a key apart. One that this snapshot does not see has only
            # been joined with its neighbours.
            if other.earliest <= snapshot:
                before.setdefault(other, ("ww", span))
        return before, after

    def _writers_of(self, footprint: Footprint) -> Iterator[tuple[Span, Node]]:
        yield from _by_key(footprint.keys.keys(), self._writers)
        for lo, hi in footprint.ranges:
            inside = (
                self._written.irange(lo)
                if hi is None
                else self._written.irange(lo, hi, inclusive=(True, False))
            )
            yield from _by_key(inside, self._writers)
        yield from _by_range(footprint, self._written_ranges)

    def _readers_of(self, footprint: Footprint) -> Iterator[tuple[Span, Node]]:
        yield from _by_key(footprint.keys.keys(), self._readers)
        if footprint.ranges:
            inside = [key for key in self._readers if footprint.shared_range(*key_span(key)) is not None]
            yield from _by_key(inside, self._readers)
        yield from _by_range(footprint, self._read_ranges)


def _by_key(keys: Iterable[bytes], index: Mapping[bytes, list[Node]]) -> Iterator[tuple[Span, Node]]:
    for key in keys & index.keys() if isinstance(keys, KeysView) else keys:
        span = key_span(key)
        for node in index[key]:
            yield span, node


def _by_range(footprint: Footprint, index: Mapping[Span, list[Node]]) -> Iterator[tuple[Span, Node]]:
    for (lo, hi), nodes in index.items():
        shared = footprint.first_in(lo, hi)
        if shared is not None:
            for node in nodes:
                yield shared, node
