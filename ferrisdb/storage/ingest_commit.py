"""Making an ingest a commit: the steps in which nobody else may commit.

`ingest` writes the tables and says why the log must be empty; this does it, in between two groups:

    seal and flush what is in the log -> name the tables -> choose levels -> manifest -> readers

The engine owns the log and the visible timestamp, and lends the three steps that touch them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ferrisdb.storage.compaction import Compactor
from ferrisdb.storage.flush import describe_table
from ferrisdb.storage.group_commit import GroupCommit
from ferrisdb.storage.ingest import Ingest, Pairs, ingest_unknown
from ferrisdb.storage.manifest import ManifestEdit
from ferrisdb.storage.open_tree import OpenTree


class IngestTarget(Protocol):
    """What an ingest needs of the engine. The last two are called while nobody commits."""

    def check_writable(self) -> None:
        """Raise why not."""

    def flush(self) -> None: ...

    def empty_log(self) -> tuple[int, int]:
        """Return the last commit when it, and all before it, is in tables, and the number of the
        log's last segment, which is empty."""

    def show_ingested(self, timestamp: int) -> None:
        """Let everybody see the commit."""


class IngestCommits:
    """Thread-safe: ingests wait for each other where they must."""

    def __init__(
        self,
        target: IngestTarget,
        tree: OpenTree,
        commits: GroupCommit,
        compactor: Compactor,
    ) -> None:
        self.table_count = 0
        self.table_bytes = 0
        self._target = target
        self._env = tree.env
        self._folder = tree.folder
        self._options = tree.options
        self._manifest = tree.manifest
        self._numbers = tree.numbers
        self._sources = tree.sources
        self._cache = tree.cache
        self._clock = tree.clock
        self._commits = commits
        self._compactor = compactor

    def ingest(
        self, pairs: Pairs, *, below: bytes | None, before_publish: Callable[[bytes, bytes], object]
    ) -> int:
        """See `Engine.ingest`."""
        check_usable = self._target.check_writable
        check_usable()
        ingest = Ingest(
            self._env, self._folder, self._options, self._numbers, check_usable=check_usable, below=below
        )
        try:
            if ingest.write(pairs) == 0:
                return 0
            before_publish(ingest.first_key, ingest.last_key)
            # Now, while others still commit: what is left for the time when nobody does is little.
            self._target.flush()
            self._compactor.backpressure.wait_for_room()
            self._commits.run_alone(lambda: self._finish(ingest))
        except BaseException:
            ingest.discard()
            raise
        self._compactor.wake()
        return ingest.row_count

    def _finish(self, ingest: Ingest) -> None:
        """While nobody commits."""
        last_timestamp, log_number = self._target.empty_log()
        try:
            self._publish(ingest, last_timestamp + 1, log_number)
        except BaseException:
            ingest.take_back()
            raise

    def _publish(self, ingest: Ingest, timestamp: int, log_number: int) -> None:
        tables = ingest.finish(timestamp, self._cache)
        with self._compactor.placement.lock:
            placed = [(self._compactor.placement.level_for(each, self._sources.now), each) for each in tables]
            edit = ManifestEdit(
                added=tuple(describe_table(table, table.number, level) for level, table in placed),
                # A crash may have left an earlier segment with nothing but a mark, for which no flush
                # was due. Did it count on, its mark would not be of the last commit any more.
                oldest_log_number=log_number,
                last_timestamp=timestamp,
                commit_times=self._clock.sample(timestamp),
            )
            ingest.may_be_live = True
            try:
                self._manifest.apply(edit)
                self._sources.add_ingested(placed, timestamp)
                self._commits.count_unlogged(timestamp)
                # Behind all of the above: whoever reads at the new timestamp must find it.
                self._target.show_ingested(timestamp)
            except Exception as error:
                self._commits.refuse_after(error)
                raise ingest_unknown(error) from error
            except BaseException as error:
                self._commits.refuse_after(error)
                raise
        self.table_count += len(tables)
        self.table_bytes += sum(table.properties.file_bytes for table in tables)
