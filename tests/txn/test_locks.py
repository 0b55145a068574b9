"""Locks: who waits, who is woken, and which waits are refused because they would never end."""

from __future__ import annotations

import random
import threading
import time

import pytest

from ferrisdb import errors
from ferrisdb.txn import share_traces
from ferrisdb.txn.api import LockMode, Waiting
from ferrisdb.txn.locks import LockOwner, LockTable
from ferrisdb.txn.pair_locks import hold_pairs

SHARE, EXCLUSIVE = LockMode.SHARE, LockMode.EXCLUSIVE


class Holder:
    """A transaction with a thread of its own, as a schedule needs it."""

    def __init__(self, table: LockTable, number: int) -> None:
        self.table = table
        self.owner = LockOwner(number)
        self.owner.thread_id = -number
        self.error: errors.Error | None = None
        self.thread: threading.Thread | None = None

    def take(self, key: bytes, mode: LockMode = EXCLUSIVE) -> None:
        self.table.acquire(self.owner, key, mode)

    def wait_for(self, key: bytes, mode: LockMode = EXCLUSIVE) -> None:
        """Ask in a thread, and return once that thread is asleep."""
        self.thread = threading.Thread(target=self._ask, args=(key, mode), daemon=True)
        self.thread.start()
        while self.owner.waiting is None and self.thread.is_alive():
            time.sleep(0.001)

    def _ask(self, key: bytes, mode: LockMode) -> None:
        try:
            self.take(key, mode)
        except errors.Error as error:
            self.error = error

    def wait_for_pair(self, first: bytes, second: bytes) -> None:
        """As `wait_for`."""
        given = (self.table, self.owner, [(first, second)], Waiting.WAIT)
        self.thread = threading.Thread(target=hold_pairs, args=given, daemon=True)
        self.thread.start()
        while self.owner.waiting is None and self.thread.is_alive():
            time.sleep(0.001)

    def wait_for_range(self, lo: bytes, hi: bytes | None) -> None:
        """As `wait_for`."""
        self.thread = threading.Thread(target=self._ask_range, args=(lo, hi), daemon=True)
        self.thread.start()
        while self.owner.waiting is None and self.thread.is_alive():
            time.sleep(0.001)

    def _ask_range(self, lo: bytes, hi: bytes | None) -> None:
        try:
            self.table.acquire_range(self.owner, lo, hi)
        except errors.Error as error:
            self.error = error

    def is_waiting(self) -> bool:
        return self.owner.waiting is not None

    def woken(self) -> None:
        assert self.thread is not None
        self.thread.join(10)
        assert not self.thread.is_alive(), "the waiter was never woken"

    def end(self, commit_timestamp: int | None = None) -> None:
        self.table.release_all(self.owner, commit_timestamp)


def circle(error: errors.DeadlockDetected) -> list[tuple[int | None, bytes, int | None]]:
    """Who waits, for which key, and for whom."""
    assert error.conflict is not None
    assert error.conflict.kind == "deadlock"
    return [(step.from_transaction, step.what.lo, step.to_transaction) for step in error.conflict.steps]


@pytest.fixture
def table() -> LockTable:
    return LockTable(lambda: 0)


def holders(table: LockTable, count: int) -> list[Holder]:
    return [Holder(table, number) for number in range(1, count + 1)]


def test_a_second_writer_waits_until_the_first_ends(table: LockTable) -> None:
    first, second = holders(table, 2)
    first.take(b"row")
    second.wait_for(b"row")
    assert second.is_waiting()

    first.end()
    second.woken()

    assert second.error is None
    assert b"row" in second.owner.exclusive_keys


def test_sharers_stand_side_by_side_and_a_writer_waits_for_all_of_them(table: LockTable) -> None:
    a, b, writer = holders(table, 3)
    a.take(b"row", SHARE)
    b.take(b"row", SHARE)
    writer.wait_for(b"row")

    a.end()
    assert writer.is_waiting()
    b.end()
    writer.woken()

    assert b"row" in writer.owner.exclusive_keys


