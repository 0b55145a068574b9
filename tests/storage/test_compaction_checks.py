"""What a child process says of its work is not believed: a version that is missing stops compaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tree_checker import TINY, contents

from ferrisdb.errors import InvariantViolation, StorageError
from ferrisdb.storage import compaction_job
from ferrisdb.storage.compaction_checks import check_ranges
from ferrisdb.storage.compaction_job import CompactionJob, CompactionResult
from ferrisdb.storage.engine import Engine
from ferrisdb.storage.manifest import ManifestEdit
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.version import Rows


def table(smallest: bytes, largest: bytes) -> SimpleNamespace:
    return SimpleNamespace(properties=SimpleNamespace(smallest_key=smallest, largest_key=largest))


@pytest.mark.parametrize(
    ("outputs", "breach"),
    [
        ([(b"b", b"c"), (b"d", b"m")], None),
        ([], None),
        ([(b"b", b"c"), (b"c", b"m")], "disjoint"),
        ([(b"d", b"m"), (b"b", b"c")], "disjoint"),
        ([(b"a", b"c")], "within the range"),
        ([(b"b", b"n")], "within the range"),
    ],
)
def test_outputs_lie_in_order_where_the_inputs_were(
    outputs: list[tuple[bytes, bytes]], breach: str | None
) -> None:
    inputs = SimpleNamespace(inputs=[table(b"f", b"m"), table(b"b", b"g")])
    tables = [table(*found) for found in outputs]
    if breach is None:
        check_ranges(inputs, tables)  # type: ignore[arg-type]
        return
    with pytest.raises(InvariantViolation, match=breach):
        check_ranges(inputs, tables)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", ["read_count", "collected_count"])
def test_a_version_that_nobody_accounts_for_stops_compaction(
    monkeypatch: pytest.MonkeyPatch, count: str
) -> None:
    engine = Engine.open(MemoryEnv(), "db", TINY)
    run = engine._compactor._runner.run

    def forget_one(job: CompactionJob, input_bytes: int) -> CompactionResult:
        result = run(job, input_bytes)
        return replace(result, **{count: getattr(result, count) - 1})

    monkeypatch.setattr(engine._compactor._runner, "run", forget_one)
    rows = {b"%02d" % number: b"x" * 20 for number in range(40)}
    for value in (b"old", b"new"):
        engine.commit(dict.fromkeys(rows, value))
        engine.flush()
    with pytest.raises(StorageError, match="a compaction of 80 versions has read"):
        engine.wait_until_compacted()
    # Nothing has changed, but that all has become slower.
    assert contents(engine) == dict.fromkeys(rows, b"new")
    assert engine.statistics().compactions == 0
    engine.close()


def test_a_table_that_is_not_the_promised_one_stops_compaction(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine.open(MemoryEnv(), "db", TINY)
    run = engine._compactor._runner.run

    def promise_another(job: CompactionJob, input_bytes: int) -> CompactionResult:
        result = run(job, input_bytes)
        return replace(result, tables=[replace(result.tables[0], blocks_checksum=0), *result.tables[1:]])

    monkeypatch.setattr(engine._compactor._runner, "run", promise_another)
    for value in (b"old", b"new"):
        engine.commit({b"a": value, b"b": value})
        engine.flush()
    with pytest.raises(StorageError, match="not the one that was written"):
        engine.wait_until_compacted()
    assert contents(engine) == {b"a": b"new", b"b": b"new"}
    engine.close()


def test_a_table_that_does_not_fit_into_the_tree_stops_compaction(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a bug that writes another key than was read.
    rows = compaction_job.merge_runs

    def misplaced(sources: Iterable[Iterator[Rows]]) -> Iterator[Rows]:
        for keys, timestamps, values in rows(sources):
            yield [b"z" + key for key in keys], timestamps, values

    monkeypatch.setattr(compaction_job, "merge_runs", misplaced)
    engine = Engine.open(MemoryEnv(), "db", TINY)
    for value in (b"old", b"new"):
        engine.commit({b"a": value, b"b": value})
        engine.flush()
    with pytest.raises(StorageError, match="within the range of its inputs"):
        engine.wait_until_compacted()
    assert contents(engine) == {b"a": b"new", b"b": b"new"}
    engine.close()


def test_when_the_manifest_fails_nobody_may_write_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine.open(MemoryEnv(), "db", TINY)
    apply = engine._manifest.apply

    def lost(edit: ManifestEdit) -> None:
        if edit.removed:
            raise StorageError("the manifest is gone")
        apply(edit)

    monkeypatch.setattr(engine._manifest, "apply", lost)
    for value in (b"old", b"new"):
        engine.commit({b"a": value})
        engine.flush()
    with pytest.raises(StorageError, match="the manifest is gone"):
        engine.wait_until_compacted()
    with pytest.raises(StorageError):
        engine.commit({b"a": b"newer"})
    assert contents(engine) == {b"a": b"new"}
    engine.close()
