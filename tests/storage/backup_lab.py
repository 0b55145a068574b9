"""A small database, its model, and copies of it: what the tests of checkpoints and backups share."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from ferrisdb.storage.backup import make_backup
from ferrisdb.storage.backup_store import Backup, BackupStore
from ferrisdb.storage.check import check_folder
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.env import Env
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import StorageOptions

FOLDER, STORE, TARGET = "data/db", "data/backups", "data/new/copy"
SMALL = StorageOptions(
    memtable_bytes=1500,
    block_bytes=150,
    table_bytes=600,
    level_base_bytes=1500,
    compaction_start_tables=2,
    compaction_process_bytes=1 << 40,
)

FEW_BLOCKS = StorageOptions(block_bytes=150)
"""Each flush is one small table, and compaction waits for four."""

Rows = dict[bytes, bytes]


@dataclass
class Lab:
    """An open database and what must be in it."""

    env: Env = field(default_factory=MemoryEnv)
    options: StorageOptions = SMALL
    rows: Rows = field(default_factory=dict)
    commits: int = 0

    def __post_init__(self) -> None:
        self.engine = Engine.open(self.env, FOLDER, self.options)
        self.store = BackupStore(self.env, STORE)

    def write(self, chance: random.Random, commits: int = 1) -> None:
        for _ in range(commits):
            writes: dict[bytes, bytes | None] = {}
            for _ in range(chance.randint(1, 6)):
                value = chance.randbytes(chance.randint(0, 60)) if chance.random() < 0.8 else None
                writes[b"key%02d" % chance.randrange(40)] = value
            self.commits = self.engine.commit(writes)
            for key, value in writes.items():
                if value is None:
                    self.rows.pop(key, None)
                else:
                    self.rows[key] = value

    def collect(self) -> None:
        """Let compaction drop what nobody at the newest snapshot sees."""
        engine = self.engine
        engine.collect_below(lambda: engine.visible_timestamp)

    def reopen(self) -> None:
        self.engine.close()
        self.engine = Engine.open(self.env, FOLDER, self.options)

    def back_up(self, keep_last: int | None = None) -> Backup:
        return make_backup(self.engine.pin_tables(), self.store, made_at_s=1e9, keep_last=keep_last)


def rows_in(env: Env, folder: str) -> tuple[Rows, int]:
    """What a database holds, and its last commit; its files are sound, and it takes commits."""
    assert check_folder(env, folder).findings == ()
    engine = Engine.open(env, folder, SMALL)
    try:
        last = engine.visible_timestamp
        rows: Rows = {}
        for keys, values in engine.scan(b"", None, last):
            rows.update(zip(keys, values, strict=True))
        assert engine.commit({b"later": b"commit"}) == last + 1
        return rows, last
    finally:
        engine.close()


def tables_in(env: Env, folder: str) -> set[str]:
    return {name for name in env.list_directory(folder) if name.endswith(".sst")}
