"""What every store promises (ferrisdb/txn/api.py), tested without knowing which store it is.

`stores` is the list of stores under test. A new store joins it and has no tests of its own
to write for what stands here.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ferrisdb import errors
from ferrisdb.storage.options import Durability, StorageOptions
from ferrisdb.txn.api import IsolationLevel, LockMode, Store, Transaction
from ferrisdb.txn.local import LocalStore
from ferrisdb.txn.local_transaction import LocalTransaction


class SerializableByDefault(LocalStore):
    """All that is promised at snapshot holds at serializable, too."""

    def begin(
        self,
        isolation: IsolationLevel = IsolationLevel.SERIALIZABLE,
        *,
        read_only: bool = False,
        durability: Durability | None = None,
    ) -> LocalTransaction:
        return super().begin(isolation, read_only=read_only, durability=durability)


stores: dict[str, Callable[[Path], Store]] = {
    "local, in memory": lambda folder: LocalStore.in_memory(),
    "local, on disk": lambda folder: LocalStore.open(str(folder / "db")),
    "local, a memtable of 4 KiB": lambda folder: LocalStore.open(
        str(folder / "db"), StorageOptions(memtable_bytes=4096)
    ),
    "local, serializable": lambda folder: SerializableByDefault.in_memory(),
}


@pytest.fixture(params=stores)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = stores[request.param](tmp_path)
    yield opened
    opened.close()


def commit(store: Store, **values: str | None) -> None:
    tx = store.begin()
    for name, value in values.items():
        if value is None:
            tx.delete(name.encode())
        else:
            tx.put(name.encode(), value.encode())
    tx.commit()


def started(store: Store) -> Transaction:
    """A transaction that has read something, so its snapshot stands."""
    tx = store.begin()
    tx.get(b"")
    return tx


def everything(tx: Transaction, **options: bool) -> list[tuple[bytes, bytes]]:
    return list(tx.scan(b"", None, **options))


def in_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


class TestSnapshots:
    def test_a_snapshot_does_not_move(self, store: Store) -> None:
        commit(store, a="old", b="gone later")
        reader = store.begin()
        assert reader.get(b"x") is None
        commit(store, a="new", b=None, c="born later")
        assert reader.get(b"a") == b"old"
        assert everything(reader) == [(b"a", b"old"), (b"b", b"gone later")]
        assert everything(store.begin()) == [(b"a", b"new"), (b"c", b"born later")]

    def test_the_snapshot_is_taken_at_the_first_use(self, store: Store) -> None:
        early, started_early = store.begin(), started(store)
        commit(store, a="new")
        assert early.get(b"a") == b"new"
        assert started_early.get(b"a") is None
        early.put(b"a", b"newer")
        early.commit()

    def test_own_writes_are_read_by_their_writer_only(self, store: Store) -> None:
        commit(store, a="1", b="2")
        writer, stranger = store.begin(), store.begin()
        writer.put(b"a", b"mine")
        writer.delete(b"b")
        writer.put(b"c", b"")
        assert writer.get_many([b"a", b"b", b"c", b"d"]) == [b"mine", None, b"", None]
        assert everything(writer, reverse=True) == [(b"c", b""), (b"a", b"mine")]
        assert everything(stranger) == [(b"a", b"1"), (b"b", b"2")]

    def test_a_scan_is_half_open_and_may_be_limited(self, store: Store) -> None:
        commit(store, a="1", b="2", c="3", d="4")
        tx = store.begin()
        assert [key for key, _ in tx.scan(b"b", b"d")] == [b"b", b"c"]
        assert [key for key, _ in tx.scan(b"b", b"d", reverse=True, limit=1)] == [b"c"]
        assert list(tx.scan(b"d", b"a")) == []

    def test_what_is_rolled_back_never_was(self, store: Store) -> None:
        tx = store.begin()
        tx.put(b"a", b"1")
        tx.rollback()
        tx.rollback()
        assert everything(store.begin()) == []
        commit(store, a="free again")

    def test_the_later_commit_has_the_larger_token(self, store: Store) -> None:
        tokens = []
        for number in range(5):
            tx = store.begin()
            tx.put(b"k", b"%d" % number)
            tokens.append(tx.commit())
        assert tokens == sorted(set(tokens))


class TestConflicts:
    def test_first_updater_wins_when_the_first_has_committed(self, store: Store) -> None:
        commit(store, a="100")
        loser = store.begin()
        loser.get(b"a")
        commit(store, a="110")
        with pytest.raises(errors.SerializationFailure) as caught:
            loser.put(b"a", b"120")
        assert caught.value.retryable
        assert not loser.is_open
        assert store.begin().get(b"a") == b"110"

    @pytest.mark.parametrize("ending", ["commit", "rollback"])
    def test_the_second_writer_waits_for_the_first(self, store: Store, ending: str) -> None:
        commit(store, a="0")
        first, second = started(store), started(store)
        first.put(b"a", b"first")
        outcome: list[str] = []

        def write() -> None:
            try:
                second.put(b"a", b"second")
                second.commit()
                outcome.append("committed")
            except errors.SerializationFailure:
                outcome.append("lost")

        thread = in_thread(write)
        thread.join(0.05)
        assert thread.is_alive(), "the second writer did not wait"
        getattr(first, ending)()
        thread.join(10)
        assert outcome == ["lost" if ending == "commit" else "committed"]

    def test_who_waits_before_its_first_read_sees_what_it_waited_for(self, store: Store) -> None:
        first, second = store.begin(), store.begin()
        first.put(b"a", b"first")
        seen: list[bytes | None] = []

        def lock_then_read() -> None:
            second.lock([b"a"])
            seen.append(second.get(b"a"))
            second.put(b"a", b"second")
            second.commit()

        thread = in_thread(lock_then_read)
        thread.join(0.05)
        first.commit()
        thread.join(10)
        assert seen == [b"first"]
        assert store.begin().get(b"a") == b"second"

    def test_deleting_and_locking_conflict_as_writing_does(self, store: Store) -> None:
        commit(store, a="1")
        deleter, locker = started(store), started(store)
        commit(store, a="2")
        with pytest.raises(errors.SerializationFailure):
            deleter.delete(b"a")
        with pytest.raises(errors.SerializationFailure):
            locker.lock([b"a"])

    def test_a_key_born_after_the_snapshot_is_a_conflict_too(self, store: Store) -> None:
        late = started(store)
        commit(store, a="born")
        with pytest.raises(errors.SerializationFailure):
            late.put(b"a", b"mine")

    def test_reading_never_conflicts(self, store: Store) -> None:
        commit(store, a="1", b="1")
        tx = store.begin()
        tx.get(b"a")
        commit(store, a="2")
        tx.put(b"b", b"2")
        tx.commit()

    def test_what_was_read_under_a_share_lock_stays_true_after_its_reader_committed(
        self, store: Store
    ) -> None:
        commit(store, parent="here")
        killer = started(store)
        reader = store.begin()
        reader.lock([b"parent"], LockMode.SHARE)
        reader.put(b"child", b"of parent")
        reader.commit()
        with pytest.raises(errors.SerializationFailure):
            killer.delete(b"parent")
        commit(store, parent=None)

    def test_what_is_held_whole_and_relied_on_stays_true_likewise(self, store: Store) -> None:
        commit(store, parent="here")
        killer = started(store)
        reader = store.begin()
        reader.lock([b"parent"])
        reader.lock([b"parent"], LockMode.SHARE)
        reader.put(b"child", b"of parent")
        reader.commit()
        with pytest.raises(errors.SerializationFailure):
            killer.delete(b"parent")

    def test_a_share_lock_of_what_has_changed_since_is_a_conflict(self, store: Store) -> None:
        commit(store, parent="here")
        reader = started(store)
        commit(store, parent=None)
        with pytest.raises(errors.SerializationFailure):
            reader.lock([b"parent"], LockMode.SHARE)

    def test_a_deadlock_has_one_victim_and_the_other_goes_on(self, store: Store) -> None:
        commit(store, x="0", y="0")
        a, b = store.begin(), store.begin()
        a.put(b"x", b"a")
        done = threading.Event()

        def other() -> None:
            b.put(b"y", b"b")
            done.set()
            try:
                b.put(b"x", b"b")
                b.commit()
            except errors.Retryable as error:
                failures.append(error)

        failures: list[errors.Error] = []
        thread = in_thread(other)
        assert done.wait(10)
        try:
            a.put(b"y", b"a")
            a.commit()
        except errors.Retryable as error:
            failures.append(error)
        thread.join(10)
        assert not thread.is_alive()
        assert len(failures) == 1


class TestSavepoints:
    def test_going_back_undoes_only_what_came_after(self, store: Store) -> None:
        commit(store, a="0")
        tx = store.begin()
        tx.put(b"a", b"1")
        point = tx.savepoint()
        tx.put(b"a", b"2")
        tx.put(b"b", b"2")
        tx.rollback_to(point)
        assert everything(tx) == [(b"a", b"1")]
        tx.put(b"b", b"3")
        tx.rollback_to(point)
        tx.commit()
        assert everything(store.begin()) == [(b"a", b"1")]


class TestDeletedRanges:
    def test_a_range_goes_for_those_who_begin_later_and_stays_for_older_snapshots(self, store: Store) -> None:
        commit(store, a="1", b="2", c="3", d="4")
        older = started(store)
        tx = store.begin()
        tx.delete_range(b"b", b"d")
        assert everything(older) == everything(started(store))
        tx.commit()
        assert everything(store.begin()) == [(b"a", b"1"), (b"d", b"4")]
        assert store.begin().get_many([b"a", b"b", b"c", b"d"]) == [b"1", None, None, b"4"]
        assert older.get(b"b") == b"2"
        assert len(everything(older)) == 4

    def test_to_the_end_and_an_empty_range(self, store: Store) -> None:
        commit(store, a="1", b="2")
        tx = store.begin()
        tx.delete_range(b"b", b"b")
        tx.delete_range(b"b", b"a")
        assert len(everything(tx)) == 2
        tx.delete_range(b"b", None)
        tx.commit()
        assert everything(store.begin()) == [(b"a", b"1")]

    @pytest.mark.parametrize("reverse", [False, True])
    def test_own_writes_before_it_go_and_those_after_it_stay(self, store: Store, reverse: bool) -> None:
        commit(store, a="1", c="3", e="5")
        tx = store.begin()
        tx.put(b"b", b"before")
        tx.delete(b"c")
        tx.delete_range(b"b", b"e")
        tx.put(b"c", b"after")
        left = [(b"a", b"1"), (b"c", b"after"), (b"e", b"5")]
        assert everything(tx, reverse=reverse) == (left[::-1] if reverse else left)
        assert list(tx.scan(b"b", b"e", reverse=reverse)) == [(b"c", b"after")]
        assert tx.get_many([b"b", b"c", b"e"]) == [None, b"after", b"5"]
        assert tx.get(b"b") is None
        tx.commit()
        assert everything(store.begin()) == left

    def test_a_savepoint_takes_it_back(self, store: Store) -> None:
        commit(store, a="1", b="2", c="3")
        tx = store.begin()
        tx.put(b"b", b"own")
        tx.delete_range(b"c", None)
        point = tx.savepoint()
        tx.delete_range(b"a", b"c")
        tx.put(b"b", b"later")
        tx.rollback_to(point)
        assert everything(tx) == [(b"a", b"1"), (b"b", b"own")]
        tx.commit()
        assert everything(store.begin()) == [(b"a", b"1"), (b"b", b"own")]

    def test_it_conflicts_with_what_was_committed_in_the_range_since(self, store: Store) -> None:
        commit(store, a="1", b="2", x="9")
        for change in ({"b": "3"}, {"b": None}, {"born": "here"}):
            late = started(store)
            commit(store, **change)
            with pytest.raises(errors.SerializationFailure):
                late.delete_range(b"b", b"c")
            assert not late.is_open
        beside = started(store)
        commit(store, x="10")
        beside.delete_range(b"a", b"x")
        beside.commit()
        assert everything(store.begin()) == [(b"x", b"10")]

    def test_writing_into_a_range_that_was_deleted_since_is_a_conflict(self, store: Store) -> None:
        commit(store, a="1")
        writer, locker, deleter, remover = (started(store) for _ in range(4))
        tx = store.begin()
        tx.delete_range(b"a", b"z")
        tx.commit()
        with pytest.raises(errors.SerializationFailure):
            writer.put(b"m", b"was never there")
        with pytest.raises(errors.SerializationFailure):
            locker.lock([b"a"], LockMode.SHARE)
        with pytest.raises(errors.SerializationFailure):
            deleter.delete_range(b"y", None)
        with pytest.raises(errors.SerializationFailure):
            remover.delete(b"a")

    def test_what_was_relied_on_under_a_share_lock_is_not_deleted_by_an_older_snapshot(
        self, store: Store
    ) -> None:
        commit(store, parent="here")
        killer = started(store)
        reader = store.begin()
        reader.lock([b"parent"], LockMode.SHARE)
        reader.put(b"child", b"of parent")
        reader.commit()
        with pytest.raises(errors.SerializationFailure):
            killer.delete_range(b"p", b"q")

    @pytest.mark.parametrize("ending", ["commit", "rollback"])
    def test_it_waits_for_those_who_hold_a_key_of_the_range(self, store: Store, ending: str) -> None:
        commit(store, b="0")
        holder, deleter = started(store), started(store)
        holder.put(b"b", b"mine")
        outcome: list[str] = []

        def delete() -> None:
            try:
                deleter.delete_range(b"a", b"c")
                deleter.commit()
                outcome.append("committed")
            except errors.SerializationFailure:
                outcome.append("lost")

        thread = in_thread(delete)
        thread.join(0.05)
        assert thread.is_alive(), "it did not wait"
        getattr(holder, ending)()
        thread.join(10)
        assert outcome == ["lost" if ending == "commit" else "committed"]

    @pytest.mark.parametrize("ending", ["commit", "rollback"])
    def test_who_writes_into_the_range_waits_for_its_end(self, store: Store, ending: str) -> None:
        deleter, writer = started(store), started(store)
        deleter.delete_range(b"a", b"c")
        outcome: list[str] = []

        def write() -> None:
            try:
                writer.put(b"b", b"mine")
                writer.commit()
                outcome.append("committed")
            except errors.SerializationFailure:
                outcome.append("lost")

        thread = in_thread(write)
        thread.join(0.05)
        assert thread.is_alive(), "the writer did not wait"
        commit(store, c="outside the range")
        getattr(deleter, ending)()
        thread.join(10)
        assert outcome == ["lost" if ending == "commit" else "committed"]

    def test_a_deadlock_over_a_range_has_one_victim(self, store: Store) -> None:
        a, b = store.begin(), store.begin()
        a.put(b"x", b"a")
        holds = threading.Event()
        failures: list[errors.Error] = []

        def other() -> None:
            b.delete_range(b"m", b"n")
            holds.set()
            try:
                b.delete_range(b"w", None)
                b.commit()
            except errors.Retryable as error:
                failures.append(error)

        thread = in_thread(other)
        assert holds.wait(10)
        try:
            a.put(b"m1", b"a")
            a.commit()
        except errors.Retryable as error:
            failures.append(error)
        thread.join(10)
        assert not thread.is_alive()
        assert len(failures) == 1

    def test_it_is_refused_where_writing_is(self, store: Store) -> None:
        tx = store.begin(read_only=True)
        with pytest.raises(errors.ReadOnlyTransaction):
            tx.delete_range(b"a", None)
        tx = store.begin()
        with pytest.raises(errors.KeyTooLarge):
            tx.delete_range(b"k" * (store.limits().key_bytes + 1), None)
        tx.put(b"a", b"still open")
        tx.commit()


class TestRules:
    def test_a_finished_transaction_refuses_work(self, store: Store) -> None:
        tx = store.begin()
        tx.commit()
        assert not tx.is_open
        for use in (lambda: tx.get(b"a"), lambda: tx.put(b"a", b""), tx.commit, tx.savepoint):
            with pytest.raises(errors.NoActiveTransaction):
                use()
        with pytest.raises(errors.NoActiveTransaction):
            tx.scan(b"", None)

    def test_a_read_only_transaction_can_not_write(self, store: Store) -> None:
        tx = store.begin(read_only=True)
        with pytest.raises(errors.ReadOnlyTransaction):
            tx.put(b"a", b"1")
        with pytest.raises(errors.ReadOnlyTransaction):
            tx.delete(b"a")
        with pytest.raises(errors.ReadOnlyTransaction):
            tx.lock([b"a"], LockMode.SHARE)
        assert tx.get(b"a") is None

    @pytest.mark.parametrize("level", IsolationLevel)
    def test_a_transaction_knows_its_level(self, store: Store, level: IsolationLevel) -> None:
        assert store.begin(level).isolation is level

    def test_keys_and_values_past_the_limits_are_refused_and_nothing_is_lost(self, store: Store) -> None:
        limits = store.limits()
        tx = store.begin()
        tx.put(b"a", b"kept")
        with pytest.raises(errors.KeyTooLarge):
            tx.put(b"k" * (limits.key_bytes + 1), b"")
        tx.put(b"k" * limits.key_bytes, b"longest")
        tx.commit()
        assert store.begin().get(b"k" * limits.key_bytes) == b"longest"

    def test_closing_rolls_back_what_is_open_and_refuses_what_comes(self, store: Store) -> None:
        tx = store.begin()
        tx.put(b"a", b"1")
        store.close()
        store.close()
        assert not tx.is_open
        with pytest.raises(errors.InterfaceError):
            store.begin()


def test_money_is_neither_made_nor_lost_whatever_the_schedule(store: Store) -> None:
    """Six threads move money; every snapshot taken meanwhile has the same sum."""
    seed = random.randrange(2**32)
    print("seed", seed)
    accounts = [b"account %d" % number for number in range(10)]
    tx = store.begin()
    for account in accounts:
        tx.put(account, b"100")
    tx.commit()
    sums: list[int] = []
    moved = [0] * 6

    def total() -> int:
        return sum(int(value) for _, value in store.begin(read_only=True).scan(b"account", b"b"))

    def transfers(worker: int) -> None:
        dice = random.Random(seed + worker)
        for _ in range(60):
            source, target = dice.sample(accounts, 2)
            tx = store.begin()
            try:
                amount = dice.randrange(20)
                tx.put(source, b"%d" % (int(tx.get(source) or 0) - amount))
                tx.put(target, b"%d" % (int(tx.get(target) or 0) + amount))
                tx.commit()
                moved[worker] += 1
            except errors.Retryable:
                tx.rollback()
            sums.append(total())

    threads = [threading.Thread(target=transfers, args=(worker,), daemon=True) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert set(sums) == {1000}, f"seed {seed}"
    assert total() == 1000
    assert sum(moved) > 0