def test_a_new_sharer_does_not_overtake_a_waiting_writer(table: LockTable) -> None:
    reader, writer, late_reader = holders(table, 3)
    reader.take(b"row", SHARE)
    writer.wait_for(b"row")
    late_reader.wait_for(b"row", SHARE)
    assert late_reader.is_waiting()

    reader.end()
    writer.woken()
    assert late_reader.is_waiting()
    writer.end()
    late_reader.woken()


def test_a_lone_sharer_may_write_at_once(table: LockTable) -> None:
    (only,) = holders(table, 1)
    only.take(b"row", SHARE)
    only.take(b"row", EXCLUSIVE)
    only.end()
    (next_one,) = holders(table, 1)
    next_one.take(b"row")


def test_a_sharer_that_wants_to_write_goes_before_those_who_came_later(table: LockTable) -> None:
    a, b, stranger = holders(table, 3)
    a.take(b"row", SHARE)
    b.take(b"row", SHARE)
    stranger.wait_for(b"row")
    a.wait_for(b"row")

    b.end()
    a.woken()

    assert a.error is None
    assert stranger.is_waiting()
    a.end()
    stranger.woken()


@pytest.mark.parametrize("half", [b"name", b"row"])
def test_of_a_pair_neither_is_held_while_the_other_is_waited_for(table: LockTable, half: bytes) -> None:
    # Given somebody who holds one half, another who wants both, and a third behind him
    holder, waiter, third = holders(table, 3)
    holder.take(half)
    assert hold_pairs(table, third.owner, [(b"name", b"row")], Waiting.SKIP_LOCKED)
    assert not third.owner.exclusive_keys
    waiter.wait_for_pair(b"name", b"row")
    third.wait_for_pair(b"name", b"row")

    # When the holder wants the other half, too, then that is no deadlock
    assert not hold_pairs(table, holder.owner, [(b"name", b"row")], Waiting.NOWAIT)

    # And each has both in the end, and leaves nothing
    holder.end()
    for each in (waiter, third):
        each.woken()
        assert each.owner.exclusive_keys == {b"name", b"row"}
        each.end()
    assert not table._exclusive
    assert not table._queues


def test_two_that_wait_for_each_other_are_found_when_the_second_asks(table: LockTable) -> None:
    a, b = holders(table, 2)
    a.take(b"x")
    b.take(b"y")
    a.wait_for(b"y")

    with pytest.raises(errors.DeadlockDetected) as caught:
        b.take(b"x")

    assert circle(caught.value) == [(2, b"x", 1), (1, b"y", 2)]
    assert a.is_waiting()
    b.end()
    a.woken()


def test_two_sharers_that_both_want_to_write_are_a_deadlock(table: LockTable) -> None:
    a, b = holders(table, 2)
    a.take(b"row", SHARE)
    b.take(b"row", SHARE)
    a.wait_for(b"row")
    with pytest.raises(errors.DeadlockDetected):
        b.take(b"row")
    b.end()
    a.woken()
    assert a.error is None


def test_a_cycle_through_a_queue_is_found(table: LockTable) -> None:
    a, b, c = holders(table, 3)
    a.take(b"x", SHARE)
    c.take(b"y")
    b.wait_for(b"x")  # b waits for a
    c.wait_for(b"x", SHARE)  # c could share with a, but stands behind b
    with pytest.raises(errors.DeadlockDetected) as caught:
        a.take(b"y")  # a waits for c, c for b, b for a
    assert circle(caught.value) == [(1, b"y", 3), (3, b"x", 2), (2, b"x", 1)]
    a.end()
    b.woken()
    b.end()
    c.woken()


def test_waiting_for_a_transaction_of_the_same_thread_is_refused(table: LockTable) -> None:
    first, second = holders(table, 2)
    second.owner.thread_id = first.owner.thread_id
    first.take(b"row")
    with pytest.raises(errors.LockNotAvailable, match="open in this same thread"):
        second.take(b"row")
    first.end()
    second.take(b"row")


