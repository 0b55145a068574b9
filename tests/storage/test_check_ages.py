"""Of any key a deeper level has only older versions, or a reader would stop too early."""

import version_model as model
from hypothesis import given
from hypothesis import strategies as st

from ferrisdb.storage.check import check_folder
from ferrisdb.storage.check_ages import check_ages, suspects
from ferrisdb.storage.check_findings import Findings
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.file_names import table_name
from ferrisdb.storage.flush import describe_table
from ferrisdb.storage.inspect_manifest import Sum
from ferrisdb.storage.manifest import ManifestEdit, ManifestState
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.options import StorageOptions
from ferrisdb.storage.sstable_writer import write_sstable


def move(engine: Engine, number: int, level: int) -> None:
    (table,) = [table for table in engine._sources.now.tables if table.number == number]
    engine._manifest.apply(ManifestEdit(added=(describe_table(table, number, level),), removed=(number,)))


def two_tables(level_of_the_older: int, level_of_the_newer: int) -> MemoryEnv:
    env = MemoryEnv()
    engine = Engine.open(env, "db", StorageOptions())
    for number in range(2):
        engine.commit({b"a%d" % number: b"v", b"key": b"%d" % number})
        engine.flush()
    newer, older = (table.number for table in engine._sources.now.tables)
    move(engine, older, level_of_the_older)
    move(engine, newer, level_of_the_newer)
    engine.close()
    return env


def test_a_newer_version_below_an_older_one_is_damage():
    (finding,) = check_folder(two_tables(1, 6), "db").findings
    assert finding.file == "db/MANIFEST-000002"
    assert "version 2 of b'key' lies below version 1" in finding.problem
    assert finding.problem.endswith("among tables 4 of level 1, 6 of level 6")


def test_an_older_version_below_a_newer_one_is_as_it_should_be():
    assert check_folder(two_tables(6, 1), "db").findings == ()


@given(st.lists(st.tuples(st.integers(0, 6), model.versions.filter(bool)), min_size=1, max_size=6))
def test_what_is_found_is_what_a_look_at_every_pair_of_versions_finds(drawn):
    seen, tables = set(), []
    for level, versions in drawn:
        if level == 0 or level not in seen:
            tables.append((level, versions))
            seen.add(level)
    env = MemoryEnv()
    env.make_directory("db")
    entries = []
    for number, (level, versions) in enumerate(tables, 1):
        path = f"db/{table_name(number)}"
        found = write_sstable(env, path, model.entries(versions), block_bytes=30)
        entries.append(describe(found, number, level))
    order = sorted(entries, key=lambda entry: (entry.level, -entry.largest_timestamp))
    by_number = {number: versions for number, (_, versions) in enumerate(tables, 1)}

    breaches = set()
    for place, upper in enumerate(order):
        for lower in order[place + 1 :]:
            above, below = by_number[upper.number], by_number[lower.number]
            if any(min(above[key]) <= max(below[key]) for key in above.keys() & below.keys()):
                breaches.add((upper.number, lower.number))

    findings = Findings()
    total = Sum(ManifestState(tables=tuple(entries)), {entry.number: 7 for entry in entries}, ())
    check_ages(env, "db", total, "db/MANIFEST-000001", findings)
    assert bool(findings.found) == bool(breaches)
    read = {entry.number for source in suspects(entries) for entry in source}
    assert {number for pair in breaches for number in pair} <= read


def describe(found, number, level):
    class Table:
        properties = found
        fewest_keys = 1
        ingested_at = 0

    return describe_table(Table(), number, level)
