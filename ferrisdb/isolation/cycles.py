"""Cycles in a directed graph: where they are, and the smallest ones.

Every cycle lies within one strongly connected component, so these are found first, in one walk
over the graph (Tarjan, SIAM Journal on Computing, 1972; here with a stack of its own, as a
history is deeper than Python's). Most graphs of a sound database have none, and that walk is
all that they cost. Within a component the smallest cycle through a node is found breadth first.

`starts_per_component` bounds the second part: a store that is badly broken makes one component
of everything, and its smallest cycles from a few nodes say all there is to say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

Graph = Mapping[int, Sequence[int]]
"""node -> nodes after it. A node without an entry has none after it."""

STARTS_PER_COMPONENT = 40


def components_with_cycles(graph: Graph) -> list[list[int]]:
    """The strongly connected components of more than one node."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[int] = []
    on_path: set[int] = set()
    found: list[list[int]] = []
    for root in graph:
        if root in index:
            continue
        index[root] = low[root] = len(index)
        path.append(root)
        on_path.add(root)
        work: list[tuple[int, Iterator[int]]] = [(root, iter(graph[root]))]
        while work:
            node, successors = work[-1]
            for after in successors:
                if after not in index:
                    index[after] = low[after] = len(index)
                    path.append(after)
                    on_path.add(after)
                    work.append((after, iter(graph.get(after, ()))))
                    break
                if after in on_path and index[after] < low[node]:
                    low[node] = index[after]
            else:
                work.pop()
                if work and low[node] < low[work[-1][0]]:
                    low[work[-1][0]] = low[node]
                if low[node] == index[node]:
                    cut = path.index(node) if path[-1] != node else len(path) - 1
                    component = path[cut:]
                    del path[cut:]
                    on_path.difference_update(component)
                    if len(component) > 1:
                        found.append(component)
    return found


def smallest_cycle_through(start: int, graph: Graph, within: set[int]) -> list[int] | None:
    """The nodes of a shortest cycle through `start`, from it on; None when there is none."""
    came_from: dict[int, int] = {}
    frontier = deque([start])
    while frontier:
        node = frontier.popleft()
        for after in graph.get(node, ()):
            if after == start:
                cycle = [node]
                while cycle[-1] != start:
                    cycle.append(came_from[cycle[-1]])
                return cycle[::-1]
            if after in within and after not in came_from:
                came_from[after] = node
                frontier.append(after)
    return None


def small_cycles(graph: Graph, starts_per_component: int = STARTS_PER_COMPONENT) -> Iterator[list[int]]:
    """Shortest cycles through some nodes of every component, each once, as lists of nodes."""
    for component in components_with_cycles(graph):
        within = set(component)
        seen: set[frozenset[int]] = set()
        for start in _spread(sorted(component), starts_per_component):
            cycle = smallest_cycle_through(start, graph, within)
            if cycle is not None and frozenset(cycle) not in seen:
                seen.add(frozenset(cycle))
                yield cycle


def _spread(nodes: list[int], count: int) -> Iterable[int]:
    """At most `count` of the nodes, evenly spread."""
    step = max(1, -(-len(nodes) // count))
    return nodes[::step]
