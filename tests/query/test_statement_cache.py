"""The statement cache: bounded, and never wrong about a schema."""

from __future__ import annotations

from ferrisdb.query.session import Session, SharedState
from ferrisdb.query.statement_cache import MAX_CACHED_CHARACTERS, MAX_PLANS, LruCache
from ferrisdb.txn.local import LocalStore


def test_the_entry_used_longest_ago_goes_first() -> None:
    cache: LruCache[str, int] = LruCache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    assert len(cache) == 2


def test_a_repeat_takes_the_same_tree_and_the_same_plan() -> None:
    shared = SharedState()
    first, second = Session(store := LocalStore.in_memory(), shared), Session(store, shared)
    first.execute("SELECT ? + 1", (1,))
    assert len(shared.plans) == 1
    second.execute("SELECT ? + 1", (2,))
    assert len(shared.plans) == 1, "another session and another value, the same kinds"
    second.execute("SELECT ? + 1", (2.5,))
    assert len(shared.plans) == 2, "another kind of parameter means other operators"
    first.execute("CREATE TABLE t (id INTEGER)")
    second.execute("SELECT ? + 1", (1,))
    assert len(shared.plans) == 3, "another catalog"
    assert shared.parse("SELECT 1") is shared.parse("SELECT 1")


def test_texts_that_will_not_come_again_are_not_kept() -> None:
    shared = SharedState()
    session = Session(LocalStore.in_memory(), shared)
    session.execute(f"SELECT '{'x' * MAX_CACHED_CHARACTERS}'")
    assert len(shared.plans) == 0
    for number in range(MAX_PLANS + 10):
        shared.plans.put((f"SELECT {number}", b"", ()), shared.plans.get(("", b"", ())))  # type: ignore[arg-type]
    assert len(shared.plans) == MAX_PLANS