def test_a_refused_request_leaves_nothing_behind(table: LockTable) -> None:
    a, b, c = holders(table, 3)
    a.take(b"x")
    b.take(b"y")
    a.wait_for(b"y")
    with pytest.raises(errors.DeadlockDetected):
        b.take(b"x")
    b.end()
    a.woken()
    a.end()
    c.take(b"x")
    c.take(b"y")


def test_closing_refuses_those_who_wait(table: LockTable) -> None:
    a, b = holders(table, 2)
    a.take(b"row")
    b.wait_for(b"row")
    table.close()
    b.woken()
    assert isinstance(b.error, errors.InterfaceError)


def test_a_committed_share_lock_leaves_its_commit_behind(table: LockTable) -> None:
    (reader,) = holders(table, 1)
    reader.take(b"parent", SHARE)
    reader.end(commit_timestamp=7)
    assert table.share_trace(b"parent") == 7
    assert table.share_trace(b"other") == 0


def test_traces_stay_bounded_and_err_only_towards_newer(
    table: LockTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share_traces, "MAX_SHARE_TRACES", 10)
    for timestamp in range(1, 101):
        holder = Holder(table, timestamp)
        holder.take(b"parent %d" % timestamp, SHARE)
        holder.end(commit_timestamp=timestamp)
        assert len(table._traces) <= 11
    for timestamp in range(1, 101):
        assert table.share_trace(b"parent %d" % timestamp) >= timestamp


def test_the_trace_of_a_range_is_at_least_that_of_each_key_in_it(
    table: LockTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share_traces, "MAX_SHARE_TRACES", 10)
    # Who committed first may release last: 5 comes when all up to 9 have been merged.
    for timestamp in (*range(6, 18), 5):
        holder = Holder(table, timestamp)
        holder.take(b"parent %02d" % timestamp, SHARE)
        holder.end(commit_timestamp=timestamp)
    traces = [table.share_trace(b"parent %02d" % number) for number in range(5, 9)]
    assert table.share_trace_in(b"parent 05", b"parent 09") >= max(traces)


def test_whatever_the_schedule_nobody_sleeps_for_ever_and_no_two_hold_the_same_key() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    table = LockTable(lambda: 0)
    held: dict[bytes, list[tuple[int, LockMode]]] = {bytes([k]): [] for k in range(4)}
    guard = threading.Lock()
    clashes: list[str] = []

    def client(number: int) -> None:
        dice = random.Random(seed + number)
        for turn in range(150):
            owner = LockOwner(number * 1000 + turn)
            mine: dict[bytes, LockMode] = {}
            try:
                for _ in range(dice.randrange(1, 4)):
                    key, mode = bytes([dice.randrange(4)]), dice.choice((SHARE, EXCLUSIVE))
                    table.acquire(owner, key, mode)
                    with guard:
                        others = [m for n, m in held[key] if n != owner.id]
                        if others and (mode is EXCLUSIVE or EXCLUSIVE in others):
                            clashes.append(f"{key!r}: {owner.id} {mode} beside {held[key]}")
                        held[key].append((owner.id, mode))
                    mine[key] = mode
            except errors.DeadlockDetected:
                pass
            finally:
                with guard:
                    for key in mine:
                        held[key] = [entry for entry in held[key] if entry[0] != owner.id]
                table.release_all(owner, None)

    threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), f"asleep for ever, seed {seed}"
    assert not clashes, f"seed {seed}"
    assert not table._exclusive
    assert not table._shared
    assert not table._queues


# --- not waiting, and not for ever -----------------------------------------------------------


def test_nowait_is_refused_where_it_would_wait_and_skip_locked_passes_on(table: LockTable) -> None:
    holder, other = holders(table, 2)
    holder.take(b"row")
    with pytest.raises(errors.LockNotAvailable):
        table.acquire(other.owner, b"row", SHARE, Waiting.NOWAIT)
    assert table.acquire(other.owner, b"row", SHARE, Waiting.SKIP_LOCKED) is False
    assert table.acquire(other.owner, b"free", EXCLUSIVE, Waiting.SKIP_LOCKED) is True
    assert table.acquire(holder.owner, b"row", SHARE, Waiting.NOWAIT) is True
    holder.end()
    assert table.acquire(other.owner, b"row", SHARE, Waiting.NOWAIT) is True


