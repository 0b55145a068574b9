"""Serializable: a transaction is refused only where its commit would close a cycle.

Snapshot isolation lets two transactions each read what the other writes:

    T1   read a ............ write b   commit
    T2        read b ... write a  commit              no order of the two gives what they saw

Which comes before which is a graph (see `conflict`): wr and ww edges lead to transactions that
began after the first had committed; rw edges lead from a reader to whoever wrote after the
reader's snapshot, and so may lead back. What happened can be put into one order exactly if the
graph has no cycle (Adya 1999). Under snapshot isolation a cycle has two rw edges in a row
(Fekete et al. 2005), and PostgreSQL refuses every transaction with one in and one out (Cahill,
Roehm, Fekete 2008; Ports, Grittner 2012): cheap, and often for nothing. Here the cycle itself is
looked for, when a transaction wants to commit (precise SSI: Revilak, O'Neil, O'Neil, ICDE 2011):

    T wants to commit
      1. what it read, and somebody wrote after its snapshot      -> A comes after T
      2. what it wrote, and somebody read, wrote before it; and
         what it read, and somebody had written                   -> B comes before T
      3. is there a way  T -> A -> ... -> B -> T?                 then T is refused

Only T is looked at: cycles of those who have committed were refused before. So of a cycle the
last one to commit is the victim. The others are committed, or will be when the victim hears of
it; its second attempt reads what they wrote, and this cycle cannot come again.

Who has passed the check and waits for the disk is `pending`: nobody sees it yet, it counts as
committed after every snapshot. There is a moment when it is visible already and its thread has
not come back to say so. Somebody whose snapshot was taken then asks the engine (`_date`).
The mutex is held for a few steps in memory, never over I/O.

When may a node be forgotten? A cycle of the future begins at a T with an edge to a node that
committed after T's snapshot. So those that committed after the oldest snapshot in use are kept,
and all to which edges lead from one that is kept. Everything else goes, and all of it when no
serializable transaction is open.

    oldest snapshot         |
    N1 --> N2      N3 ----> | N5        N2, N3 go; N4 stays, as N5 leads to it
                   N4 <---- | N5

An edge to a newcomer is left out where another way leads there: N1 -> N2 -> T says it all.

Limits: past MAX_NODES nodes, or MAX_ENTRIES keys and ranges of all together, the older half
becomes one node, with all that they read, wrote and came before, joined into ranges: that may
refuse a transaction needlessly. Transactions of other levels are not in the graph, and what
serializable promises holds among those that are.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from ferrisdb.conflict import Conflict, ConflictStep, KeyRange
from ferrisdb.errors import InterfaceError
from ferrisdb.immutable import immutable
from ferrisdb.storage.yield_points import reach
from ferrisdb.txn.serializable_footprint import Footprint
from ferrisdb.txn.serializable_nodes import NEVER, Edge, KeptNodes, Node

if TYPE_CHECKING:
    from ferrisdb.txn.engine_protocol import StorageEngine

MAX_NODES: Final = 2000
MAX_ENTRIES: Final = 100_000
MAX_SUMMARY_RANGES: Final = 1000
"""Of what a node that stands for several has read, and as many of what it wrote."""

_FIRST_SWEEP: Final = 64
"""Nodes at which it is looked for the first time what can be forgotten."""


@immutable
class Refusal:
    """`unfinished` are those of the cycle that are not visible yet."""

    conflict: Conflict
    unfinished: tuple[Node, ...]


class ConflictGraph:
    """Of one store. Thread-safe. After an interrupt any call may be made again."""

    def __init__(self, engine: StorageEngine) -> None:
        self._engine = engine
        self._mutex = threading.Lock()
        self._snapshots: dict[int, int] = {}
        """Of the serializable transactions that are open, by their ids."""
        self._pending: dict[Node, None] = {}
        self._kept = KeptNodes()
        self._sweep_at = _FIRST_SWEEP

    @property
    def node_count(self) -> int:
        return len(self._kept.nodes)

    def enter(self, transaction_id: int, take_snapshot: Callable[[], int]) -> tuple[Node, ...]:
        """Take its snapshot. Those that were pending then: it may see them or not."""
        with self._mutex:
            # First as the oldest of all: with a snapshot that is not in the list, what it could
            # conflict with would be forgotten.
            self._snapshots[transaction_id] = 0
            self._snapshots[transaction_id] = take_snapshot()
            return tuple(self._pending)

    def admit(self, node: Node, pending_then: Iterable[Node]) -> Refusal | None:
        """Let it through, or say why not. From then on it is pending if it has written."""
        for other in pending_then:
            self._date(other)
        reach("admit")
        with self._mutex:
            before, after = self._kept.neighbours_of(node)
            path = _path(after, before)
            if path:
                return _refusal(node, path, before, after)
            if len(node.writes):
                self._pending[node] = None
            else:
                # Nobody reads or overwrites what it wrote: nobody has to be after it for that.
                node.earliest = node.latest = 0
                if not before:
                    return None
            node.after = after
            self._kept.add(node)
            _lead_to(node, before)
            return None

    def settle(self, node: Node, timestamp: int) -> None:
        """It is committed at `timestamp`; NEVER where the disk failed and nobody can tell."""
        with self._mutex:
            # The interval may only grow while it is set.
            node.earliest = timestamp
            node.latest = timestamp
            self._pending.pop(node, None)

    def leave(self, transaction_id: int, node: Node | None) -> None:
        """It is over, and still holds its locks. What has become of its node, where `settle` was
        not told: nothing when it was not logged; else, after an interrupt, nobody knows."""
        with self._mutex:
            if node is not None and node in self._pending:
                if node.is_logged:
                    node.earliest = node.snapshot + 1
                    node.latest = self._visible_timestamp()
                else:
                    self._withdraw(node)
                self._pending.pop(node, None)
            self._snapshots.pop(transaction_id, None)
            self._forget()
            if node is not None and node.over.locked():
                node.over.release()

    def disown(self) -> None:
        """In a forked child: whoever held the mutex is not there to let go."""
        self._mutex = threading.Lock()

    def _visible_timestamp(self) -> int:
        try:
            return self._engine.visible_timestamp
        except InterfaceError:
            # The store was closed meanwhile: nobody commits any more.
            return NEVER - 1

    def _date(self, node: Node) -> None:
        """Find out when it was committed, if it is visible."""
        if not node.is_pending or node.probe is None:
            return
        # Since its snapshot nobody else has written what it holds locked.
        lo, hi = node.probe
        if hi == lo + b"\0":
            found = self._engine.newest_timestamp(lo, node.snapshot)
        else:
            found = self._engine.newest_timestamp_in(lo, hi, node.snapshot)
        with self._mutex:
            # Else it has let go of its locks meanwhile, and what was found may be another's.
            if found and node.is_pending and node in self._pending:
                node.earliest = found
                node.latest = found

    # Everything below is called with the mutex held.

    def _withdraw(self, node: Node) -> None:
        others = [other for other in self._kept.nodes if other is not node]
        for other in others:
            other.after.pop(node, None)
        self._kept = KeptNodes(others)

    def _forget(self) -> None:
        kept = self._kept
        if not self._snapshots and not self._pending and all(not node.is_pending for node in kept.nodes):
            if kept.nodes:
                self._kept = KeptNodes()
            self._sweep_at = _FIRST_SWEEP
            return
        if len(kept.nodes) < self._sweep_at and kept.entry_count < MAX_ENTRIES:
            return
        wanted = _reachable_from(kept.nodes, min(self._snapshots.values(), default=NEVER - 1))
        nodes = [node for node in kept.nodes if node in wanted]
        while len(nodes) > MAX_NODES or sum(node.entry_count for node in nodes) > MAX_ENTRIES:
            fewer = _summarised(nodes)
            if len(fewer) == len(nodes):
                break
            nodes = fewer
        self._kept = KeptNodes(nodes)
        self._sweep_at = max(_FIRST_SWEEP, 2 * len(nodes))


def _path(starts: Iterable[Node], ends: Iterable[Node]) -> list[Node]:
    """The shortest way from one of `starts` to one of `ends`; empty when there is none."""
    came_from: dict[Node, Node | None] = dict.fromkeys(starts)
    frontier = deque(came_from)
    while frontier:
        node = frontier.popleft()
        if node in ends:
            path = [node]
            while (previous := came_from[path[-1]]) is not None:
                path.append(previous)
            return path[::-1]
        for following in node.after:
            if following not in came_from:
                came_from[following] = node
                frontier.append(following)
    return []


def _lead_to(node: Node, before: dict[Node, Edge]) -> None:
    """Add the edges to `node`, but where one of its predecessors comes before another of them."""
    linked: dict[Node, None] = {}
    for other in sorted(before, key=lambda each: each.latest, reverse=True):
        # A way over one that is pending would vanish with it if its commit failed.
        if any(not each.is_pending for each in other.after.keys() & linked.keys()):
            continue
        other.after[node] = before[other]
        linked[other] = None


def _reachable_from(nodes: Iterable[Node], oldest_snapshot: int) -> set[Node]:
    """Those that committed after the snapshot, and all to which a way leads from them."""
    found = {node for node in nodes if node.latest > oldest_snapshot}
    frontier = list(found)
    while frontier:
        for following in frontier.pop().after:
            if following not in found:
                found.add(following)
                frontier.append(following)
    return found


def _summarised(nodes: list[Node]) -> list[Node]:
    """The older half of those that are committed as one node, and the rest."""
    settled = sorted((node for node in nodes if not node.is_pending), key=lambda each: each.latest)
    older = dict.fromkeys(settled[: len(settled) // 2 + 1])
    if len(older) < 2:
        return nodes
    summary = Node(
        None,
        min(node.snapshot for node in older),
        Footprint.joined((node.reads for node in older), MAX_SUMMARY_RANGES),
        Footprint.joined((node.writes for node in older), MAX_SUMMARY_RANGES),
    )
    # Readers have no time of their own: 0 would make a writer among them visible to all.
    summary.earliest = min((node.earliest for node in older if len(node.writes)), default=0)
    summary.latest = max(node.latest for node in older)
    for node in older:
        for following, edge in node.after.items():
            if following not in older:
                summary.after.setdefault(following, edge)
    rest = [node for node in nodes if node not in older]
    for node in rest:
        gone = [each for each in node.after if each in older]
        if gone:
            # The new way first: an interrupt in between leaves one too many, not one too few.
            node.after[summary] = node.after[gone[0]]
            for each in gone:
                node.after.pop(each)
    return [summary, *rest]


def _refusal(node: Node, path: list[Node], before: dict[Node, Edge], after: dict[Node, Edge]) -> Refusal:
    steps = [_step(node, path[0], after[path[0]])]
    steps += [_step(first, second, first.after[second]) for first, second in pairwise(path)]
    steps.append(_step(path[-1], node, before[path[-1]]))
    conflict = Conflict("cycle", node.transaction_id or 0, tuple(steps))
    # Also those with a date: it may have been found a moment before they are visible. One that
    # stands for several has been over for long.
    unfinished = (each for each in path if each.transaction_id is not None and each.over.locked())
    return Refusal(conflict, tuple(unfinished))


def _step(first: Node, second: Node, edge: Edge) -> ConflictStep:
    kind, span = edge
    return ConflictStep(
        first.transaction_id,
        second.transaction_id,
        kind,
        KeyRange(*span),
        first.statement(first.reads if kind == "rw" else first.writes, span),
        second.statement(second.reads if kind == "wr" else second.writes, span),
    )
