"""Serializable transactions in many threads: the moments between the check, the log and the end."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from test_serializable_graph import Past, has_cycle_through

from ferrisdb import errors
from ferrisdb.storage.group_commit import LogWriteFailed
from ferrisdb.txn.api import IsolationLevel
from ferrisdb.txn.local import LocalStore
from ferrisdb.txn.local_transaction import LocalTransaction

SERIALIZABLE = IsolationLevel.SERIALIZABLE
PATIENCE_S = 20


def reading(store: LocalStore, *keys: bytes) -> LocalTransaction:
    transaction = store.begin(SERIALIZABLE)
    for key in keys:
        transaction.get(key)
    return transaction


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


class SlowLog:
    """Holds the next commit up: before it is logged, or when it is visible already."""

    def __init__(self, store: LocalStore, monkeypatch: pytest.MonkeyPatch, *, is_visible: bool) -> None:
        self.reached = threading.Event()
        self.go_on = threading.Event()
        commit = store._engine.commit
        is_first = iter([True])

        def slow(*arguments: object, **options: object) -> int:
            if not next(is_first, False):
                return commit(*arguments, **options)  # type: ignore[arg-type]
            if not is_visible:
                self.hold()
            timestamp = commit(*arguments, **options)  # type: ignore[arg-type]
            if is_visible:
                self.hold()
            return timestamp

        monkeypatch.setattr(store._engine, "commit", slow)

    def hold(self) -> None:
        self.reached.set()
        assert self.go_on.wait(PATIENCE_S)


def test_who_waits_for_the_disk_counts_and_the_victim_hears_of_it_when_that_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = LocalStore.in_memory()
    first, second = reading(store, b"a"), reading(store, b"b")
    first.put(b"b", b"1")
    second.put(b"a", b"1")
    log = SlowLog(store, monkeypatch, is_visible=False)
    writer = in_thread(first.commit)
    assert log.reached.wait(PATIENCE_S)
    outcome: list[object] = []

    def commit_again_and_again() -> None:
        try:
            second.commit()
        except errors.SerializationFailure as error:
            outcome.append(error.conflict)
        # At once, without a pause: what it met before is visible by now.
        retry = reading(store, b"b")
        retry.put(b"a", b"1")
        retry.commit()
        outcome.append("committed")

    victim = in_thread(commit_again_and_again)
    victim.join(0.05)
    assert victim.is_alive()
    assert outcome == []
    log.go_on.set()
    for thread in (writer, victim):
        thread.join(PATIENCE_S)
    assert len(outcome) == 2
    assert outcome[1] == "committed"
    assert store._graph.node_count == 0
    store.close()


def test_who_is_visible_but_has_not_heard_of_it_comes_before_those_who_see_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = LocalStore.in_memory()
    first = reading(store, b"y")
    first.put(b"x", b"1")
    log = SlowLog(store, monkeypatch, is_visible=True)
    writer = in_thread(first.commit)
    assert log.reached.wait(PATIENCE_S)
    second = store.begin(SERIALIZABLE)
    assert second.get(b"x") == b"1"
    second.put(b"y", b"1")
    second.commit()
    log.go_on.set()
    writer.join(PATIENCE_S)
    store.close()


def test_it_leads_to_those_who_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """P is visible. R sees it, and reads what T overwrites; T has read what P has overwritten."""
    store = LocalStore.in_memory()
    t, p = reading(store, b"x"), store.begin(SERIALIZABLE)
    p.put(b"x", b"1")
    log = SlowLog(store, monkeypatch, is_visible=True)
    writer = in_thread(p.commit)
    assert log.reached.wait(PATIENCE_S)
    reader = reading(store, b"x", b"y")
    reader.commit()
    t.put(b"y", b"1")
    refused: list[errors.SerializationFailure] = []

    def commit() -> None:
        try:
            t.commit()
        except errors.SerializationFailure as error:
            refused.append(error)

    victim = in_thread(commit)
    log.go_on.set()
    for thread in (writer, victim):
        thread.join(PATIENCE_S)
    assert [step.kind for error in refused for step in error.conflict.steps] == ["rw", "wr", "rw"]  # type: ignore[union-attr]
    store.close()


@pytest.mark.parametrize("is_certain", [True, False], ids=["not written", "nobody knows"])
def test_a_commit_that_fails_is_taken_out_again_unless_nobody_knows(
    monkeypatch: pytest.MonkeyPatch, is_certain: bool
) -> None:
    store = LocalStore.in_memory()
    first, second, third = reading(store, b"a"), reading(store, b"b"), reading(store)
    third.get(b"c")
    first.put(b"b", b"1")
    second.put(b"a", b"1")
    failure = errors.StorageError("full") if is_certain else LogWriteFailed("torn")

    def failing(*arguments: object, **options: object) -> int:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(store._engine, "commit", failing)
        with pytest.raises(errors.StorageError if is_certain else errors.CommitUnknown):
            first.commit()
    if is_certain:
        second.commit()
    else:
        with pytest.raises(errors.SerializationFailure):
            second.commit()
    third.commit()
    assert store._graph.node_count == (0 if is_certain else 1)
    assert not store._graph._snapshots
    store.close()


KEYS = [b"%d" % number for number in range(8)]


def test_what_many_threads_commit_has_no_cycle(tmp_path: Path) -> None:
    """On a disk, so that commits overlap; drawn as in test_serializable_graph when all is over."""
    seed = random.randrange(2**32)
    print("seed", seed)
    store = LocalStore.open(str(tmp_path / "db"))
    committed: list[Past] = []
    refused = [0]

    def one(dice: random.Random) -> None:
        past = Past(store.begin(SERIALIZABLE, read_only=dice.random() < 0.2))
        transaction = past.transaction
        try:
            for key in dice.sample(KEYS, 2):
                transaction.get(key)
                past.reads.add(key)
            if not transaction.is_read_only:
                key = dice.choice(KEYS)
                transaction.put(key, b"")
                past.writes.add(key)
            past.committed_at = int(transaction.commit())
            past.snapshot = transaction.snapshot or 0
            committed.append(past)
        except errors.SerializationFailure as error:
            refused[0] += error.conflict is not None and error.conflict.kind == "cycle"
        except errors.Retryable:
            pass

    def many(worker: int) -> None:
        dice = random.Random(seed + worker)
        for _ in range(60):
            one(dice)

    threads = [in_thread(lambda worker=worker: many(worker)) for worker in range(8)]
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    print(f"{len(committed)} committed, {refused[0]} refused for a cycle")
    assert not any(has_cycle_through(past, committed) for past in committed), f"seed {seed}"
    assert store._graph.node_count == 0
    assert len(committed) > 100
    store.close()
