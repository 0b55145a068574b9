"""Bugs to plant in the transaction manager: each a small change of its source, as a slip would make it.

    Plant("a miss is not recorded", SerializableTransaction.get, "old text" -> "new text")

The text must be there, so a plant that no longer fits the code says so; every place where it
stands is changed. The changed function is compiled into its own module, and monkeypatch takes it out again.
"""

from __future__ import annotations
import __future__

import inspect
import textwrap
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from ferrisdb.storage.engine import Engine
from ferrisdb.txn import serializable_graph
from ferrisdb.txn.api import IsolationLevel
from ferrisdb.txn.local import LocalStore
from ferrisdb.txn.local_transaction import LocalTransaction
from ferrisdb.txn.locks import LockTable
from ferrisdb.txn.read_committed import ReadCommittedTransaction
from ferrisdb.txn.serializable import SerializableTransaction
from ferrisdb.txn.serializable_graph import ConflictGraph
from ferrisdb.txn.serializable_nodes import KeptNodes, Node

Owner = type[Any] | ModuleType
Change = tuple[Owner, str, str, str]
"""Where, in which function, which text, and what stands there instead."""


@dataclass(frozen=True)
class Plant:
    name: str
    changes: tuple[Change, ...]

    def put_into(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for owner, function, old, new in self.changes:
            change_source(monkeypatch, owner, function, old, new)


def change_source(monkeypatch: pytest.MonkeyPatch, owner: Owner, name: str, old: str, new: str) -> None:
    function = inspect.getattr_static(owner, name)
    source = textwrap.dedent(inspect.getsource(function))
    assert old in source, f"{owner.__name__}.{name} does not have {old!r} any more: plant it elsewhere"
    names = function.__globals__
    # `super()` knows its class from where it is written, which is no longer within the class.
    monkeypatch.setitem(names, f"_owner_of_{name}", owner)
    changed = source.replace(old, new).replace("super()", f"super(_owner_of_{name}, self)")
    flags = __future__.annotations.compiler_flag
    made: dict[str, Any] = {}
    exec(compile(changed, f"<planted in {name}>", "exec", flags), names, made)
    monkeypatch.setattr(owner, name, made[name])


def plant(name: str, *changes: Change) -> Plant:
    return Plant(name, changes)


NOTE_KEY = "self._reads.add_key(key, self._statement_number)"
TAKE = "self._locks.acquire(owner, key, LockMode.EXCLUSIVE)\n"
CHECK = "self._check_first_updater(key, LockMode.EXCLUSIVE)\n"

SNAPSHOT_PLANTS = [
    plant(
        "first updater wins is not checked",
        (LocalTransaction, "_check_first_updater", "self._engine.newest_timestamp(key, snapshot)", "0"),
    ),
    plant(
        "the commit right after the snapshot is overlooked",
        (LocalTransaction, "_check_first_updater", "(key, snapshot)\n", "(key, snapshot + 1)\n"),
    ),
    plant(
        "a write is checked before it has the lock, not behind it",
        (LocalTransaction, "_take", TAKE, f"{CHECK}        {TAKE}        return\n"),
    ),
    plant(
        "a lock is granted though another holds it",
        (LockTable, "_may_have", "self._exclusive.get(key)", "owner"),
    ),
    plant(
        "the locks go before the commit is published",
        (
            LocalTransaction,
            "commit",
            "timestamp = self._log()",
            "self._locks.release_all(self.lock_owner, None)\n            timestamp = self._log()",
        ),
    ),
    plant(
        "a snapshot is one commit too old",
        (
            LocalStore,
            "_take_snapshot",
            "self._engine.visible_timestamp",
            "max(0, self._engine.visible_timestamp - 1)",
        ),
    ),
    plant(
        "a snapshot is one commit too new",
        (
            LocalStore,
            "_take_snapshot",
            "self._engine.visible_timestamp",
            "self._engine.visible_timestamp + 1",
        ),
    ),
    plant(
        "every read takes a snapshot of its own",
        (LocalTransaction, "_reads_at", "if self.snapshot is None:", "if True:"),
    ),
    plant(
        "a scan reads the present, not the snapshot",
        (
            LocalTransaction,
            "scan_batches",
            "self._engine.scan(lo, hi, snapshot,",
            "self._engine.scan(lo, hi, self._engine.visible_timestamp,",
        ),
    ),
    plant(
        "get_many reads the present, not the snapshot",
        (
            LocalTransaction,
            "get_many",
            "read_many(keys, snapshot)",
            "read_many(keys, self._engine.visible_timestamp)",
        ),
    ),
    plant(
        "a scan does not show the transaction's own writes",
        (LocalTransaction, "scan_batches", "if not own_keys:", "if True:"),
    ),
    plant(
        "a key that the transaction has deleted itself is read all the same",
        (LocalTransaction, "get", "if key in own:", "if own.get(key) is not None:"),
    ),
    plant(
        "what is rolled back is written first",
        (
            LocalTransaction,
            "rollback",
            "self._end(self._commit_timestamp)",
            "self._writes.values and self.is_open and self._engine.commit(self._writes.values, None)\n"
            "        self._end(self._commit_timestamp)",
        ),
    ),
    plant(
        "a transaction is logged key by key",
        (
            LocalTransaction,
            "_log",
            "    return self._engine.commit(",
            "    for key, value in list(self._writes.values.items())[1:]:\n"
            "        self._engine.commit({key: value}, None)\n"
            "    return self._engine.commit(",
        ),
    ),
    plant(
        "a commit is shown before all of it is in the memtable",
        (
            Engine,
            "publish_group",
            "memtable = self._sources.now.active\n",
            "self._visible_timestamp = first_timestamp + len(group) - 1\n"
            "    reach('show')\n"
            "    memtable = self._sources.now.active\n",
        ),
    ),
    plant(
        "the last commit of a group is not shown",
        (Engine, "publish_group", "first_timestamp + len(group) - 1", "first_timestamp + len(group) - 2"),
    ),
]

READ_COMMITTED_PLANTS = [
    plant(
        "read committed lets go of its locks after each statement",
        (
            ReadCommittedTransaction,
            "begin_statement",
            "self.snapshot = None",
            "self.snapshot = None\n    self._locks.release_all(self.lock_owner, None)",
        ),
    ),
    plant(
        "the newest value is that of yesterday",
        (
            LocalTransaction,
            "get_newest",
            "self._engine.read(key, self._engine.visible_timestamp)",
            "self._engine.read(key, self._engine.visible_timestamp - 1)",
        ),
    ),
]

SERIALIZABLE_PLANTS = [
    plant("a key that was read is not recorded", (SerializableTransaction, "get", NOTE_KEY, "pass")),
    plant(
        "a miss is not recorded",
        (
            SerializableTransaction,
            "get",
            NOTE_KEY,
            f"self._engine.read(key, snapshot) is None or {NOTE_KEY}",
        ),
    ),
    plant("keys read by get_many are not recorded", (SerializableTransaction, "get_many", NOTE_KEY, "pass")),
    plant(
        "a range that was read is not recorded",
        (
            SerializableTransaction,
            "_noted",
            "return self._note_as_taken(batches, lo, hi, reverse, limit, self._statement_number)",
            "return batches",
        ),
    ),
    plant(
        "the end of a range, behind the last key found, is not recorded",
        (SerializableTransaction, "_note_as_taken", "reads.extend_to(lo, hi, statement)", "pass"),
    ),
    plant(
        "the beginning of a range that was read in reverse is not recorded",
        (SerializableTransaction, "_note_as_taken", "reads.extend_down_to(lo, hi, statement)", "pass"),
    ),
    plant(
        "a transaction that only reads takes no part",
        (
            SerializableTransaction,
            "_check_serializable",
            "if not (self._reads",
            "if not self._writes.values or not (self._reads",
        ),
    ),
    plant(
        "a deletion does not count as a write",
        (
            SerializableTransaction,
            "_check_serializable",
            "Footprint.of_writes(self._writes.values,",
            "Footprint.of_writes([key for key, value in self._writes.values.items() if value is not None],",
        ),
    ),
    plant(
        "the check is taken too early: at the first write, for what was read until then",
        (
            SerializableTransaction,
            "_write",
            "super()._write(key, value)",
            "super()._write(key, value)\n"
            "    self._early = getattr(self, '_early', None) or _copied(self._reads.footprint())",
        ),
        (
            SerializableTransaction,
            "_check_serializable",
            "self._reads.footprint()",
            "(getattr(self, '_early', None) or self._reads.footprint())",
        ),
    ),
    plant(
        "rw edges into a transaction are left out",
        (KeptNodes, "neighbours_of", 'before.setdefault(other, ("rw", span))', "pass"),
    ),
    plant(
        "rw edges out of a transaction are left out",
        (KeptNodes, "neighbours_of", 'after.setdefault(other, ("rw", span))', "pass"),
    ),
    plant(
        "wr edges are left out",
        (KeptNodes, "neighbours_of", 'before.setdefault(other, ("wr", span))', "pass"),
    ),
    plant(
        "ww edges are left out",
        (KeptNodes, "neighbours_of", 'before.setdefault(other, ("ww", span))', "pass"),
    ),
    plant(
        "who committed right after the snapshot counts as seen",
        (KeptNodes, "neighbours_of", "other.latest > snapshot", "other.latest > snapshot + 1"),
    ),
    plant(
        "who committed right at the snapshot counts as not seen",
        (
            KeptNodes,
            "neighbours_of",
            'if other.earliest <= snapshot:\n            before.setdefault(other, ("wr"',
            'if other.earliest < snapshot:\n            before.setdefault(other, ("wr"',
        ),
    ),
    plant(
        "nodes are forgotten as soon as anybody ends",
        (ConflictGraph, "_forget", "if not self._snapshots and", "if True or"),
    ),
    plant(
        "nodes are forgotten that an open snapshot does not see",
        (ConflictGraph, "_forget", "len(kept.nodes) < self._sweep_at and", "False and"),
        (
            serializable_graph,
            "_reachable_from",
            "node.latest > oldest_snapshot",
            "node.latest > oldest_snapshot + 1",
        ),
    ),
    plant(
        "nodes are forgotten though a way leads to them",
        (ConflictGraph, "_forget", "len(kept.nodes) < self._sweep_at and", "False and"),
        (serializable_graph, "_reachable_from", "frontier = list(found)", "frontier = []"),
    ),
    plant(
        "only cycles of two are looked for",
        (serializable_graph, "_path", "for following in node.after:", "for following in ():"),
    ),
    plant(
        "nobody is told that he comes before a newcomer",
        (serializable_graph, "_lead_to", "other.after[node] = before[other]", "pass"),
    ),
    plant(
        "nobody remembers whom he came before",
        (ConflictGraph, "admit", "node.after = after", "node.after = {}"),
    ),
    plant(
        "who waits for the disk counts as seen by all",
        (
            Node,
            "__init__",
            "self.earliest = NEVER\n    self.latest = NEVER",
            "self.earliest = self.latest = 0",
        ),
    ),
    plant(
        "two pass the check side by side, for it is only entered into the graph what is logged",
        (ConflictGraph, "admit", "self._kept.add(node)", "len(node.writes) or self._kept.add(node)"),
        (
            ConflictGraph,
            "settle",
            "self._pending.pop(node, None)",
            "self._pending.pop(node, None)\n        self._kept.add(node)",
        ),
    ),
    plant(
        "who was refused is not taken out of the graph",
        (
            ConflictGraph,
            "admit",
            "return _refusal(node, path, before, after)",
            "self._kept.add(node)\n"
            "            node.after = after\n"
            "            _lead_to(node, before)\n"
            "            return _refusal(node, path, before, after)",
        ),
    ),
    plant(
        "whoever has an edge in and an edge out is refused, cycle or no cycle",
        (
            ConflictGraph,
            "admit",
            "path = _path(after, before)",
            "path = _path(after, before) or [each for each in after][:1] * bool(before)\n"
            "        before.setdefault(path[-1] if path else node, ('rw', (b'', None)))",
        ),
    ),
]

PLANTS = [
    *((each, IsolationLevel.SNAPSHOT) for each in SNAPSHOT_PLANTS),
    *((each, IsolationLevel.READ_COMMITTED) for each in READ_COMMITTED_PLANTS),
    *((each, IsolationLevel.SERIALIZABLE) for each in SERIALIZABLE_PLANTS),
]
"""Each with the level at which it must show."""
