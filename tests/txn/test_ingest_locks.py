"""An ingest is a transaction that writes each of its keys: it waits like one and conflicts like one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ferrisdb import errors
from ferrisdb.storage.manifest import Manifest
from ferrisdb.storage.options import StorageOptions
from ferrisdb.txn.api import LockMode
from ferrisdb.txn.local import LocalStore

PAIRS = [(b"c", b"ingested"), (b"f", b"ingested"), (b"k", b"ingested")]
WAIT_S = 20.0  # Long beyond doubt.


@pytest.fixture(params=["in memory", "on disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore.in_memory() if request.param == "in memory" else LocalStore.open(str(tmp_path / "db"))
    yield store
    store.close()


@dataclass
class Asked:
    """Work in a thread of its own."""

    thread: threading.Thread
    outcome: list[object]

    def result(self) -> object:
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive(), "it hangs"
        return self.outcome[0]


def ask(work: Callable[[], object]) -> Asked:
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(work())
        except errors.Error as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return Asked(thread, outcome)


def waits(store: LocalStore, asked: Asked) -> bool:
    """Return once it sleeps for a lock, or is done; whether it sleeps."""
    while asked.thread.is_alive():
        if store._locks._ranges.waiting or store._locks._queues:
            return True
        time.sleep(0.001)
    return False


def committed(store: LocalStore) -> dict[bytes, bytes]:
    with_snapshot = store.begin(read_only=True)
    found = dict(with_snapshot.scan(b"", None))
    with_snapshot.rollback()
    return found


@pytest.mark.parametrize("held", ["c", "d", "k", "shared", "range"])
def test_it_waits_for_who_holds_a_key_between_its_first_and_its_last(store: LocalStore, held: str) -> None:
    tx = store.begin()
    if held == "range":
        tx.delete_range(b"a", b"d")
    elif held == "shared":
        tx.lock([b"f"], LockMode.SHARE)
    else:
        tx.put(held.encode(), b"theirs")
    asked = ask(lambda: store.ingest(PAIRS))
    assert waits(store, asked)
    assert committed(store) == {}
    tx.commit()
    assert asked.result() == 3
    # It came later, so it is newer.
    expected = dict(PAIRS) | ({b"d": b"theirs"} if held == "d" else {})
    assert committed(store) == expected


@pytest.mark.parametrize("key", [b"b", b"k\0", b"z"])
def test_keys_beside_it_are_not_its_business(store: LocalStore, key: bytes) -> None:
    tx = store.begin()
    tx.put(key, b"theirs")
    assert store.ingest(PAIRS) == 3
    tx.commit()
    assert committed(store) == {**dict(PAIRS), key: b"theirs"}


def test_who_writes_such_a_key_meanwhile_waits_and_then_has_a_snapshot_that_is_too_old(
    store: LocalStore,
) -> None:
    holder = store.begin()
    holder.put(b"f", b"first")
    late = store.begin()
    late.get(b"x")
    ingest = ask(lambda: store.ingest(PAIRS))
    assert waits(store, ingest)
    writer = ask(lambda: late.put(b"c", b"late"))
    while len(store._locks._queues) == 0 and writer.thread.is_alive():
        time.sleep(0.001)
    assert writer.thread.is_alive()
    holder.rollback()
    assert ingest.result() == 3
    assert isinstance(writer.result(), errors.SerializationFailure)
    assert committed(store) == dict(PAIRS)


def test_an_older_snapshot_may_not_write_what_was_ingested_since(store: LocalStore) -> None:
    old, deleter, elsewhere = store.begin(), store.begin(), store.begin()
    assert old.get(b"c") is deleter.get(b"c") is elsewhere.get(b"c") is None
    store.ingest(PAIRS)
    assert old.get(b"c") is None
    with pytest.raises(errors.SerializationFailure):
        old.put(b"c", b"lost update")
    with pytest.raises(errors.SerializationFailure):
        deleter.delete_range(b"b", b"d")
    # d lies between its keys, and it did not write that one.
    elsewhere.put(b"d", b"fine")
    elsewhere.commit()
    assert committed(store) == {**dict(PAIRS), b"d": b"fine"}


def test_a_thread_does_not_wait_for_its_own_transaction(store: LocalStore) -> None:
    tx = store.begin()
    tx.put(b"d", b"mine")
    with pytest.raises(errors.LockNotAvailable):
        store.ingest(PAIRS)
    tx.commit()
    assert committed(store) == {b"d": b"mine"}
    assert store.statistics().ingested_tables == 0
    assert store.ingest(PAIRS) == 3


def test_an_ingest_that_failed_holds_nothing(store: LocalStore) -> None:
    with pytest.raises(errors.InvalidParameterValue):
        store.ingest(PAIRS[::-1])
    tx = store.begin()
    tx.put(b"d", b"theirs")
    tx.commit()
    assert store.ingest(PAIRS) == 3
    other = store.begin()
    other.put(b"c", b"theirs")
    other.commit()


def test_closing_ends_the_wait(store: LocalStore) -> None:
    tx = store.begin()
    tx.put(b"d", b"theirs")
    asked = ask(lambda: store.ingest(PAIRS))
    assert waits(store, asked)
    store.close()
    assert isinstance(asked.result(), errors.InterfaceError)


def test_a_manifest_that_fails_leaves_the_outcome_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore.open(str(tmp_path / "db"))
    before = store.begin()
    before.put(b"c", b"old")
    before.commit()
    store.flush()

    def fail(*_: object) -> None:
        raise errors.StorageError("the disk is on fire")

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "_append", fail)
        with pytest.raises(errors.CommitUnknown, match="on fire"):
            store.ingest(PAIRS)
    assert committed(store) == {b"c": b"old"}
    refused = store.begin()
    refused.put(b"x", b"")
    with pytest.raises(errors.StorageError):
        refused.commit()
    store.close()
    again = LocalStore.open(str(tmp_path / "db"))
    assert committed(again) == {b"c": b"old"}
    assert again.ingest(PAIRS) == 3
    again.close()


def test_sums_hold_while_ingests_and_transactions_meet(store: LocalStore) -> None:
    """Each ingest replaces all accounts by others of the same sum; transfers move money between."""
    accounts = [b"account%02d" % number for number in range(8)]
    store.ingest([(account, b"100") for account in accounts])
    is_over = threading.Event()
    sums: list[int] = []

    def transfer() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            source, target = accounts[number % 8], accounts[(number * 3 + 1) % 8]
            if source == target:
                continue
            tx = store.begin()
            try:
                amounts = [int(tx.get(account) or b"0") for account in (source, target)]
                tx.put(source, b"%d" % (amounts[0] - 1))
                tx.put(target, b"%d" % (amounts[1] + 1))
                tx.commit()
            except errors.Retryable:
                tx.rollback()

    def read() -> None:
        while not is_over.is_set():
            sums.append(sum(map(int, committed(store).values())))

    threads = [threading.Thread(target=work) for work in (transfer, transfer, read)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(25):
            amounts = [100 + turn, 100 - turn] * 4
            store.ingest(
                [(account, b"%d" % amount) for account, amount in zip(accounts, amounts, strict=True)]
            )
    finally:
        is_over.set()
        for thread in threads:
            thread.join(WAIT_S)
    assert set(sums) <= {800}
    assert sum(map(int, committed(store).values())) == 800


def test_an_ingest_goes_on_beside_commits_with_tiny_tables(tmp_path: Path) -> None:
    options = StorageOptions(
        memtable_bytes=2_000, table_bytes=500, block_bytes=100, compaction_start_tables=2
    )
    store = LocalStore.open(str(tmp_path / "db"), options)

    def commit(first: int) -> int:
        for number in range(first, first + 60):
            tx = store.begin()
            tx.put(b"own%04d" % number, b"x" * 40)
            tx.commit()
        return first

    committers = [ask(lambda first=first: commit(first)) for first in (0, 1000)]  # type: ignore[misc]
    for turn in range(10):
        store.ingest((b"row%04d" % number, b"%d" % turn) for number in range(turn, turn + 50))
    assert [asked.result() for asked in committers] == [0, 1000]
    store.wait_until_compacted()
    expected = {b"row%04d" % number: b"%d" % min(number, 9) for number in range(59)}
    expected |= {b"own%04d" % (first + number): b"x" * 40 for first in (0, 1000) for number in range(60)}
    assert committed(store) == expected
    store.close()
    again = LocalStore.open(str(tmp_path / "db"), options)
    assert committed(again) == expected
    again.close()
