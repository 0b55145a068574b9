"""Judge a history: which anomalies does it show?

    1  reads that no order of transactions can explain       value by value
    2  cycles of ww                     G0                    each is a walk over the
    3  cycles of ww, wr                 G1c                   dependency graph; a sound
    4  cycles without two rw in a row   G-single, long fork   database has no component
    5  the same with time               G-SIb                 that is worth a second look
    6  all cycles                       write skew, G2

Stale reads, an rw and a moment, are looked for edge by edge before 5: at `read committed` they are
the only ones of 4 and 5 that are forbidden, and must not be overlooked in a tangle of the others.

For 4 every transaction stands in the graph twice: once as entered by rw, from where no rw goes
on, and once as entered by anything else. A cycle of that graph is a cycle without two rw in a row.

    rw       T -> (U, by rw)                     from (T, else) only
    ww, wr   T -> (U, else)                      from both

Limits: a history is judged as a whole and in memory, about 2 KB for each transaction. Long runs
are cut into rounds that share no key (see `fuzz`), so that no cycle can go across. Of a large
tangle some small cycles are reported, not all (see `cycles`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ferrisdb.immutable import immutable
from ferrisdb.isolation.cycles import small_cycles
from ferrisdb.isolation.dependency_graph import DependencyGraph, Edge, Edges, Kind
from ferrisdb.isolation.history import History
from ferrisdb.isolation.impossible_reads import impossible_reads
from ferrisdb.isolation.phenomena import FORBIDDEN, Anomaly, name_of_cycle
from ferrisdb.isolation.time_order import time_order
from ferrisdb.txn.api import IsolationLevel


@immutable
class Finding:
    """One anomaly. Either a cycle shows it, or `detail` says which read can't be."""

    anomaly: Anomaly
    transactions: tuple[int, ...]
    cycle: tuple[Edge, ...] = ()
    detail: str = ""

    def is_allowed_at(self, level: IsolationLevel) -> bool:
        return self.anomaly not in FORBIDDEN[level]

    def explain(self, history: History) -> str:
        """For a person who is learning: the name, the edges, and what each of them did."""
        by_id = {each.id: each for each in history.transactions}
        lines = [f"{self.anomaly.title}: {self.anomaly.meaning}", *(f"  {edge}" for edge in self.cycle)]
        if self.detail:
            lines.append(f"  {self.detail}")
        if self.cycle:
            order = " before ".join(f"T{edge.source}" for edge in self.cycle)
            lines.append(f"  so in a serial order {order} before T{self.cycle[0].source}, and there is none")
        lines.append("  what they did:")
        lines += (f"    {by_id[number]}" for number in self.transactions)
        return "\n".join(lines)


def check(history: History) -> list[Finding]:
    """All that is wrong with the history, the smallest cycles first."""
    graph = DependencyGraph(history)
    found = {
        (anomaly, numbers, detail): Finding(anomaly, numbers, detail=detail)
        for anomaly, numbers, detail in impossible_reads(graph)
    }
    cycles: dict[frozenset[tuple[int, int]], Finding] = {}
    for cycle in _cycles(graph):
        members = frozenset((edge.source, edge.target) for edge in cycle)
        if members not in cycles:
            numbers = tuple(edge.source for edge in cycle)
            cycles[members] = Finding(name_of_cycle(cycle, graph), numbers, cycle)
    return [*found.values(), *sorted(cycles.values(), key=lambda each: len(each.cycle))]


def forbidden(findings: Iterable[Finding], level: IsolationLevel) -> list[Finding]:
    return [each for each in findings if not each.is_allowed_at(level)]


def _cycles(graph: DependencyGraph) -> Iterator[tuple[Edge, ...]]:
    ww, wr, rw = (graph.edges[kind] for kind in (Kind.WW, Kind.WR, Kind.RW))
    for kinds in ((Kind.WW,), (Kind.WW, Kind.WR)):
        plain = _together([graph.edges[kind] for kind in kinds])
        for nodes in small_cycles(plain):
            yield _edges(nodes, kinds, graph)
    yield from _nonadjacent_cycles(graph, {})
    yield from _stale_reads(graph)
    yield from _nonadjacent_cycles(graph, time_order(graph.committed.values()))
    for nodes in small_cycles(_together([ww, wr, rw])):
        yield _edges(nodes, (Kind.WW, Kind.WR, Kind.RW), graph)


def _stale_reads(graph: DependencyGraph) -> Iterator[tuple[Edge, ...]]:
    for source, targets in graph.edges[Kind.RW].items():
        begin = graph.committed[source].begin
        for target, edge in targets.items():
            end = graph.committed[target].end
            if begin is not None and end is not None and end < begin:
                yield edge, Edge(Kind.TIME, target, source)


def _together(parts: Sequence[Edges]) -> dict[int, list[int]]:
    joined: dict[int, list[int]] = {}
    for part in parts:
        for source, targets in part.items():
            joined.setdefault(source, []).extend(targets)
    return joined


def _nonadjacent_cycles(graph: DependencyGraph, time: dict[int, list[int]]) -> Iterator[tuple[Edge, ...]]:
    """Cycles without two rw in a row. A node is 2 * transaction, and 1 more when entered by rw."""
    doubled: dict[int, list[int]] = {}
    for part in (graph.edges[Kind.WW], graph.edges[Kind.WR], time):
        for source, targets in part.items():
            entered = [2 * target for target in targets]
            doubled.setdefault(2 * source, []).extend(entered)
            doubled.setdefault(2 * source + 1, []).extend(entered)
    for source, targets in graph.edges[Kind.RW].items():
        doubled.setdefault(2 * source, []).extend(2 * target + 1 for target in targets)
    for nodes in small_cycles(doubled):
        yield _edges_by_entry(nodes, graph)


def _edges(nodes: list[int], kinds: Sequence[Kind], graph: DependencyGraph) -> tuple[Edge, ...]:
    pairs = zip(nodes, [*nodes[1:], nodes[0]], strict=True)
    return tuple(_first_edge(source, target, kinds, graph) for source, target in pairs)


def _edges_by_entry(nodes: list[int], graph: DependencyGraph) -> tuple[Edge, ...]:
    # The moments in between are left out: who comes before and after them is joined by time.
    turned = _visiting_nobody_twice([each for each in nodes if each >= 0])
    edges: list[Edge] = []
    for node, after in zip(turned, [*turned[1:], turned[0]], strict=True):
        kinds = (Kind.RW,) if after % 2 else (Kind.WW, Kind.WR, Kind.TIME)
        edges.append(_first_edge(node // 2, after // 2, kinds, graph))
    return tuple(edges)


def _visiting_nobody_twice(nodes: list[int]) -> list[int]:
    """A cycle of the doubled graph may pass a transaction in both its places. It went on from
    the one entered by rw with another edge, so the part from there to the other place is a
    cycle without two rw in a row as well, and a smaller one."""
    present = set(nodes)
    while twice := next((node for node in nodes if node % 2 and node - 1 in present), None):
        first = nodes.index(twice)
        turned = nodes[first + 1 :] + nodes[:first]
        nodes = turned[: turned.index(twice - 1) + 1]
        present = set(nodes)
    return nodes


def _first_edge(source: int, target: int, kinds: Sequence[Kind], graph: DependencyGraph) -> Edge:
    for kind in kinds:
        edge = None if kind is Kind.TIME else graph.edge(kind, source, target)
        if edge is not None:
            return edge
    return Edge(Kind.TIME, source, target)
