"""The rows that come and go in one step: settled in full, checked, then written.

    remove(old row)   its key and index entries                        -> going
    add(new row)      its key and index entries, with their values     -> coming
                      those that must be unique                        -> claims

    write()           claims not among the going must be free in the store
                      delete what goes and does not come back, put what comes,
                      in the order of the keys

An update is a removal and an addition, less the entries that would stay as they are. Since
everything is settled first, it does not matter in which order rows are met: see
`constraints` for why that is better than row by row.

A row that goes, or that gets another unique key, takes its identity along, which others may
rely on: both are locked together, before the claims (see `ferrisdb.query.row_locks`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ferrisdb.query.change.constraints import Claim, KeyRule, check_claims, unique_violation
from ferrisdb.query.change.index_maintenance import IndexLayout, TableLayout
from ferrisdb.query.row_locks import row_pairs
from ferrisdb.query.types import Value
from ferrisdb.txn.api import Transaction

RowChange = tuple[Sequence[Value] | None, Sequence[Value] | None]
"""The values of a row before and after: None before an insertion, and after a deletion."""


class RowChanges:
    """One step of a statement: all of an UPDATE or DELETE, a batch of an INSERT.

    What becomes of each row is noted in `log`, for who has to follow it up.
    """

    def __init__(self, layout: TableLayout, log: list[RowChange] | None = None) -> None:
        self._layout = layout
        self._log = log
        self._going: set[bytes] = set()
        self._coming: dict[bytes, bytes] = {}
        self._claims: dict[bytes, Claim] = {}
        self._rekeyed: set[bytes] = set()

    def add(self, row_key: bytes, values: Sequence[Value]) -> None:
        """A new row. Raises UniqueViolation when another row of this step has its key."""
        if self._log is not None:
            self._log.append((None, values))
        self._put_in(row_key, values)

    def remove(self, row_key: bytes, stored: bytes) -> None:
        """A row that stands in the store."""
        if self._log is not None:
            self._log.append((self._layout.row_codec.decode(stored), None))
        self._take_out(row_key, stored)

    def change(  # noqa: PLR0917 - a row, before and after
        self,
        row_key: bytes,
        stored: bytes,
        old: Sequence[Value],
        new: Sequence[Value],
        touched: Sequence[IndexLayout],
        may_move: bool,
    ) -> None:
        """A row whose values change. `touched` are the indexes with a changed column; the row
        `may_move` when a column of its key is among them."""
        new_key = self._layout.row_key(new) if may_move else row_key
        if self._log is not None:
            self._log.append((old, new))
        if new_key == row_key:
            self._rewrite(row_key, old, new, touched)
            return
        self._take_out(row_key, stored)
        self._put_in(new_key, new)

    def _put_in(self, row_key: bytes, values: Sequence[Value]) -> None:
        layout = self._layout
        if layout.has_primary_key:
            self._claim(row_key, layout.rule, values)
        self._coming[row_key] = layout.row_codec.encode(values)
        if layout.indexes:
            primary_key = layout.primary_key_of(row_key)
            for index in layout.indexes:
                self._add_entry(index, primary_key, values)

    def _take_out(self, row_key: bytes, stored: bytes) -> None:
        self._going.add(row_key)
        self._rekeyed.add(row_key)
        layout = self._layout
        if layout.indexes:
            values = layout.row_codec.decode(stored)
            primary_key = layout.primary_key_of(row_key)
            for index in layout.indexes:
                self._going.add(index.entry_key(values, primary_key)[0])

    def _rewrite(
        self,
        row_key: bytes,
        old: Sequence[Value],
        new: Sequence[Value],
        touched: Sequence[IndexLayout],
    ) -> None:
        primary_key = self._layout.primary_key_of(row_key)
        self._coming[row_key] = self._layout.row_codec.encode(new)
        for index in touched:
            old_entry = index.entry_key(old, primary_key)[0]
            if old_entry != index.entry_key(new, primary_key)[0]:
                self._going.add(old_entry)
                self._add_entry(index, primary_key, new)
                if index.index.is_unique:
                    self._rekeyed.add(row_key)

    def write(self, transaction: Transaction) -> None:
        """Check and write everything. Raises UniqueViolation before the first write."""
        going, coming, claims = self._going, self._coming, self._claims
        if going:
            claims = {key: claim for key, claim in claims.items() if key not in going}
        self._lock_rows(transaction, [key for key in claims if key.startswith(self._layout.prefix)])
        if claims:
            check_claims(self._layout.table, transaction, claims)
        # In the order of the keys: each write takes a lock, and statements that take theirs in
        # one order can't block each other in a circle. It also makes a run repeatable, which
        # the order of a set of bytes is not.
        for key in sorted(going.union(coming)) if going else sorted(coming):
            value = coming.get(key)
            if value is None:
                transaction.delete(key)
            else:
                transaction.put(key, value)

    def _lock_rows(self, transaction: Transaction, arriving: Sequence[bytes]) -> None:
        """Those that go or change a key, and the places of those that move to another one: all in
        the order of the keys, for the reason given in `write`."""
        if not self._rekeyed:
            return
        if not arriving:
            transaction.lock_pairs(row_pairs(sorted(self._rekeyed)))
            return
        for row_key in sorted(self._rekeyed.union(arriving)):
            if row_key in self._rekeyed:
                transaction.lock_pairs(row_pairs([row_key]))
            else:
                transaction.claim([row_key])

    def _add_entry(self, index: IndexLayout, primary_key: bytes, values: Sequence[Value]) -> None:
        key, is_claim = index.entry_key(values, primary_key)
        if is_claim:
            self._claim(key, index.rule, values)
        self._coming[key] = primary_key

    def _claim(self, key: bytes, rule: KeyRule, values: Sequence[Value]) -> None:
        claim = (rule, values)
        if self._claims.setdefault(key, claim) is not claim:
            raise unique_violation(self._layout.table, claim)
