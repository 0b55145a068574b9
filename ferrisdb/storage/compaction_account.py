r"""What is told of one compaction: that it started, and then how it ended.

    CompactionStarted ---> CompactionFinished     new tables are read
                      \--> CompactionFailed       nothing has changed

Moves are no compactions, nor is it one when tables go whose rows all lie in deleted ranges:
nothing is rewritten, and TableMoved or TableRemoved says it all.
"""

from __future__ import annotations

from collections.abc import Sequence

from ferrisdb.storage.compaction_picker import Compaction
from ferrisdb.storage.event_hub import EventHub
from ferrisdb.storage.events import CompactionFailed, CompactionFinished, CompactionStarted
from ferrisdb.storage.sstable_reader import SSTableReader


class CompactionAccount:
    """Of one compaction, from its start."""

    def __init__(self, events: EventHub, compaction: Compaction) -> None:
        self._events = events
        self._compaction = compaction
        self._start_s = events.now_s()
        events.emit(
            CompactionStarted(
                self._start_s,
                from_level=compaction.level,
                to_level=compaction.output_level,
                input_tables=len(compaction.inputs),
                input_bytes=compaction.input_bytes,
            )
        )

    def finished(self, outputs: Sequence[SSTableReader], collected_versions: int, *, in_child: bool) -> None:
        now_s = self._events.now_s()
        self._events.emit(
            CompactionFinished(
                now_s,
                from_level=self._compaction.level,
                to_level=self._compaction.output_level,
                input_tables=len(self._compaction.inputs),
                input_bytes=self._compaction.input_bytes,
                output_tables=len(outputs),
                output_bytes=sum(table.properties.file_bytes for table in outputs),
                collected_versions=collected_versions,
                in_child=in_child,
                duration_s=now_s - self._start_s,
            )
        )

    def failed(self, reason: str) -> None:
        now_s = self._events.now_s()
        self._events.emit(
            CompactionFailed(
                now_s,
                from_level=self._compaction.level,
                to_level=self._compaction.output_level,
                reason=reason,
                duration_s=now_s - self._start_s,
            )
        )
