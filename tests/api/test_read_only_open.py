"""read_only: beside a writer in this process or another, and on a disk that has run full."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import ferrisdb
from ferrisdb.errors import InvalidParameterValue, NotADatabase, ReadOnlyStore
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.os_env import OsEnv

WRITER = """
import sys
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.os_env import OsEnv

options = StorageOptions(memtable_bytes=3000, manifest_bytes=1, compaction_start_tables=2,
                         level_base_bytes=3000, table_bytes=1500, compaction_process_bytes=10**9)
engine = Engine.open(OsEnv(), sys.argv[1], options)
engine.collect_below(lambda: engine.visible_timestamp)
for number in range(1, int(sys.argv[2]) + 1):
    engine.commit({b"n": b"%d" % number, b"own%06d" % number: b"x" * 100})
    print(number, flush=True)
engine.close()
"""


def test_a_reader_follows_a_writer_in_another_process(tmp_path):
    """Each refresh: no less than what the writer had said, and a whole prefix of it."""
    path = tmp_path / "db"
    Engine.open(OsEnv(), str(path), StorageOptions()).close()
    count = 400
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(count)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    seen = 0
    with child, ferrisdb.open(path, read_only=True) as reader:
        for line in child.stdout:
            reader.refresh()
            with reader.transaction() as tx:
                number = int(tx.get(b"n") or 0)
                assert number >= max(seen, int(line))
                assert len(list(tx.scan(b"own", b"owo"))) == number
            seen = number
    assert child.returncode == 0 and seen == count


def test_a_reader_in_the_writers_process_stays_at_its_moment_and_locks_nothing(tmp_path):
    path = tmp_path / "db"
    with ferrisdb.open(path) as writer:
        writer.execute("CREATE TABLE t (a INTEGER)")
        with ferrisdb.open(path, read_only=True) as reader:
            assert reader.is_read_only and not writer.is_read_only
            with reader.transaction() as tx:
                assert tx.query("SELECT a FROM t").all() == []
                writer.execute("INSERT INTO t VALUES (1)")
                writer.execute("CREATE TABLE u (a INTEGER)")
                assert reader.query("SELECT a FROM t").all() == []
                assert reader.refresh() is True
                assert tx.query("SELECT a FROM t").all() == []
            assert reader.query("SELECT a FROM t").all() == [(1,)]
            assert [table.name for table in reader.tables()] == ["t", "u"]
            assert reader.refresh() is False and writer.refresh() is False
            writer.close()
            with ferrisdb.open(path) as again:
                assert again.query("SELECT a FROM t").all() == [(1,)]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t VALUES (2)",
        "UPDATE t SET a = 2 WHERE a = 99",
        "DELETE FROM t WHERE a = 99",
        "CREATE TABLE u (a INTEGER)",
        "DROP TABLE t",
        "BEGIN READ WRITE",
    ],
)
def test_what_would_write_is_one_error(tmp_path, statement):
    path = tmp_path / "db"
    with ferrisdb.open(path) as writer:
        writer.execute("CREATE TABLE t (a INTEGER)")
    with ferrisdb.connect(path, read_only=True, autocommit=True) as connection:
        with pytest.raises(ReadOnlyStore) as caught:
            connection.execute(statement)
        assert caught.value.sqlstate == "25006" and caught.value.hint
        connection.execute("BEGIN")
        assert connection.execute("SELECT count(*) FROM t").fetchall() == [(0,)]
        connection.execute("COMMIT")
    with ferrisdb.open(path, read_only=True) as reader:
        with pytest.raises(ReadOnlyStore), reader.transaction() as tx:
            tx.put(b"k", b"v")
        with pytest.raises(ReadOnlyStore):
            reader.flush()


def test_nothing_is_made_where_nothing_is(tmp_path):
    with pytest.raises(NotADatabase):
        ferrisdb.open(tmp_path / "none", read_only=True)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidParameterValue):
        ferrisdb.open(read_only=True)


def ferris(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ferrisdb", *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_reads_beside_a_writer_and_from_a_folder_that_may_not_be_written(tmp_path):
    path = tmp_path / "db"
    with ferrisdb.open(path) as writer:
        writer.execute("CREATE TABLE t (a INTEGER)")
        writer.execute("INSERT INTO t VALUES (1)")
        locked = ferris(str(path), "-c", "SELECT a FROM t")
        assert locked.returncode == 1 and "read-only" in locked.stderr
        assert "1" in ferris("--read-only", str(path), "-c", "SELECT a FROM t").stdout
    path.chmod(0o500)
    try:
        shown = ferris("--read-only", "--format", "csv", str(path), given="SELECT a FROM t;")
        refused = ferris("--read-only", str(path), "-c", "DELETE FROM t")
    finally:
        path.chmod(0o700)
    assert shown.stdout.split() == ["a", "1"] and shown.returncode == 0
    assert "ERROR 25006" in refused.stderr and refused.returncode == 1


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_clear_error_reads_go_on_and_nothing_is_lost(small_disk):
    """One session of the command: it writes until the disk is full, reads, and is told to free it."""
    path = str(small_disk / "db")
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 700_000)
    assert ferris(path, "-c", "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)").returncode == 0
    script = "\n".join(f"INSERT INTO t VALUES ({n}, '{'x' * 5000}');" for n in range(200))
    full = ferris(path, given=script)
    assert full.returncode == 1
    assert full.stderr.count("ERROR") == 1 and "No space left" in full.stderr
    assert "Traceback" not in full.stderr
    failed_at = int(full.stderr.split(":")[1])  # "standard input:57: ERROR ..."
    read = ferris("--read-only", "--format", "csv", path, "-c", "SELECT count(*) FROM t")
    assert read.returncode == 0, read.stderr
    assert int(read.stdout.split()[1]) in (failed_at - 1, failed_at)
    filler.unlink()
    after = ferris("--format", "csv", path, "-c", "SELECT count(*), min(length(b)) FROM t")
    assert after.returncode == 0, after.stderr
    count, shortest = after.stdout.split()[1].split(",")
    assert int(count) in (failed_at - 1, failed_at) and shortest == "5000"