def test_a_key_for_which_somebody_waits_is_not_free(table: LockTable) -> None:
    reader, writer, late = holders(table, 3)
    reader.take(b"row", SHARE)
    writer.wait_for(b"row")
    assert table.acquire(late.owner, b"row", SHARE, Waiting.SKIP_LOCKED) is False
    reader.end()
    writer.woken()


def test_a_wait_that_takes_too_long_ends_and_those_behind_it_go_on(table: LockTable) -> None:
    reader, writer, late = holders(table, 3)
    reader.take(b"row", SHARE)
    writer.owner.lock_timeout_s = 0.05
    writer.wait_for(b"row")
    late.wait_for(b"row", SHARE)
    writer.woken()
    assert isinstance(writer.error, errors.LockNotAvailable)
    assert writer.error.detail == "it waited for transaction 1"
    assert not writer.error.retryable
    # The writer was all that stood between the two sharers.
    late.woken()
    assert late.error is None
    assert not table._queues


def test_a_range_gives_up_as_a_key_does(table: LockTable) -> None:
    writer, deleter, late = holders(table, 3)
    writer.take(b"c")
    deleter.owner.lock_timeout_s = 0.05
    deleter.wait_for_range(b"a", b"m")
    late.wait_for(b"f")
    deleter.woken()
    assert isinstance(deleter.error, errors.LockNotAvailable)
    late.woken()
    assert not table._ranges.waiting


def test_a_lock_that_is_granted_as_the_time_runs_out_is_held(table: LockTable) -> None:
    """The alarm has gone off, and before it gets the mutex the holder has ended."""
    holder, waiter = holders(table, 2)
    holder.take(b"row")
    waiter.wait_for(b"row")
    asleep = waiter.owner.waiting
    assert asleep is not None
    holder.end()
    waiter.woken()
    table._give_up(asleep)
    assert b"row" in waiter.owner.exclusive_keys


def test_timeouts_and_grants_meet_and_no_two_hold_the_same_key() -> None:
    """Many wait for one key, each about as long as it is held."""
    table = LockTable(lambda: 0)
    inside: list[int] = []
    crowd: list[int] = []
    timeouts: list[int] = []

    def client(number: int) -> None:
        dice = random.Random(number)
        for turn in range(60):
            owner = LockOwner(number * 1000 + turn)
            owner.lock_timeout_s = dice.choice((0.0, 0.0005, 0.002))
            try:
                table.acquire(owner, b"row", EXCLUSIVE)
            except errors.LockNotAvailable:
                timeouts.append(owner.id)
                assert not owner.exclusive_keys
            else:
                inside.append(owner.id)
                time.sleep(0.0005)
                crowd.append(len(inside))
                inside.remove(owner.id)
            finally:
                table.release_all(owner, None)

    threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), "asleep for ever"
    assert set(crowd) == {1}
    assert not table._exclusive
    assert not table._queues
    assert timeouts


# --- ranges ---------------------------------------------------------------------------------


def test_a_range_waits_for_every_key_of_it_and_then_keeps_them_all(table: LockTable) -> None:
    sharer, writer, outside, deleter, late = holders(table, 5)
    sharer.take(b"c", SHARE)
    writer.take(b"d")
    outside.take(b"m")
    deleter.wait_for_range(b"c", b"m")
    sharer.end()
    assert deleter.is_waiting()
    writer.end()
    deleter.woken()
    late.wait_for(b"k", SHARE)
    assert late.is_waiting()
    deleter.end()
    late.woken()
    assert late.error is None


