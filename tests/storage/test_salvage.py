"""Whatever is damaged, salvage saves all that is sound, and says what may be gone.

The oracle: a value that the target does not have as the undamaged database had it must be
covered by a reported loss, or be one of the suspects.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache

import pytest

from ferrisdb.errors import DatabaseLocked, InvalidParameterValue, NotADatabase, StorageError
from ferrisdb.storage.check import check_folder
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.inspect_log import SeenRecord, read_records
from ferrisdb.storage.inspect_table import TableFile
from ferrisdb.storage.manifest import ManifestState, TableEntry
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import Compression, Durability, StorageOptions
from ferrisdb.storage.salvage import salvage
from ferrisdb.storage.salvage_report import SalvageReport
from ferrisdb.storage.salvage_table import read_rows, survey_table
from ferrisdb.storage.sstable_format import Section
from ferrisdb.storage.sstable_writer import write_sstable
from ferrisdb.storage.wal import LogWriter, encode_writes
from ferrisdb.testing import CrashFS

Contents = dict[bytes, bytes]


def options(compression: Compression = Compression.NONE) -> StorageOptions:
    return StorageOptions(
        block_bytes=60,
        compression=compression,
        compaction_start_tables=100,
        compaction_slow_tables=100,
        compaction_stop_tables=100,
    )


@cache
def made(compression: Compression) -> tuple[MemoryEnv, Contents, dict[bytes, set[bytes]]]:
    """Two tables, with old versions and tombstones, and a log of two segments, closed."""
    env = MemoryEnv()
    engine = Engine.open(env, "db", options(compression))
    contents: Contents = {}
    ever: dict[bytes, set[bytes]] = {}

    def commit(engine: Engine | None, writes: dict[bytes, bytes | None]) -> None:
        for key, value in writes.items():
            if value is None:
                contents.pop(key, None)
            else:
                contents[key] = value
                ever.setdefault(key, set()).add(value)
        if engine is not None:
            engine.commit(writes)

    for number in range(6):
        commit(engine, {b"a%d" % number: b"first " * 4, b"hot": b"%d" % number})
    engine.flush()
    commit(engine, {b"a1": None, b"a2": b"second " * 4, b"b1": b"third " * 4})
    engine.flush()
    engine.close()
    (last,) = [name for name in env.list_directory("db") if name.endswith(".wal")]
    # By hand: a memtable that waits for its flush is hard to catch.
    timestamp, number = 8, int(last[:6])
    for segment in (number, number + 2):
        log = LogWriter.create(env, "db", segment)
        for _ in range(2):
            writes: dict[bytes, bytes | None] = {
                b"log%d" % timestamp: b"in the log",
                b"a3": b"%d" % timestamp,
                b"a4": None,
            }
            commit(None, writes)
            log.append(timestamp, [encode_writes(writes)])
            log.sync()
            timestamp += 1
    log.append_mark(timestamp - 1)
    return env, contents, ever


def contents_of(env: MemoryEnv, folder: str) -> Contents:
    engine = Engine.open(env, folder)
    found: Contents = {}
    for keys, values in engine.scan(b"", None, engine.visible_timestamp):
        found |= zip(keys, values, strict=True)
    engine.close()
    return found


def salvaged(env: MemoryEnv, compression: Compression = Compression.NONE) -> tuple[SalvageReport, Contents]:
    """Salvage `db`, and hold the result against the oracle."""
    _, before, ever = made(compression)
    source = {name: env.read_file(f"db/{name}") for name in env.list_directory("db")}
    report = salvage(env, "db", "new")
    assert {name: env.read_file(f"db/{name}") for name in env.list_directory("db")} == source
    after = contents_of(env, "new")
    assert report.saved_keys == len(after)
    for key, value in after.items():
        assert value in ever[key], f"{key!r} never was {value!r}"
    wrong = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    # A log that is cut between two records is a shorter log: it only lacks its end.
    is_told_of_all = not report.used_manifest or any("last commits" in note for note in report.notes)
    for key in wrong:
        is_told = is_told_of_all or any(damage.may_concern(key) for damage in report.damages)
        assert is_told, f"nothing is said of {key!r}"
    # What has come back, or is old, is among the suspects.
    assert is_told_of_all or len(wrong & after.keys()) <= report.suspect_keys
    return report, after


def write(env: MemoryEnv, path: str, data: bytes) -> None:
    env.create(path).append(data)


def files(env: MemoryEnv) -> list[str]:
    return [f"db/{name}" for name in env.list_directory("db") if name != "LOCK"]


def test_nothing_is_lost_of_a_sound_database():
    env = made(Compression.NONE)[0].copy()
    report, after = salvaged(env)
    assert after == made(Compression.NONE)[1]
    assert check_folder(env, "new").findings == ()
    assert (report.has_lost, report.damages, report.notes, report.suspect_keys) == (False, (), (), 0)


KINDS = [Compression.NONE, Compression.ZSTD, Compression.LZ4]


@pytest.mark.parametrize("compression", KINDS)
def test_any_byte_may_be_damaged(compression):
    sound, before, _ = made(compression)
    step = 1 if compression is Compression.NONE else 7
    for path in files(sound):
        data = sound.read_file(path)
        for position in range(0, len(data), step):
            env = sound.copy()
            write(env, path, data[:position] + bytes([data[position] ^ 0x41]) + data[position + 1 :])
            report, after = salvaged(env, compression)
            assert report.damages, (path, position)
            # One byte is at most one block or record of two keys and the hot one.
            assert report.used_manifest is ("MANIFEST" not in path) or after.keys() >= before.keys()
            assert len(before.keys() - after.keys()) <= 3, (path, position)


@pytest.mark.parametrize("compression", KINDS)
def test_any_file_may_be_cut(compression):
    sound = made(compression)[0]
    step = 2 if compression is Compression.NONE else 11
    for path in files(sound):
        data = sound.read_file(path)
        for length in range(0, len(data), step):
            env = sound.copy()
            write(env, path, data[:length])
            report, _ = salvaged(env, compression)
            assert report.damages or report.notes, (path, length)


def test_any_file_may_be_missing():
    sound, before, _ = made(Compression.NONE)
    for path in files(sound):
        env = sound.copy()
        env.remove(path)
        if path.endswith(".wal") and path == max(name for name in files(sound) if name.endswith(".wal")):
            # Nothing else tells that there was one more segment. That the log has no end, is seen.
            assert any("last commits may be missing" in note for note in salvage(env, "db", "new").notes)
            continue
        report, after = salvaged(env)
        assert report.damages, path
        if not path.endswith((".sst", ".wal")):
            assert after == before


def test_all_but_one_file_may_be_missing():
    sound = made(Compression.NONE)[0]
    for kept in files(sound):
        env = sound.copy()
        for path in files(sound):
            if path != kept:
                env.remove(path)
        report, _ = salvaged(env)
        assert report.has_lost


# --- what it refuses, and what it leaves behind


def test_the_target_must_be_new_and_outside():
    env = made(Compression.NONE)[0].copy()
    for target in ("db", "db/new"):
        with pytest.raises(InvalidParameterValue, match="lies in the damaged database"):
            salvage(env, "db", target)
    write(env, "file", b"x")
    env.make_directory("full")
    write(env, "full/x", b"x")
    for target in ("file", "full"):
        with pytest.raises(InvalidParameterValue, match="not an empty folder"):
            salvage(env, "db", target)
    with pytest.raises(NotADatabase):
        salvage(env, "nowhere", "new")


def test_a_database_that_is_open_is_refused():
    env = made(Compression.NONE)[0].copy()
    engine = Engine.open(env, "db")
    with pytest.raises(DatabaseLocked):
        salvage(env, "db", "new")
    engine.close()


def test_a_salvage_that_was_broken_off_leaves_no_database(monkeypatch):
    env = made(Compression.NONE)[0].copy()

    def broken_off(engine: Engine) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "flush", broken_off)
    with pytest.raises(KeyboardInterrupt):
        salvage(env, "db", "new")
    monkeypatch.undo()
    with pytest.raises(NotADatabase, match="a salvage was begun there and did not finish"):
        Engine.open(env, "new")
    with pytest.raises(InvalidParameterValue, match="did not finish") as refused:
        salvage(env, "db", "new")
    assert "remove that folder" in str(refused.value.hint)


@pytest.mark.parametrize("call", ["prepare_group", "publish_group"])
def test_an_interrupt_in_a_commit_of_the_salvage_comes_out_as_one(call, monkeypatch):
    env = made(Compression.NONE)[0].copy()
    real = getattr(Engine, call)

    def interrupted(engine, *given):
        real(engine, *given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, call, interrupted)
    with pytest.raises(KeyboardInterrupt):
        salvage(env, "db", "new")


def test_a_power_cut_at_any_call_leaves_no_target_that_looks_whole():
    # Given a database of two commits, when the power goes at any call of its salvage,
    base = CrashFS()
    engine = Engine.open(base, "db")
    engine.commit({b"a": b"1"}, Durability.FULL)
    engine.commit({b"b": b"2"}, Durability.FULL)
    engine.close()
    crash_at = has_finished = 0
    while True:
        crash_at += 1
        fs = base.after_kill(crash_at=crash_at)
        try:
            salvage(fs, "db", "new")
        except StorageError:
            assert fs.has_crashed
        if not fs.has_crashed:
            break
        for loss, disk in [*fs.disks_after_crash(), (None, fs.after_kill())]:
            # then the target has all, or nobody takes it for a database:
            where = f"call {crash_at} ({fs.calls[-1]}), {loss}"
            if not disk.exists("new/UNFINISHED") and not disk.exists("new/CURRENT"):
                # only where the salvage had not begun.
                assert not [path for path in disk.contents() if path.startswith("new/0")], where
            elif not disk.exists("new/CURRENT"):
                with pytest.raises(NotADatabase):
                    Engine.open(disk, "new")
            else:
                has_finished += 1
                assert contents_of(disk, "new") == {b"a": b"1", b"b": b"2"}, where
    assert crash_at > 20
    assert has_finished


# --- one lesson each


def table_paths(env: MemoryEnv) -> list[str]:
    return [path for path in files(env) if path.endswith(".sst")]


def test_a_damaged_block_is_told_by_its_bytes_its_keys_and_its_count():
    # Given a block of which a byte has changed.
    env = made(Compression.NONE)[0].copy()
    path = table_paths(env)[0]
    table = TableFile(env, path)
    index = table.index(table.footer())
    section, first, last = (
        index.sections[0],
        table.properties(table.footer()).smallest_key,
        index.separators[0],
    )
    rows = len(table.block(section).keys)
    data = env.read_file(path)
    write(env, path, data[:30] + b"!" + data[31:])
    # When it is salvaged, then the report says what was there.
    report, _ = salvaged(env)
    (loss,) = report.losses
    assert (loss.file, loss.offset, loss.end) == (path, section.offset, section.end)
    assert (loss.smallest_key, loss.largest_key, loss.versions) == (first, last, rows)


def test_without_index_and_footer_the_blocks_around_a_damaged_one_are_found():
    # Given a table that has lost its index, and a byte within a value of its second block.
    env = made(Compression.NONE)[0].copy()
    path = table_paths(env)[0]
    table = TableFile(env, path)
    footer = table.footer()
    sections = table.index(footer).sections
    data = bytearray(env.read_file(path))
    data[footer.index.offset + 9] ^= 1
    data[sections[1].offset + 20] ^= 1
    write(env, path, bytes(data))
    # Then all blocks but that one are saved, and the gap lies between its neighbours' keys.
    report, _ = salvaged(env)
    (loss,) = report.losses
    assert (loss.offset, loss.end) == (sections[1].offset, sections[1].end)


def test_a_table_that_a_user_has_stored_as_a_value_is_never_taken_for_one_of_ours():
    # Given a block whose value is a whole foreign table, and damage before it in the same block.
    foreign = MemoryEnv()
    write_sstable(foreign, "x", [(b"ghost", 1, b"was never written")], block_bytes=60)
    env = MemoryEnv()
    rows: list[tuple[bytes, int, bytes | None]] = [(b"a", 1, b"x"), (b"b", 1, foreign.read_file("x")[16:])]
    write_sstable(env, "t.sst", [*rows, (b"c", 1, b"y")], block_bytes=60)
    sound = env.read_file("t.sst")
    # When the table is cut behind it, or its footer is gone, or its first bytes are wrong,
    for length in (len(sound), len(sound) - 1, len(sound) - 200):
        for position in range(16, 40):
            for other in (0x95, 0xC4, 0xDB, 0):
                data = bytearray(sound[:length])
                data[position] = other
                write(env, "t.sst", bytes(data))
                # Then the ghost is nowhere.
                survey = survey_table(env, "t.sst", None)
                assert {key for key, _, _ in read_rows(env, survey)} <= {b"a", b"b", b"c"}


def test_one_wrong_byte_does_not_lead_into_a_value_that_looks_like_blocks():
    # Given a value that holds a foreign block, laid so that a length which is wrong by one byte
    # has its own block end just before it,
    foreign = MemoryEnv()
    write_sstable(foreign, "x", [(b"ghost", 1, b"was never written")], block_bytes=60)
    (section,) = sections_of(foreign, "x")
    ghost = foreign.read_file("x")[section.offset : section.end]
    two_integers, codec_and_checksum = b"\1\1", bytes(5)
    value = b"v" * 10 + two_integers + codec_and_checksum + ghost
    value += b"v" * (256 + 10 - len(value))
    env = MemoryEnv()
    write_sstable(env, "t.sst", [(b"b", 1, value), (b"c", 1, b"y")], block_bytes=60)
    data = bytearray(env.read_file("t.sst"))
    length_at = data.index(b"\xc5\1\x0a" + value) + 1
    data[length_at] = 0
    # and an index that is damaged, too, where the footer still says where the blocks end,
    table = TableFile(env, "t.sst")
    data[table.footer().index.offset + 3] ^= 1
    write(env, "t.sst", bytes(data))
    assert [section.end for section in TableFile(env, "t.sst").walk_blocks()][1:], "it leads nowhere"
    # when the table is looked through, then the foreign row is not among what is saved.
    survey = survey_table(env, "t.sst", None)
    assert {key for key, _, _ in read_rows(env, survey)} <= {b"b", b"c"}
    assert survey.losses


def sections_of(env: MemoryEnv, path: str) -> list[Section]:
    table = TableFile(env, path)
    return table.index(table.footer()).sections


def test_lost_commits_are_counted_by_the_gap_they_leave():
    # Given three segments of which the record of commit 9 is damaged.
    env = made(Compression.NONE)[0].copy()
    path = next(path for path in files(env) if path.endswith(".wal") and len(env.read_file(path)) > 100)
    records = list(read_records(env.read_file(path), int(path[3:9])))
    data = bytearray(env.read_file(path))
    data[-1] ^= 1
    write(env, path, bytes(data))
    report, after = salvaged(env)
    (loss,) = report.losses
    assert (loss.file, loss.offset, loss.first_commit, loss.last_commit) == (path, records[-1].offset, 9, 9)
    assert b"log9" not in after and b"log10" in after


def test_a_lost_tombstone_makes_what_it_hid_a_suspect():
    # Given the younger table, which deletes a1, gone.
    env = made(Compression.NONE)[0].copy()
    env.remove(table_paths(env)[1])
    report, after = salvaged(env)
    assert after[b"a1"] == b"first " * 4
    assert report.suspect_keys >= 1
    (loss,) = report.losses
    assert loss.versions == 3
    assert (loss.smallest_key, loss.largest_key) == (b"a1", b"b1")


def test_the_manifest_keeps_obsolete_tables_out():
    # Given an input of a compaction that is still there; it has a row that was deleted since.
    env = made(Compression.NONE)[0].copy()
    write_sstable(env, "db/000900.sst", [(b"deleted long ago", 1, b"back again")], block_bytes=60)
    assert b"deleted long ago" not in salvaged(env)[1]
    # Without any manifest it counts, and the report says so.
    manifest = next(path for path in files(env) if "MANIFEST" in path)
    env.remove(manifest)
    report = salvage(env, "db", "other")
    assert b"deleted long ago" in contents_of(env, "other")
    assert report.has_lost and any("a row may be back" in note for note in report.notes)


def test_salvage_honours_all_that_records_and_manifest_can_say():
    """A new field may hide versions, as a deleted range does. Then `salvage._newest` must hide
    them too, and `salvage_open.mend_log` must hand it on to the manifest; after that, add it here."""
    known = {"offset", "end", "checksum", "timestamp", "synced_bytes", "writes", "deleted_ranges"}
    assert {field.name for field in fields(SeenRecord)} == known
    of_tables = {"number", "level", "file_bytes", "entry_count", "smallest_key", "largest_key"}
    assert {field.name for field in fields(TableEntry)} == of_tables | {
        "smallest_timestamp",
        "largest_timestamp",
        "ingested_at",
        # Known before the table is read; they hide nothing.
        "tombstone_count",
        "fewest_keys",
        "blocks_checksum",
    }
    of_state = {
        "tables",
        "oldest_log_number",
        "next_file_number",
        "last_timestamp",
        "commit_times",
        "deleted_ranges",
        # Of the past that readers may still ask for. A salvaged database begins a past of its own.
        "collected_below",
    }
    assert {field.name for field in fields(ManifestState)} == of_state


def test_deleted_ranges_stay_deleted_whether_the_log_or_the_manifest_knows_of_them():
    env = MemoryEnv()
    engine = Engine.open(env, "db", options())
    # An open snapshot keeps the rows in the tables: only the ranges say that they are gone.
    engine.collect_below(lambda: 1)
    engine.commit({b"%c" % letter: b"old" for letter in b"abcdefgh"})
    engine.flush()
    engine.commit({b"b": b"again"}, deleted_ranges=[(b"a", b"c")])
    engine.flush()
    engine.commit({}, deleted_ranges=[(b"g", None)])
    engine.close()

    report = salvage(env, "db", "new")

    assert not report.has_lost
    assert contents_of(env, "new") == {b"b": b"again", b"c": b"old", b"d": b"old", b"e": b"old", b"f": b"old"}
