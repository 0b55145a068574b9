"""`check` finds every kind of damage, names its file and byte, and finds nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from forged_table import ForgedTable

from ferrisdb.errors import CorruptionError, NotADatabase, StorageError, Unavailable
from ferrisdb.storage import check as check_module
from ferrisdb.storage.check import check_folder
from ferrisdb.storage.check_findings import Findings
from ferrisdb.storage.check_table import check_table
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.file_header import HEADER_BYTES
from ferrisdb.storage.file_names import unfinished_table_name
from ferrisdb.storage.inspect_folder import fingerprint
from ferrisdb.storage.inspect_log import BadBytes, ReservedBytes, SeenRecord, read_records
from ferrisdb.storage.inspect_manifest import read_edits
from ferrisdb.storage.manifest import ManifestEdit, TableEntry, _encode
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.range_tombstones import RangeTombstone
from ferrisdb.storage.sstable_writer import write_sstable
from ferrisdb.storage.wal import LogWriter, encode_writes

OPTIONS = StorageOptions(block_bytes=100, manifest_bytes=100_000)
TABLE, LOG, MANIFEST = "db/000004.sst", "db/000005.wal", "db/MANIFEST-000002"
LATER_LOG = "db/000007.wal"


def sound_database() -> MemoryEnv:
    """Two tables, the older 000004; a log of two segments, 000005 and 000007."""
    env = MemoryEnv()
    engine = Engine.open(env, "db", OPTIONS)
    for number in range(8):
        engine.commit({b"key%d" % number: b"value" * 8, b"hot": b"%d" % number})
    engine.flush()
    engine.commit({b"key1": None})
    engine.flush()
    engine.close()
    env.remove("db/000005.wal")
    # By hand: a memtable that waits for its flush is hard to catch.
    older = LogWriter.create(env, "db", 5)
    older.append(10, [encode_writes({b"a": b"1"}), encode_writes({b"b": b"2"}), encode_writes({b"c": None})])
    older.sync()
    later = LogWriter.create(env, "db", 7)
    for timestamp in (13, 14, 15):
        later.append(timestamp, [encode_writes({b"d": b"%d" % timestamp})])
        later.sync()
    later.append_mark(15)
    return env


@pytest.fixture
def env() -> MemoryEnv:
    return sound_database()


def records(env: MemoryEnv, path: str) -> list[SeenRecord]:
    found = list(read_records(env.read_file(path), int(path[3:9])))
    return [record for record in found if isinstance(record, SeenRecord)]


def write(env: MemoryEnv, path: str, data: bytes) -> None:
    env.create(path).append(data)


def flip(env: MemoryEnv, path: str, offset: int) -> None:
    data = bytearray(env.read_file(path))
    data[offset] ^= 0x40
    write(env, path, bytes(data))


def found_in(env: MemoryEnv) -> list[tuple[str, int, str]]:
    return [(finding.file, finding.offset, finding.problem) for finding in check_folder(env, "db").findings]


def test_a_sound_database_has_no_finding_and_no_note(env: MemoryEnv):
    report = check_folder(env, "db")
    assert (report.findings, report.notes) == ((), ())
    assert (report.tables, report.versions, report.log_segments, report.commits) == (2, 17, 2, 6)
    assert report.blocks > 3


def test_checking_changes_nothing(env: MemoryEnv):
    twin = env.copy()
    flip(env, TABLE, 20)
    flip(twin, TABLE, 20)
    check_folder(env, "db")
    names = env.list_directory("db")
    assert names == twin.list_directory("db")
    assert all(env.read_file(f"db/{name}") == twin.read_file(f"db/{name}") for name in names)


# --- one kind of damage after the other -------------------------------------------------


@dataclass
class Damaged:
    """A database, and where the damage has been done to it."""

    env: MemoryEnv
    file: str = ""
    offset: int = 0


Damage = Callable[[Damaged], None]
KINDS: dict[str, tuple[Damage, str]] = {}


def kind(problem: str) -> Callable[[Damage], Damage]:
    """Register a kind of damage and what the finding must say of it."""

    def register(damage: Damage) -> Damage:
        KINDS[damage.__name__] = damage, problem
        return damage

    return register


@kind("the file that names the manifest is damaged")
def current_damaged(db: Damaged) -> None:
    db.file = "db/CURRENT"
    flip(db.env, db.file, 3)


@kind("the file that names the manifest is missing")
def current_missing(db: Damaged) -> None:
    db.file = "db/CURRENT"
    db.env.remove(db.file)


@kind("it names MANIFEST-000002, which is missing")
def manifest_missing(db: Damaged) -> None:
    db.file = "db/CURRENT"
    db.env.remove(MANIFEST)


@kind("header's checksum")
def manifest_header(db: Damaged) -> None:
    db.file, db.offset = MANIFEST, 12
    flip(db.env, db.file, 13)


@kind("snapshot is damaged: the checksum is wrong")
def manifest_snapshot(db: Damaged) -> None:
    db.file, db.offset = MANIFEST, HEADER_BYTES
    flip(db.env, db.file, HEADER_BYTES + 12)


@kind("a manifest edit is damaged: the checksum is wrong")
def manifest_edit(db: Damaged) -> None:
    db.file, db.offset = MANIFEST, list(read_edits(db.env.read_file(MANIFEST), 2))[1].offset
    flip(db.env, db.file, db.offset + 20)


@kind("the manifest has no snapshot")
def manifest_empty(db: Damaged) -> None:
    db.file, db.offset = MANIFEST, HEADER_BYTES
    db.env.truncate(MANIFEST, HEADER_BYTES)


def add_edit(db: Damaged, edit: ManifestEdit) -> None:
    data = db.env.read_file(MANIFEST)
    db.file, db.offset = MANIFEST, len(data)
    write(db.env, MANIFEST, data + _encode(edit, 2, len(data)))


def table_entries(env: MemoryEnv) -> list[TableEntry]:
    edits = [seen.edit for seen in read_edits(env.read_file(MANIFEST), 2) if not isinstance(seen, BadBytes)]
    return [entry for edit in edits for entry in edit.added]


@kind("the edit removes table 99, which was not alive")
def manifest_removes_a_stranger(db: Damaged) -> None:
    add_edit(db, ManifestEdit(removed=(99,)))


def rewrite_manifest(db: Damaged, next_file_number: int, last_timestamp: int) -> None:
    state = ManifestEdit(
        added=tuple(table_entries(db.env)),
        oldest_log_number=5,
        next_file_number=next_file_number,
        last_timestamp=last_timestamp,
    )
    data = db.env.read_file(MANIFEST)[:HEADER_BYTES]
    db.file, db.offset = MANIFEST, HEADER_BYTES
    write(db.env, MANIFEST, data + _encode(state, 2, HEADER_BYTES))


@kind("table 6 has commit 9, and the last is 3")
def manifest_forgets_commits(db: Damaged) -> None:
    rewrite_manifest(db, 7, 3)


@kind("table 6 has commit 9, and the last is 8")
def manifest_forgets_a_commit(db: Damaged) -> None:
    rewrite_manifest(db, 7, 8)


@kind("table 6 is not below the next file number 6")
def manifest_would_give_a_number_twice(db: Damaged) -> None:
    rewrite_manifest(db, 6, 9)


@kind("tables 4 and 6 of level 1 overlap")
def levels_overlap(db: Damaged) -> None:
    moved = tuple(replace(entry, level=1) for entry in table_entries(db.env))
    add_edit(db, ManifestEdit(added=moved, removed=(4, 6)))


@kind("tables 4 and 6 of level 0 overlap in time")
def ages_overlap(db: Damaged) -> None:
    (newer,) = (entry for entry in table_entries(db.env) if entry.number == 6)
    add_edit(db, ManifestEdit(added=(replace(newer, smallest_timestamp=8),), removed=(6,)))


@kind("a range was deleted at 10, and the last commit is 9")
def range_deleted_in_the_future(db: Damaged) -> None:
    add_edit(db, ManifestEdit(deleted_ranges=(RangeTombstone(b"a", None, 10),)))
    db.offset = HEADER_BYTES


@kind("a range that was deleted at 2 ends before it begins")
def range_upside_down(db: Damaged) -> None:
    add_edit(db, ManifestEdit(deleted_ranges=(RangeTombstone(b"b", b"a", 2),)))


@kind("a range that was deleted at 2 is there twice")
def range_deleted_twice(db: Damaged) -> None:
    add_edit(db, ManifestEdit(deleted_ranges=(RangeTombstone(b"a", b"b", 2), RangeTombstone(b"a", b"b", 2))))


@kind("the edit settles a range, deleted at 2, that was not there")
def settled_but_never_deleted(db: Damaged) -> None:
    add_edit(db, ManifestEdit(settled_ranges=(RangeTombstone(b"a", b"b", 2),)))


@kind("table 4 is of level 7, which is none")
def level_below_the_last(db: Damaged) -> None:
    (deep,) = (replace(entry, level=7) for entry in table_entries(db.env) if entry.number == 4)
    add_edit(db, ManifestEdit(added=(deep,), removed=(4,)))


@kind("the table is missing")
def table_missing(db: Damaged) -> None:
    db.file = TABLE
    db.env.remove(TABLE)


@kind("and the manifest says")
def table_cut(db: Damaged) -> None:
    db.file, db.offset = TABLE, len(db.env.read_file(TABLE)) - 7
    db.env.truncate(TABLE, db.offset)


@kind("and the manifest says")
def table_lengthened(db: Damaged) -> None:
    data = db.env.read_file(TABLE)
    db.file, db.offset = TABLE, len(data)
    write(db.env, TABLE, data + b"more")


@kind("the file begins with")
def table_magic(db: Damaged) -> None:
    db.file = TABLE
    flip(db.env, TABLE, 2)


@kind("the checksum of the footer")
def table_footer(db: Damaged) -> None:
    db.file, db.offset = TABLE, len(db.env.read_file(TABLE)) - 60
    flip(db.env, TABLE, db.offset + 5)


@kind("the checksum of the block")
def table_block(db: Damaged) -> None:
    db.file, db.offset = TABLE, ForgedTable(db.env, TABLE).offsets[1]
    flip(db.env, TABLE, db.offset + 9)


@kind("the checksum of the index")
def table_index(db: Damaged) -> None:
    db.file, db.offset = TABLE, ForgedTable(db.env, TABLE).parts.index.offset
    flip(db.env, TABLE, db.offset + 9)


@kind("the checksum of the filter")
def table_filter(db: Damaged) -> None:
    db.file, db.offset = TABLE, ForgedTable(db.env, TABLE).parts.filter.offset
    flip(db.env, TABLE, db.offset + 3)


@kind("the checksum of the properties")
def table_properties(db: Damaged) -> None:
    db.file, db.offset = TABLE, ForgedTable(db.env, TABLE).parts.properties.offset
    flip(db.env, TABLE, db.offset + 3)


@kind("does not follow row")
def keys_out_of_order(db: Damaged) -> None:
    table = ForgedTable(db.env, TABLE)
    db.file, db.offset = TABLE, table.offsets[1]
    assert len(table.blocks[1][0]) == 2
    table.blocks[1][0].reverse()
    table.save()


@kind("does not follow row")
def timestamps_ascending(db: Damaged) -> None:
    table = ForgedTable(db.env, TABLE)
    db.file, db.offset = TABLE, table.offsets[0]
    keys, timestamps = table.blocks[0][:2]
    assert keys[:3] == [b"hot"] * 3
    timestamps[1], timestamps[2] = timestamps[2], timestamps[1]
    table.save()


@kind("does not follow the block before")
def blocks_out_of_order(db: Damaged) -> None:
    """The key of block 0 goes on in block 1, and with a commit that is not older."""
    table = ForgedTable(db.env, TABLE)
    db.file, db.offset = TABLE, table.offsets[1]
    keys, timestamps, values = table.blocks[1][:3]
    assert (table.blocks[0][1][-1], keys[0], timestamps[0]) == (1, b"key0", 1)
    # The file stays as long as it is: of separator, block and value one gives what the others take.
    keys[0], values[0] = b"hot", values[0][3:]
    table.index[0][0], table.index[2] = b"hot", [[1], [1]]
    table.save()


@kind("does not lie between its separators")
def separator_that_does_not_separate(db: Damaged) -> None:
    table = ForgedTable(db.env, TABLE)
    db.file, db.offset = TABLE, table.offsets[2]
    assert (table.index[0][1], table.blocks[2][0][0]) == (b"key1", b"key2")
    table.index[0][1] = b"key2"
    table.save()


@kind("does not lie between its separators")
def separator_below_the_keys_it_should_be_above(db: Damaged) -> None:
    table = ForgedTable(db.env, TABLE)
    db.file, db.offset = TABLE, table.offsets[1]
    table.index[0][1] = b"key0"
    table.save()


@kind("newest commit is 9, and it is")
def newest_timestamp_untrue(db: Damaged) -> None:
    table = ForgedTable(db.env, TABLE)
    db.file, db.offset = TABLE, table.offsets[0]
    table.blocks[0][3] = 9
    table.save()


@kind("as many different keys as it says")
def distinct_keys_untrue(db: Damaged) -> None:
    table = ForgedTable(db.env, TABLE)
    db.file, db.offset = TABLE, table.offsets[0]
    table.blocks[0][4] = len(table.blocks[0][0])
    table.save()


@kind("the bloom filter denies")
def filter_forgot_a_key(db: Damaged) -> None:
    table = ForgedTable(db.env, TABLE)
    db.file, db.offset = TABLE, table.offsets[0]
    table.filter[:] = bytes(len(table.filter))
    table.save()


@kind("the properties say blocks_checksum")
def blocks_checksum_untrue(db: Damaged) -> None:
    table = ForgedTable(db.env, TABLE)
    table.properties[6] ^= 1
    table.save()
    db.file, db.offset = TABLE, ForgedTable(db.env, TABLE).parts.properties.offset


@kind("the properties say tombstone_count 5, and it is 0")
def properties_untrue(db: Damaged) -> None:
    table = ForgedTable(db.env, TABLE)
    db.file, db.offset = TABLE, table.parts.properties.offset
    table.properties[1] = 5
    table.save()


@kind("the manifest says entry_count")
def another_table(db: Damaged) -> None:
    """A sound table of the right length, but not the one that the manifest names."""
    entries = [replace(entry, entry_count=entry.entry_count + 1) for entry in table_entries(db.env)[:1]]
    add_edit(db, ManifestEdit(added=tuple(entries), removed=(4,)))
    db.file, db.offset = TABLE, ForgedTable(db.env, TABLE).parts.properties.offset


@kind("the log segment is missing")
def log_missing(db: Damaged) -> None:
    db.file = LOG
    db.env.remove(LOG)


@kind("the file begins with")
def log_header(db: Damaged) -> None:
    db.file = LOG
    flip(db.env, LOG, 0)


@kind("format version 3; this FerrisDB reads up to version 2")
def log_of_a_newer_version(db: Damaged) -> None:
    import zlib

    data = db.env.read_file(LATER_LOG)
    header = data[:8] + b"\3\0" + data[10:12]
    db.file, db.offset = LATER_LOG, 8
    write(db.env, LATER_LOG, header + zlib.crc32(header).to_bytes(4, "little") + data[16:])


@kind("the log record is damaged: the checksum is wrong")
def log_record(db: Damaged) -> None:
    db.file, db.offset = LOG, records(db.env, LOG)[1].offset
    flip(db.env, LOG, db.offset + 30)


@kind("the log record is damaged: the length")
def log_record_length(db: Damaged) -> None:
    db.file, db.offset = LOG, records(db.env, LOG)[1].offset
    flip(db.env, LOG, db.offset + 3)


@kind("the log record is damaged: cut short")
def earlier_log_torn(db: Damaged) -> None:
    db.file, db.offset = LOG, records(db.env, LOG)[2].offset
    db.env.truncate(LOG, db.offset + 10)


@kind("the log record is damaged: the checksum is wrong")
def last_log_damaged_where_it_was_synced(db: Damaged) -> None:
    db.file, db.offset = LATER_LOG, records(db.env, LATER_LOG)[1].offset
    flip(db.env, LATER_LOG, db.offset + 30)


@kind("the record is of commit 13 where 12 was due")
def log_lacks_a_commit(db: Damaged) -> None:
    db.file, db.offset = LATER_LOG, HEADER_BYTES
    db.env.truncate(LOG, records(db.env, LOG)[2].offset)


@kind("the record writes a key twice")
def log_record_with_a_key_twice(db: Damaged) -> None:
    import msgpack

    log = LogWriter.create(db.env, "db", 7)
    db.file, db.offset = LATER_LOG, HEADER_BYTES
    log.append(13, [msgpack.packb([[b"k", b"k"], [b"1", b"2"]])])


@kind("bytes were synced before it")
def log_record_claims_the_future(db: Damaged) -> None:
    log = LogWriter.create(db.env, "db", 7)
    db.file, db.offset = LATER_LOG, HEADER_BYTES
    log._synced_bytes = 5000
    log.append(13, [encode_writes({b"k": b"1"})])


def test_there_are_many_kinds() -> None:
    assert len(KINDS) >= 20


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_of_damage_is_named_with_file_and_offset(name: str) -> None:
    damage, problem = KINDS[name]
    db = Damaged(sound_database())
    damage(db)
    found = found_in(db.env)
    assert (db.file, db.offset) == found[0][:2], found
    assert problem in found[0][2]


SEVERAL_FINDINGS = {
    "manifest_forgets_commits": 3,
    "manifest_forgets_a_commit": 2,  # two tables, and the log, are ahead of it
    "ages_overlap": 2,  # and the table is not the one that is described
    "table_cut": 2,  # the length, and the footer that is gone
    "table_lengthened": 2,
    "filter_forgot_a_key": 5,  # one for each block
}


@pytest.mark.parametrize("name", KINDS)
def test_one_cause_is_one_finding(name: str) -> None:
    db = Damaged(sound_database())
    KINDS[name][0](db)
    found = found_in(db.env)
    assert len(found) == SEVERAL_FINDINGS.get(name, 1), found


def test_a_finding_does_not_hide_the_next(env: MemoryEnv):
    flip(env, "db/CURRENT", 1)
    flip(env, "db/000006.sst", 20)
    flip(env, TABLE, 20)
    flip(env, LOG, 50)
    assert [file for file, _, _ in found_in(env)] == ["db/CURRENT", TABLE, "db/000006.sst", LOG]


def test_an_index_that_has_a_wrong_commit_for_a_key_that_goes_on_is_found(env: MemoryEnv):
    """A reader would pass over a block that it should look into."""
    hot = [(b"hot", timestamp, b"%d" % timestamp) for timestamp in range(9, 0, -1)]
    write_sstable(env, "db/000099.sst", hot, block_bytes=40)
    table = ForgedTable(env, "db/000099.sst")
    table.index[2][1][1] -= 1
    table.save()
    findings = Findings()
    check_table(env, "db/000099.sst", None, findings, lambda read_bytes: None)
    (found,) = findings.found
    assert found.offset == table.offsets[2]
    assert "does not begin with the commit that the index says" in found.problem


def test_blocks_are_checked_though_the_index_is_damaged(env: MemoryEnv):
    table = ForgedTable(env, TABLE)
    table.blocks[2][3] += 40
    table.save()
    flip(env, TABLE, table.parts.index.offset + 4)
    found = found_in(env)
    assert [offset for _, offset, _ in found] == [table.parts.index.offset, table.offsets[2]]


# --- what a crash leaves is no damage ---------------------------------------------------


def test_the_torn_end_of_a_log_is_noted(env: MemoryEnv):
    torn = records(env, LATER_LOG)[-1].offset
    env.truncate(LATER_LOG, torn + 5)
    report = check_folder(env, "db")
    assert report.findings == ()
    assert report.notes == (f"{LATER_LOG}: the log ends torn at byte {torn}: a crash did that",)


def test_what_lies_behind_a_tear_never_counted(env: MemoryEnv):
    log = LogWriter.create(env, "db", 7)
    log.append(13, [encode_writes({b"k": b"%d" % number}) for number in range(3)])
    first = records(env, LATER_LOG)[0]
    flip(env, LATER_LOG, first.offset + 30)
    report = check_folder(env, "db")
    assert report.findings == ()
    assert report.notes == (f"{LATER_LOG}: the log ends torn at byte 16: a crash did that",)
    assert report.commits == 3, "of the segment before"


def test_files_that_nobody_names_are_noted(env: MemoryEnv):
    # The number of an unfinished table may be that of the live manifest.
    unfinished = unfinished_table_name(2, "0123abcd")
    for name in ("000099.sst", "000001.wal", "MANIFEST-000001", "CURRENT.tmp", "shopping.txt", unfinished):
        write(env, f"db/{name}", b"?")
    report = check_folder(env, "db")
    assert report.findings == ()
    assert [note.split(":")[0] for note in report.notes] == [
        "db/000001.wal",
        f"db/{unfinished}",
        "db/000099.sst",
        "db/CURRENT.tmp",
        "db/MANIFEST-000001",
        "db/shopping.txt",
    ]


def test_what_is_no_database_is_refused():
    env = MemoryEnv()
    with pytest.raises(NotADatabase):
        check_folder(env, "db")
    env.make_directory("db")
    write(env, "db/shopping.txt", b"milk")
    with pytest.raises(NotADatabase):
        check_folder(env, "db")
    assert env.list_directory("db") == ["shopping.txt"]


# --- every byte -------------------------------------------------------------------------


@pytest.mark.parametrize("path", [TABLE, LOG, LATER_LOG, MANIFEST, "db/CURRENT"])
def test_no_byte_can_change_unnoticed(path: str) -> None:
    sound = sound_database()
    for offset in range(len(sound.read_file(path))):
        env = sound.copy()
        flip(env, path, offset)
        report = check_folder(env, "db")
        assert report.findings or report.notes, f"byte {offset} of {path}"
        assert all(f.file == path for f in report.findings[:1]) or report.notes


@pytest.mark.parametrize("path", [TABLE, LATER_LOG, MANIFEST, "db/CURRENT"])
def test_what_the_check_lets_pass_opens_and_what_it_finds_does_not(path: str) -> None:
    """Byte by byte, the check and the engine agree, though they share little code."""
    sound = sound_database()
    for offset in range(0, len(sound.read_file(path)), 3):
        env = sound.copy()
        flip(env, path, offset)
        has_findings = bool(check_folder(env, "db").findings)
        assert has_findings == (not opens_and_reads(env)), f"byte {offset} of {path}"


def opens_and_reads(env: MemoryEnv) -> bool:
    try:
        engine = Engine.open(env, "db", OPTIONS)
    except CorruptionError:
        return False
    try:
        for _ in engine.scan(b"", None, engine.visible_timestamp):
            pass
    except CorruptionError:
        return False
    finally:
        engine.close()
    return True


# --- beside a process that goes on ------------------------------------------------------


def test_a_folder_that_changes_meanwhile_is_checked_again(monkeypatch: pytest.MonkeyPatch):
    """A table is merged away after the manifest was read: gone, and no damage."""
    env = sound_database()
    data = env.read_file(TABLE)
    env.remove(TABLE)
    real = check_module.fingerprint
    asked = 0

    def changing(env: MemoryEnv, folder: str) -> object:
        nonlocal asked
        asked += 1
        if asked == 2:
            write(env, TABLE, data)
        return real(env, folder)

    monkeypatch.setattr(check_module, "fingerprint", changing)
    assert check_folder(env, "db").findings == ()
    assert asked == 3


def test_a_folder_that_never_stands_still_is_refused(monkeypatch: pytest.MonkeyPatch):
    env = sound_database()
    env.remove(TABLE)
    monkeypatch.setattr(check_module, "fingerprint", lambda env, folder: object())
    with pytest.raises(Unavailable, match="changed 5 times"):
        check_folder(env, "db")


def test_an_open_database_is_checked_while_it_is_written(env: MemoryEnv):
    engine = Engine.open(env, "db", OPTIONS)
    for number in range(50):
        engine.commit({b"more%d" % number: b"x" * 50})
        if number % 20 == 0:
            engine.flush()
        assert check_folder(env, "db").findings == ()
    engine.close()


def test_zeros_at_the_end_are_fine_in_the_last_segment_and_damage_in_any_other(env: MemoryEnv):
    end = len(env.read_file("db/000007.wal"))
    write(env, "db/000007.wal", env.read_file("db/000007.wal") + bytes(500))
    report = check_folder(env, "db")
    assert (report.findings, report.notes) == ((), ())
    assert list(read_records(env.read_file("db/000007.wal"), 7))[-1] == ReservedBytes(end, end + 500)

    older = env.read_file("db/000005.wal")
    write(env, "db/000005.wal", older + bytes(500))
    found = found_in(env)
    assert found[0][:2] == ("db/000005.wal", len(older))
    assert "500 zeros" in found[0][2]
    with pytest.raises(CorruptionError):
        Engine.open(env, "db")


def test_a_file_whose_length_cannot_be_told_is_let_go_of() -> None:
    class Unmeasurable:
        is_open = True

        def size(self) -> int:
            raise StorageError("cannot tell the length")

        def close(self) -> None:
            self.is_open = False

    class Disk(MemoryEnv):
        opened: Unmeasurable

        def open_read(self, path: str) -> Unmeasurable:  # type: ignore[override]
            self.opened = Unmeasurable()
            return self.opened

    env = Disk()
    Engine.open(env, "db", StorageOptions()).close()
    with pytest.raises(StorageError, match="cannot tell"):
        fingerprint(env, "db")
    assert not env.opened.is_open