def test_who_comes_later_does_not_overtake_a_range_that_waits(table: LockTable) -> None:
    writer, deleter, late, second = holders(table, 4)
    writer.take(b"c")
    deleter.wait_for_range(b"a", b"m")
    late.wait_for(b"f")
    second.wait_for_range(b"f", None)
    writer.end()
    deleter.woken()
    assert late.is_waiting()
    assert second.is_waiting()
    deleter.end()
    late.woken()
    assert second.is_waiting()
    late.end()
    second.woken()


def test_who_is_in_the_way_of_a_range_takes_another_key_of_it(table: LockTable) -> None:
    """Were he to stand behind the range that waits for him, nobody would ever go on."""
    writer, deleter = holders(table, 2)
    writer.take(b"c")
    deleter.wait_for_range(b"a", b"m")
    writer.take(b"d")
    writer.table.acquire_range(writer.owner, b"x", None)
    writer.end()
    deleter.woken()
    assert deleter.error is None


def test_a_range_holds_its_keys_for_its_owner_whoever_waits_for_them(table: LockTable) -> None:
    deleter, writer = holders(table, 2)
    table.acquire_range(deleter.owner, b"a", b"m")
    writer.wait_for(b"c")
    deleter.take(b"c")
    deleter.take(b"c", SHARE)
    assert writer.is_waiting()
    deleter.end()
    writer.woken()
    assert writer.error is None


def test_who_is_in_the_way_of_a_range_takes_a_range_that_nobody_holds(table: LockTable) -> None:
    writer, deleter = holders(table, 2)
    writer.take(b"c")
    deleter.wait_for_range(b"a", b"m")
    table.acquire_range(writer.owner, b"b", b"z")
    table.acquire_range(writer.owner, b"", None)
    writer.end()
    deleter.woken()
    assert deleter.error is None


def test_who_is_in_the_way_of_a_range_goes_before_those_behind_it(table: LockTable) -> None:
    writer, deleter, late = holders(table, 3)
    writer.take(b"c")
    deleter.wait_for_range(b"a", b"m")
    late.wait_for(b"d")
    writer.take(b"d")
    writer.end()
    deleter.woken()
    assert late.is_waiting()
    deleter.end()
    late.woken()
    assert (deleter.error, late.error) == (None, None)


def test_a_range_that_is_given_up_lets_those_behind_it_go_on(table: LockTable) -> None:
    writer, deleter, late = holders(table, 3)
    writer.take(b"c")
    deleter.wait_for_range(b"a", b"m")
    late.wait_for(b"f")
    deleter.end()
    late.woken()
    assert late.error is None
    writer.end()


def test_ranges_that_touch_nothing_of_each_other_stand_side_by_side(table: LockTable) -> None:
    a, b = holders(table, 2)
    table.acquire_range(a.owner, b"a", b"c")
    table.acquire_range(b.owner, b"c", None)
    table.acquire_range(a.owner, b"a", b"b")
    assert len(table._ranges.held) == 2
    a.end()
    b.end()
    assert table._ranges.held == []


def test_two_ranges_that_wait_for_each_other_are_a_deadlock(table: LockTable) -> None:
    a, b = holders(table, 2)
    a.owner.statement, b.owner.statement = "DROP TABLE one", "DROP TABLE two"
    table.acquire_range(a.owner, b"a", b"c")
    table.acquire_range(b.owner, b"m", None)
    a.wait_for_range(b"x", b"z")
    with pytest.raises(errors.DeadlockDetected) as caught:
        table.acquire_range(b.owner, b"b", b"d")
    assert caught.value.detail is not None
    assert caught.value.detail.splitlines() == [
        "transaction 2 waits for [b'b', b'd'), which transaction 1 holds",
        "  transaction 2: DROP TABLE two",
        "  transaction 1: DROP TABLE one",
        "transaction 1 waits for [b'x', b'z'), which transaction 2 holds",
        "  transaction 1: DROP TABLE one",
        "  transaction 2: DROP TABLE two",
    ]
    b.end()
    a.woken()
    assert a.error is None


