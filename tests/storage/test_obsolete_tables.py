"""Tables that no longer count: they go with their last reader, and nothing else does."""

import gc

import pytest

from ferrisdb.errors import InterfaceError, InvariantViolation, StorageError
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.file_names import table_name
from ferrisdb.storage.level import Level
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.obsolete_tables import ObsoleteTables, Unread
from ferrisdb.storage.sstable_reader import SSTableReader
from ferrisdb.storage.sstable_writer import write_sstable


def tables_of(env: MemoryEnv, cache: BlockCache, count: int) -> list[SSTableReader]:
    env.make_directory("db")
    tables = []
    for number in range(1, count + 1):
        path = f"db/{table_name(number)}"
        write_sstable(env, path, [(b"%d" % number, 1, b"value")], block_bytes=100)
        tables.append(SSTableReader.open(env, path, number, cache))
    return tables


def test_with_the_last_reader_go_the_file_and_its_blocks_in_the_cache() -> None:
    env, cache = MemoryEnv(), BlockCache(10_000)
    told: list[Unread] = []
    obsolete = ObsoleteTables(env, "db", cache, told.append)
    tables = tables_of(env, cache, 2)
    for table in tables:
        assert table.read(b"%d" % table.number, 1) == b"value"
    both_bytes = cache.size_bytes
    obsolete.add(tables[:1])
    assert told == []
    del tables[0], table
    gc.collect()
    assert [unread.number for unread in told] == [1]
    assert env.exists(f"db/{table_name(1)}"), "only the compaction thread removes it"
    obsolete.remove(told[0])
    assert not env.exists(f"db/{table_name(1)}")
    assert env.exists(f"db/{table_name(2)}")
    assert 0 < cache.size_bytes < both_bytes
    assert len(obsolete) == 0


def test_closing_goes_on_where_a_file_cannot_be_removed() -> None:
    class StubbornEnv(MemoryEnv):
        def remove(self, path: str) -> None:
            if path.endswith(table_name(1)):
                raise StorageError("no")
            super().remove(path)

    env, cache = StubbornEnv(), BlockCache(0)
    obsolete = ObsoleteTables(env, "db", cache, lambda unread: None)
    tables = tables_of(env, cache, 3)
    obsolete.add(tables)
    obsolete.close()
    assert env.list_directory("db") == [table_name(1)]
    for table in tables:
        with pytest.raises(InterfaceError):
            table.read(b"%d" % table.number, 1)


def test_a_level_takes_no_tables_that_share_a_key() -> None:
    env, cache = MemoryEnv(), BlockCache(0)
    env.make_directory("db")
    tables = []
    for number, keys in enumerate(([b"a", b"m"], [b"m", b"z"]), 1):
        path = f"db/{table_name(number)}"
        write_sstable(env, path, [(key, number, b"") for key in keys], block_bytes=100)
        tables.append(SSTableReader.open(env, path, number, cache))
    with pytest.raises(InvariantViolation, match="overlaps another one of its level"):
        Level(tables)
