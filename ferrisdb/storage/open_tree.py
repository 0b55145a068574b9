"""An open tree: what flush, compaction and ingest share, for all three make tables and name them.

numbers    gives a name to a new file        manifest   says which files are alive
sources    what readers look at              cache      blocks of all tables
clock      when commits were made
"""

from __future__ import annotations

from ferrisdb.immutable import immutable
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.commit_times import CommitClock
from ferrisdb.storage.env import Env
from ferrisdb.storage.file_names import FileNumbers
from ferrisdb.storage.manifest import Manifest
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.sources import LiveSources


@immutable
class OpenTree:
    """Of one engine. Each part says itself what may be done with it by which thread."""

    env: Env
    folder: str
    options: StorageOptions
    manifest: Manifest
    numbers: FileNumbers
    sources: LiveSources
    cache: BlockCache
    clock: CommitClock