def test_closing_refuses_those_who_wait_for_a_range(table: LockTable) -> None:
    a, b = holders(table, 2)
    a.take(b"row")
    b.wait_for_range(b"", None)
    table.close()
    b.woken()
    assert isinstance(b.error, errors.InterfaceError)


def test_whatever_the_schedule_ranges_and_keys_exclude_each_other_and_nobody_sleeps_for_ever() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    table = LockTable(lambda: 0)
    guard = threading.Lock()
    held: list[tuple[int, int, int, bool]] = []
    clashes: list[object] = []

    def client(number: int) -> None:
        dice = random.Random(seed + number)
        for turn in range(120):
            owner = LockOwner(number * 1000 + turn)
            try:
                for _ in range(dice.randrange(1, 4)):
                    lo = dice.randrange(8)
                    if dice.random() < 0.3:
                        hi = lo + dice.randrange(1, 4)
                        table.acquire_range(owner, bytes([lo]), bytes([hi]))
                        taken = (owner.id, lo, hi, True)
                    else:
                        mode = dice.choice((SHARE, EXCLUSIVE))
                        table.acquire(owner, bytes([lo]), mode)
                        taken = (owner.id, lo, lo + 1, mode is EXCLUSIVE)
                    with guard:
                        for other in held:
                            overlap = other[1] < taken[2] and taken[1] < other[2]
                            if other[0] != owner.id and overlap and (other[3] or taken[3]):
                                clashes.append((taken, other))
                        held.append(taken)
            except errors.DeadlockDetected:
                pass
            finally:
                with guard:
                    held[:] = [each for each in held if each[0] != owner.id]
                table.release_all(owner, None)

    threads = [threading.Thread(target=client, args=(number,), daemon=True) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive(), f"asleep for ever, seed {seed}"
    assert not clashes, f"seed {seed}"
    assert not table._exclusive
    assert not table._shared
    assert not table._queues
    assert not table._ranges.held
    assert not table._ranges.waiting


def test_a_closed_table_gives_no_lock_not_even_a_free_one(table: LockTable) -> None:
    table.close()
    with pytest.raises(errors.InterfaceError):
        table.acquire(LockOwner(1), b"k", LockMode.EXCLUSIVE)


def test_who_ends_without_having_left_the_queue_is_given_nothing_later(table: LockTable) -> None:
    """An interrupt may come between queueing and falling asleep."""
    holder, gone = LockOwner(1), LockOwner(2)
    table.acquire(holder, b"k", LockMode.EXCLUSIVE)
    with table._mutex:
        table._enqueue(gone, b"k", LockMode.EXCLUSIVE)
    table.release_all(gone, None)
    table.release_all(holder, None)
    table.acquire(LockOwner(3), b"k", LockMode.EXCLUSIVE)


@pytest.mark.parametrize("is_range", [False, True])
def test_a_wait_that_ctrl_c_left_in_the_queue_is_granted_to_nobody(
    is_range: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = LockTable(lambda: 0)
    holder, interrupted, next_one = LockOwner(1), LockOwner(2), LockOwner(3)
    holder.thread_id = -1
    for key in (b"k", b"l"):
        table.acquire(holder, key, LockMode.EXCLUSIVE)

    def ask(key: bytes) -> None:
        if is_range:
            table.acquire_range(interrupted, key, key + b"\0")
        else:
            table.acquire(interrupted, key, LockMode.EXCLUSIVE)

    def interrupt(waiter: object) -> None:
        raise KeyboardInterrupt

    # Given one who is interrupted when he has queued up and does not sleep yet, and goes on to
    # another key.
    monkeypatch.setattr(table, "_sleep", interrupt)
    for key in (b"k", b"l"):
        with pytest.raises(KeyboardInterrupt):
            ask(key)
    # When he is over, and the holder, too,
    table.release_all(interrupted, None)
    table.release_all(holder, None)
    # then both keys are free.
    for key in (b"k", b"l"):
        assert table.acquire(next_one, key, LockMode.EXCLUSIVE, Waiting.SKIP_LOCKED)
