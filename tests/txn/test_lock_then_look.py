"""A lock proves nothing by itself: whoever gets it then looks for newer commits of the key.

Something may come in between: NOWAIT or a timeout at the next key, a disk that does not read,
Ctrl-C. The key is held then, and nobody has looked. Its next use has to.
"""

import sys
import threading
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any

import pytest

from ferrisdb.errors import LockNotAvailable, SerializationFailure, StorageError
from ferrisdb.txn.api import IsolationLevel, LockMode, Waiting
from ferrisdb.txn.local import LocalStore
from ferrisdb.txn.local_transaction import LocalTransaction

PATIENCE_S = 20
STRICT = [IsolationLevel.SNAPSHOT, IsolationLevel.SERIALIZABLE]
BOTH = [b"a", b"b"]


def in_another_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), "somebody waits for ever"


def put(store: LocalStore, level: IsolationLevel, key: bytes, value: bytes) -> None:
    transaction = store.begin(level)
    transaction.put(key, value)
    transaction.commit()


def reader_of_a_that_is_too_late(store: LocalStore, level: IsolationLevel) -> LocalTransaction:
    put(store, level, b"a", b"1")
    late = store.begin(level)
    late.get(b"a")
    put(store, level, b"a", b"2")
    return late


def lock_nowait(transaction: LocalTransaction, keys: Collection[bytes]) -> None:
    transaction.lock(keys, waiting=Waiting.NOWAIT)


def lock_with_timeout(transaction: LocalTransaction, keys: Collection[bytes]) -> None:
    transaction.lock_timeout_s = 0.001
    transaction.lock(keys)


def share_nowait(transaction: LocalTransaction, keys: Collection[bytes]) -> None:
    transaction.lock(keys, LockMode.SHARE, Waiting.NOWAIT)


def claim_with_timeout(transaction: LocalTransaction, keys: Collection[bytes]) -> None:
    transaction.lock_timeout_s = 0.001
    transaction.claim(keys)


@pytest.mark.parametrize("ask", [lock_nowait, lock_with_timeout, share_nowait, claim_with_timeout])
@pytest.mark.parametrize("level", STRICT)
def test_a_key_in_front_of_one_that_is_not_available_is_no_way_to_a_lost_update(
    level: IsolationLevel, ask: Callable[[LocalTransaction, Collection[bytes]], None]
) -> None:
    store = LocalStore.in_memory()
    # Given a transaction that has read a, which another has committed since,
    late = reader_of_a_that_is_too_late(store, level)
    # and b, which is held by a third.
    holder = store.begin()
    in_another_thread(lambda: holder.put(b"b", b"held"))
    # When it asks for both, it gets a, not b, and is told of b.
    with pytest.raises(LockNotAvailable):
        ask(late, BOTH)
    # Then a is not its own to write: it has lost.
    with pytest.raises(SerializationFailure):
        late.put(b"a", b"1 and more")
    assert store.begin().get(b"a") == b"2"
    holder.rollback()
    store.close()


@pytest.mark.parametrize("level", STRICT)
def test_a_share_lock_that_was_got_without_a_look_is_looked_at_when_asked_for_again(
    level: IsolationLevel,
) -> None:
    store = LocalStore.in_memory()
    late = reader_of_a_that_is_too_late(store, level)
    holder = store.begin()
    in_another_thread(lambda: holder.put(b"b", b"held"))
    with pytest.raises(LockNotAvailable):
        share_nowait(late, BOTH)
    with pytest.raises(SerializationFailure):
        late.lock([b"a"], LockMode.SHARE)
    holder.rollback()
    store.close()


def test_what_stands_for_a_row_is_looked_at_too() -> None:
    """`are_stored` False: a name that others have relied on under a share lock."""
    store = LocalStore.in_memory()
    late = store.begin()
    late.get(b"child")
    # Given another that has relied on the parent, and committed.
    child = store.begin()
    child.lock([b"a"], LockMode.SHARE, are_stored=False)
    child.put(b"child", b"of a")
    child.commit()
    holder = store.begin()
    in_another_thread(lambda: holder.lock([b"b"], are_stored=False))
    # When it asks for the parent and another name, which is not available,
    with pytest.raises(LockNotAvailable):
        late.lock(BOTH, waiting=Waiting.NOWAIT, are_stored=False)
    # then it can't have the parent alone: it does not see the child.
    with pytest.raises(SerializationFailure):
        late.lock([b"a"], are_stored=False)
    holder.rollback()
    store.close()


@pytest.mark.parametrize("level", STRICT)
def test_a_look_that_failed_is_taken_again(level: IsolationLevel, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore.in_memory()
    late = reader_of_a_that_is_too_late(store, level)

    def unreadable(key: bytes, after: int) -> int:
        raise StorageError("the table can't be read")

    with monkeypatch.context() as patched:
        patched.setattr(store._engine, "newest_timestamp", unreadable)
        with pytest.raises(StorageError):
            late.put(b"a", b"1 and more")
    with pytest.raises(SerializationFailure):
        late.put(b"a", b"1 and more")
    store.close()


class Interrupt:
    """Raises KeyboardInterrupt before line `at` of what runs in txn."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.has_come = False
        self._count = 0

    def run(self, work: Callable[[], object]) -> None:
        sys.settrace(self._trace)
        try:
            work()
        except (KeyboardInterrupt, SerializationFailure):
            pass
        finally:
            sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if "local_transaction" not in frame.f_code.co_filename:
            return self._trace
        if event == "line":
            self._count += 1
            if self._count == self.at:
                self.has_come = True
                raise KeyboardInterrupt
        return self._trace


@pytest.mark.parametrize("way", ["put", "lock", "share", "claim"])
def test_a_program_that_goes_on_after_ctrl_c_loses_no_update(way: str) -> None:
    at = 0
    while True:
        at += 1
        store = LocalStore.in_memory()
        late = reader_of_a_that_is_too_late(store, IsolationLevel.SNAPSHOT)

        def work(late: LocalTransaction = late) -> None:
            match way:
                case "put":
                    late.put(b"a", b"lost")
                case "lock":
                    late.lock([b"a"])
                case "share":
                    late.lock([b"a"], LockMode.SHARE)
                case _:
                    late.claim([b"a"])

        interrupt = Interrupt(at)
        interrupt.run(work)
        if late.is_open:
            with pytest.raises(SerializationFailure):
                late.put(b"a", b"lost")
        assert store.begin().get(b"a") == b"2", f"line {at}"
        store.close()
        if not interrupt.has_come:
            break
    assert at > 5
