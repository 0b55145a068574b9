"""A serializable transaction: a snapshot, and an account of what was read in it.

    reads     at the snapshot, as at level snapshot, and each noted: key, miss, range
    writes    as at level snapshot: first updater wins
    commit    1. may it go through?        `serializable_graph`: else SerializationFailure
              2. the log, then visible
              3. told to the graph, then the locks go

A read-only transaction takes part: it can be what makes an anomaly visible, though all that
write would be serializable without it (Fekete, O'Neil, O'Neil, "A Read-Only Transaction Anomaly
Under Snapshot Isolation", 2004). So what it has read counts only when its commit has succeeded.

What was read stays read after ROLLBACK TO a savepoint: the program has seen it. What it reads
of its own writes tells nothing of others and is not noted.

A scan that is still being taken when the transaction ends would read on unnoticed: it raises
NoActiveTransaction instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from ferrisdb import errors
from ferrisdb.storage import yield_points
from ferrisdb.storage.group_commit import LogWriteFailed
from ferrisdb.storage.options import Durability
from ferrisdb.storage.yield_points import reach
from ferrisdb.txn.api import Batch, CommitToken, IsolationLevel, Locked, LockMode, Waiting
from ferrisdb.txn.local_transaction import LocalTransaction
from ferrisdb.txn.locks import LockTable
from ferrisdb.txn.serializable_footprint import MAX_WRITTEN_KEYS, Footprint, ReadSet, Span, key_span
from ferrisdb.txn.serializable_graph import ConflictGraph, Refusal
from ferrisdb.txn.serializable_nodes import NEVER, Node

if TYPE_CHECKING:
    from ferrisdb.txn.engine_protocol import StorageEngine

MAX_STATEMENTS: Final = 100
"""Whose texts are kept for the explanation of a conflict. Those after them have none."""

LONGEST_WAIT_S: Final = 5.0
"""For a commit of the cycle to become visible: an fsync, as a rule."""


class SerializableTransaction(LocalTransaction):
    """See `ferrisdb.txn.api.Transaction`."""

    isolation = IsolationLevel.SERIALIZABLE

    def __init__(
        self,
        transaction_id: int,
        engine: StorageEngine,
        locks: LockTable,
        graph: ConflictGraph,
        *,
        is_read_only: bool,
        durability: Durability | None,
        max_bytes: int,
        take_snapshot: Callable[[LocalTransaction], int],
        on_end: Callable[[LocalTransaction, int | None], None],
        committer_of: Callable[[int], tuple[int | None, str]],
    ) -> None:
        super().__init__(
            transaction_id,
            engine,
            locks,
            is_read_only=is_read_only,
            durability=durability,
            max_bytes=max_bytes,
            take_snapshot=take_snapshot,
            on_end=on_end,
            committer_of=committer_of,
        )
        self._graph = graph
        self._has_entered = False
        self._pending_then: tuple[Node, ...] = ()
        self._reads = ReadSet()
        self._relied_on = ReadSet()
        self._written_by: dict[bytes, int] = {}
        self._ranges_written_by = 0
        self._statements: dict[str, int] = {}
        self._statement_number = 0
        self._node: Node | None = None
        self._refusal: Refusal | None = None

    def begin_statement(self, text: str = "") -> None:
        super().begin_statement(text)
        number = self._statements.get(text, 0)
        if not number and text and len(self._statements) < MAX_STATEMENTS:
            number = self._statements[text] = len(self._statements) + 1
        self._statement_number = number

    # --- reading

    def get(self, key: bytes) -> bytes | None:
        snapshot = self._reads_at()
        if self._writes.has_written(key):
            return self._writes.values.get(key)
        self._reads.add_key(key, self._statement_number)
        return self._engine.read(key, snapshot)

    def get_newest(self, key: bytes) -> bytes | None:
        """Whether the key is there decides here, not what it holds: a foreign key looks so at its
        parent, and locks what stands for its being there. It comes after whoever made it, and
        before nobody: so a cycle over other changes of the row is none."""
        snapshot = self._reads_at()
        if self._writes.has_written(key):
            return self._writes.values.get(key)
        seen, newest = self._engine.read(key, snapshot), super().get_newest(key)
        if (seen is None) is not (newest is None):
            # What it relies on was made, or is gone, since: it would have to come after that.
            committed_at = self._engine.newest_timestamp(key, snapshot)
            error = self._too_late(
                "a row that it relies on was made or deleted", committed_at, key, kind="wr"
            )
            self._end(None)
            raise error
        self._relied_on.add_key(key, self._statement_number)
        return newest

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        snapshot = self._reads_at()
        if self._writes.values or self._writes.deleted_ranges:
            return [self.get(key) for key in keys]
        for key in keys:
            self._reads.add_key(key, self._statement_number)
        return self._engine.read_many(keys, snapshot)

    def scan(
        self, lo: bytes, hi: bytes | None, *, reverse: bool = False, limit: int | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        batches = self._noted(super().scan_batches(lo, hi, reverse=reverse), lo, hi, reverse, limit)
        return itertools.chain.from_iterable(zip(keys, values, strict=True) for keys, values in batches)

    def scan_batches(self, lo: bytes, hi: bytes | None, *, reverse: bool = False) -> Iterator[Batch]:
        return self._noted(super().scan_batches(lo, hi, reverse=reverse), lo, hi, reverse, None)

    def _noted(
        self, batches: Iterator[Batch], lo: bytes, hi: bytes | None, reverse: bool, limit: int | None
    ) -> Iterator[Batch]:
        if hi is not None and hi <= lo:
            return iter(())
        return self._note_as_taken(batches, lo, hi, reverse, limit, self._statement_number)

    def _note_as_taken(  # noqa: PLR0917
        self,
        batches: Iterator[Batch],
        lo: bytes,
        hi: bytes | None,
        reverse: bool,
        left: int | None,
        statement: int,
    ) -> Iterator[Batch]:
        if left == 0:
            return
        reads = self._reads
        for keys, values in batches:
            self._check_open()
            if left is not None and left < len(keys):
                keys, values = keys[:left], values[:left]
            # Before anybody sees it.
            if reverse:
                reads.extend_down_to(keys[-1], hi, statement)
            else:
                reads.extend_to(lo, keys[-1] + b"\0", statement)
            yield keys, values
            if left is not None:
                left -= len(keys)
                if left == 0:
                    return
        self._check_open()
        if reverse:
            reads.extend_down_to(lo, hi, statement)
        else:
            reads.extend_to(lo, hi, statement)

    def lock(
        self,
        keys: Collection[bytes],
        mode: LockMode = LockMode.EXCLUSIVE,
        waiting: Waiting = Waiting.WAIT,
        *,
        are_stored: bool = True,
    ) -> Locked:
        locked = super().lock(keys, mode, waiting, are_stored=are_stored)
        for key in keys if are_stored else ():
            if key not in locked.skipped and not self._writes.has_written(key):
                self._reads.add_key(key, self._statement_number)
        return locked

    def _is_duplicate(self, key: bytes) -> bool:
        # It may have looked before, and met nothing: then the duplicate is an anomaly. Whoever runs
        # it again is told which of the two it is.
        return False

    # --- writing

    def delete_range(self, lo: bytes, hi: bytes | None) -> None:
        super().delete_range(lo, hi)
        self._ranges_written_by = self._statement_number

    def _write(self, key: bytes, value: bytes | None) -> None:
        super()._write(key, value)
        if self._statement_number and len(self._written_by) < MAX_WRITTEN_KEYS:
            self._written_by[key] = self._statement_number

    # --- the end

    def commit(self) -> CommitToken:
        try:
            return super().commit()
        except errors.SerializationFailure:
            # Its locks are free by now. When all others of the cycle are visible, the next attempt
            # sees them, and can't close the same cycle again.
            refusal = self._refusal
            for other in refusal.unfinished if refusal is not None else ():
                if yield_points.acquire(other.over, LONGEST_WAIT_S):
                    other.over.release()
            raise

    def _check_serializable(self) -> None:
        ranges = dict.fromkeys(self._writes.deleted_ranges, self._ranges_written_by)
        if not (self._reads or self._relied_on or self._writes.values or ranges):
            return
        writes = Footprint.of_writes(self._writes.values, self._written_by, ranges)
        node = Node(
            self.id,
            self._reads_at(),
            self._reads.footprint(),
            writes,
            statements=tuple(self._statements),
            probe=self._probe(),
            relied_on=self._relied_on.footprint() if self._relied_on else None,
        )
        reach("check")
        # First, so that the end finds it even if an interrupt comes while it is let through.
        self._node = node
        self._refusal = self._graph.admit(node, self._pending_then)
        if self._refusal is not None:
            conflict = self._refusal.conflict
            raise errors.SerializationFailure(
                f"could not serialize: transaction {self.id} would close a cycle",
                detail=conflict.explain(),
                hint="run the transaction again; db.run(...) does that for you",
                conflict=conflict,
            )

    def _probe(self) -> Span | None:
        if self._writes.values:
            return key_span(next(iter(self._writes.values)))
        return next(iter(self._writes.deleted_ranges), None)

    def _log(self) -> int:
        node = self._node
        if node is None:
            errors.broken("a transaction that writes has been let through")
        node.is_logged = True
        try:
            timestamp = super()._log()
        except LogWriteFailed:
            self._graph.settle(node, NEVER)
            raise
        except errors.Error:
            node.is_logged = False
            raise
        reach("settle")
        self._graph.settle(node, timestamp)
        return timestamp

    def _before_locks_go(self) -> None:
        self._graph.leave(self.id, self._node)

    def _reads_at(self) -> int:
        self._check_open()
        snapshot = self.snapshot
        if snapshot is None or not self._has_entered:
            reach("snapshot")
            self._pending_then = self._graph.enter(self.id, lambda: self._take_snapshot(self))
            self._has_entered = True
            snapshot = self.snapshot
            if snapshot is None:
                errors.broken("who has entered the graph has a snapshot")
        return snapshot


class BlindWrite:
    """An ingest, as the graph sees it: it writes a range, which it has locked, and reads nothing.
    So it is never refused. The keys of the range that it does not write count as written, too."""

    def __init__(self, transaction_id: int, engine: StorageEngine, graph: ConflictGraph) -> None:
        self._transaction_id = transaction_id
        self._engine = engine
        self._graph = graph
        self._node: Node | None = None

    def begin(self, lo: bytes, hi: bytes) -> None:
        """The range is locked, and nothing of it is visible. `lo` is a key that is written."""
        pending = self._graph.enter(self._transaction_id, lambda: self._engine.visible_timestamp)
        snapshot = self._engine.visible_timestamp
        written = Footprint({}, {(lo, hi): 0})
        self._node = Node(self._transaction_id, snapshot, Footprint({}, {}), written, probe=key_span(lo))
        refusal = self._graph.admit(self._node, pending)
        errors.invariant(refusal is None, "nobody comes after a transaction that has read nothing")
        self._node.is_logged = True

    def succeeded(self) -> None:
        node = self._node
        if node is not None and node.probe is not None:
            first_key, _ = node.probe
            self._graph.settle(node, self._engine.newest_timestamp(first_key, node.snapshot))

    def may_have_succeeded(self) -> None:
        if self._node is not None:
            self._graph.settle(self._node, NEVER)

    def failed(self) -> None:
        if self._node is not None:
            self._node.is_logged = False

    def end(self) -> None:
        """The locks go next. May be done twice."""
        self._graph.leave(self._transaction_id, self._node)
