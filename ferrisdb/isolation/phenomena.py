"""The names of what can go wrong, and which isolation level forbids what.

                        read committed    snapshot    serializable
    G0 G1a G1b G1c            no             no            no
    stale read                no             no            no
    lost update, G-single     yes            no            no
    long fork                 yes            no            no
    write skew, G2            yes            yes           no

The names are Adya's ("Weak Consistency: A Generalized Theory and Optimistic Implementations
for Distributed Transactions", MIT 1999), where he has one. His PL-2 is `read committed`, PL-SI
is `snapshot`, PL-3 is `serializable`. A cycle gets its name from the kinds of its edges, and
the narrowest name that fits:

    edges of the cycle                                 name
    only ww                                            G0
    ww and wr                                          G1c
    one rw, the rest ww and wr                         G-single; lost update when all is one key
    the same with moments in time between them         G-SIb; stale read when they are two
    rw twice or more, never two in a row, with or      G-nonadjacent; long fork when it is
    without moments in time between them               rw wr rw wr over four transactions
    rw twice in a row                                  G2; G2-item without predicate reads;
                                                       write skew when it is rw rw and two keys;
                                                       read-only anomaly when it is rw rw wr and
                                                       one of the three writes nothing

Snapshot isolation allows a cycle only where two rw follow each other (Fekete, Liarokapis,
O'Neil, O'Neil, Shasha, TODS 2005), which is why the last group is its own and no other is.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from ferrisdb.isolation.dependency_graph import DependencyGraph, Edge, Kind
from ferrisdb.txn.api import IsolationLevel


class Anomaly(enum.Enum):
    """value: the name that is shown, what it means, and who described it."""

    BROKEN_READ = (
        "internal read",
        "a transaction did not see what it had written itself",
        "Cerone, Bernardi, Gotsman 2015 (axiom INT)",
    )
    THIN_AIR = (
        "read out of thin air",
        "a transaction read what nobody ever wrote, or missed what was always there",
        "Kingsbury, Alvaro 2020 (garbage read)",
    )
    MISSHAPEN_RANGE = (
        "misshapen range",
        "a range was read, and a key stood in it twice, out of order, or though it is no part of it",
        "Kingsbury, Alvaro 2020 (duplicate elements)",
    )
    LOST_WRITE = (
        "lost write",
        "a committed append is missing from what was read after it, though no later one is",
        "Kingsbury, Alvaro 2020",
    )
    INCOMPATIBLE_ORDER = (
        "incompatible order",
        "a list was read twice, and no order of the appends gives both",
        "Kingsbury, Alvaro 2020",
    )
    G0 = (
        "G0 dirty write",
        "two transactions overwrote each other",
        "Adya 1999, 3.1; P0 in Berenson et al. 1995",
    )
    G1A = ("G1a aborted read", "a transaction read what was rolled back", "Adya 1999, 3.2")
    G1B = (
        "G1b intermediate read",
        "a transaction read a value that its writer replaced before it committed",
        "Adya 1999, 3.2",
    )
    G1C = (
        "G1c circular information flow",
        "transactions saw each other's writes in a circle",
        "Adya 1999, 3.2",
    )
    LOST_UPDATE = (
        "lost update",
        "two transactions read one value and both replaced it, the second without having seen the first",
        "P4 in Berenson et al. 1995; a G-single",
    )
    G_SINGLE = (
        "G-single read skew",
        "a transaction saw one part of another's changes and missed the rest",
        "Adya 1999, 4.2 (PL-2+); A5A in Berenson et al. 1995",
    )
    STALE_READ = (
        "stale read",
        "a transaction did not see what had been committed before it began",
        "Adya 1999, 4.3 (the smallest G-SIb: one of its edges is a start-dependency)",
    )
    G_SI = (
        "G-SIb skew in time",
        "no moment fits what a transaction saw: it missed a change, and saw what began after it",
        "Adya 1999, 4.3 (G-SIb)",
    )
    LONG_FORK = (
        "long fork",
        "two readers saw two independent changes in opposite orders",
        "Sovran, Power, Aguilera, Li 2011 (parallel snapshot isolation)",
    )
    G_NONADJACENT = (
        "G-nonadjacent",
        "a cycle in which no two rw edges follow each other: no snapshots could show this",
        "Cerone, Gotsman 2018 (Analysing Snapshot Isolation, theorem 9)",
    )
    WRITE_SKEW = (
        "write skew",
        "two transactions each read what the other replaced, and both acted on it",
        "A5B in Berenson et al. 1995; a G2-item",
    )
    READ_ONLY = (
        "read-only anomaly",
        "two writers could be put in an order, but not together with what a mere reader saw",
        "Fekete, O'Neil, O'Neil 2004",
    )
    G2_ITEM = ("G2-item", "a cycle over keys that were read and then replaced", "Adya 1999, 3.2")
    G2 = (
        "G2 phantom",
        "a cycle over ranges or conditions that were read, into which others wrote",
        "Adya 1999, 3.2; P3 in Berenson et al. 1995",
    )

    @property
    def title(self) -> str:
        return self.value[0]

    @property
    def meaning(self) -> str:
        return self.value[1]

    @property
    def source(self) -> str:
        return self.value[2]


_READ_COMMITTED = frozenset(
    {
        Anomaly.BROKEN_READ,
        Anomaly.THIN_AIR,
        Anomaly.MISSHAPEN_RANGE,
        Anomaly.LOST_WRITE,
        Anomaly.INCOMPATIBLE_ORDER,
        Anomaly.G0,
        Anomaly.G1A,
        Anomaly.G1B,
        Anomaly.G1C,
        # Adya's levels do not speak of time. But FerrisDB reads the present: of the statement, at
        # read committed, and of the transaction's begin. Else a write that was lost would pass for
        # an old version.
        Anomaly.STALE_READ,
    }
)
_SNAPSHOT = _READ_COMMITTED | {
    Anomaly.LOST_UPDATE,
    Anomaly.G_SINGLE,
    Anomaly.G_SI,
    Anomaly.LONG_FORK,
    Anomaly.G_NONADJACENT,
}
FORBIDDEN: Mapping[IsolationLevel, frozenset[Anomaly]] = MappingProxyType(
    {
        IsolationLevel.READ_COMMITTED: _READ_COMMITTED,
        IsolationLevel.SNAPSHOT: _SNAPSHOT,
        IsolationLevel.SERIALIZABLE: frozenset(Anomaly),
    }
)


def name_of_cycle(cycle: Sequence[Edge], graph: DependencyGraph) -> Anomaly:
    """The narrowest name of a cycle, given as edges of which each begins where the last ended."""
    kinds = [edge.kind for edge in cycle]
    overtaken = kinds.count(Kind.RW)
    if overtaken == 0:
        return Anomaly.G1C if Kind.WR in kinds else Anomaly.G0
    if len({edge.key for edge in cycle}) == 1 and Kind.WR not in kinds and Kind.TIME not in kinds:
        return Anomaly.LOST_UPDATE
    if Kind.TIME in kinds and overtaken == 1:
        return Anomaly.STALE_READ if len(cycle) == 2 else Anomaly.G_SI
    if overtaken == 1:
        return Anomaly.G_SINGLE
    if not any(kinds[place] is kinds[place - 1] is Kind.RW for place in range(len(kinds))):
        return Anomaly.LONG_FORK if kinds.count(Kind.WR) == len(cycle) - 2 == 2 else Anomaly.G_NONADJACENT
    return _name_of_skew(cycle, graph)


def _name_of_skew(cycle: Sequence[Edge], graph: DependencyGraph) -> Anomaly:
    """Of a cycle with two rw edges in a row."""
    kinds = [edge.kind for edge in cycle]
    if len(cycle) == 3 and kinds.count(Kind.RW) == 2 and Kind.WR in kinds:
        reader = cycle[kinds.index(Kind.WR)].target
        if not graph.seen[reader].written:
            return Anomaly.READ_ONLY
    if any(edge.range is not None for edge in cycle if edge.kind is Kind.RW):
        return Anomaly.G2
    return Anomaly.WRITE_SKEW if len(cycle) == 2 else Anomaly.G2_ITEM
