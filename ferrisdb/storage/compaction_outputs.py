"""The outputs of a compaction: from files that mean nothing to tables that may be read.

    000001.sst.8c0a91f3  --- rename --->  000042.sst  --- sync the folder, open, compare --->
    000002.sst.8c0a91f3                   000043.sst

The job counts its outputs from 1, under a random mark; their real numbers come here, when it is
known how many there are. All of this is before the manifest names them. So whatever fails,
they can be removed, and what cannot be removed now the next open removes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from ferrisdb.errors import CorruptionError, StorageError
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.compaction_checks import check_ranges
from ferrisdb.storage.compaction_job import CompactionJob, CompactionResult
from ferrisdb.storage.compaction_picker import Compaction
from ferrisdb.storage.env import Env, join
from ferrisdb.storage.file_names import table_name, unfinished_table_name
from ferrisdb.storage.sstable_reader import SSTableReader


def open_outputs(
    env: Env,
    job: CompactionJob,
    compaction: Compaction,
    result: CompactionResult,
    *,
    numbers: Sequence[int],
    cache: BlockCache,
) -> list[SSTableReader]:
    """Give the outputs their names, durably, and open what is on the disk."""
    for position, number in enumerate(numbers, 1):
        unfinished = join(job.folder, unfinished_table_name(position, job.output_mark))
        env.rename(unfinished, join(job.folder, table_name(number)))
    # Before the manifest names them, or a power cut could leave it naming nothing.
    env.sync_directory(job.folder)
    outputs: list[SSTableReader] = []
    try:
        for number, promised in zip(numbers, result.tables, strict=True):
            path = join(job.folder, table_name(number))
            outputs.append(SSTableReader.open(env, path, number, cache))
            if outputs[-1].properties != promised:
                raise CorruptionError("the table is not the one that was written", file=path, offset=0)
        check_ranges(compaction, outputs)
    except BaseException:
        for table in outputs:
            table.close()
        raise
    return outputs


def remove_outputs(env: Env, job: CompactionJob, numbers: Sequence[int]) -> None:
    """Remove what a failed job has left, under either name."""
    named = set(map(table_name, numbers))
    with contextlib.suppress(StorageError):
        for name in env.list_directory(job.folder):
            if name in named or name.endswith(f".{job.output_mark}"):
                with contextlib.suppress(StorageError):
                    env.remove(join(job.folder, name))
