"""What a database does on its own, as typed events: flushes, compactions, stalls, recovery.

    with db.events() as events:
        for event in events:                # waits for the next one
            match event:
                case ferrisdb.events.WriteStallEnded(reason=reason, duration_s=duration_s):
                    print(f"writers waited {duration_s:.3f} s for {reason.value}")
                case _:
                    print(event)            # one line for people

`ferrisdb.storage.events` describes each, and what of their order can be relied on.
"""

from __future__ import annotations

from ferrisdb.storage.event_hub import Subscription
from ferrisdb.storage.events import (
    BackgroundError,
    CompactionFailed,
    CompactionFinished,
    CompactionStarted,
    Event,
    FlushFinished,
    FlushStarted,
    LiveTable,
    LogSegmentBegun,
    MemtableSealed,
    RecoveryFinished,
    TableAdded,
    TableMoved,
    TableRemoved,
    WaitReason,
    WriteSlowdownEnded,
    WriteSlowdownStarted,
    WritesRefused,
    WriteStallEnded,
    WriteStallStarted,
)

__all__ = [
    "BackgroundError",
    "CompactionFailed",
    "CompactionFinished",
    "CompactionStarted",
    "Event",
    "FlushFinished",
    "FlushStarted",
    "LiveTable",
    "LogSegmentBegun",
    "MemtableSealed",
    "RecoveryFinished",
    "Subscription",
    "TableAdded",
    "TableMoved",
    "TableRemoved",
    "WaitReason",
    "WriteSlowdownEnded",
    "WriteSlowdownStarted",
    "WriteStallEnded",
    "WriteStallStarted",
    "WritesRefused",
]
