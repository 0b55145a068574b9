"""The catalog: definitions are rows, so DDL is transactional, and the cache is never wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

import msgpack
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ferrisdb import errors
from ferrisdb.query.catalog import (
    CatalogCache,
    create_table,
    drop_table,
    next_index_id,
    replace_table,
    table_key,
)
from ferrisdb.query.keyspace import CATALOG_VERSION, table_range
from ferrisdb.query.schema import Column, ForeignKey, Index, ReferentialAction, Table
from ferrisdb.query.types import INTEGER, TEXT, Kind, SqlType
from ferrisdb.txn.api import LockMode, Savepoint, Transaction
from ferrisdb.txn.local import LocalStore

COLUMNS = (
    Column("id", INTEGER, is_not_null=True),
    Column("name", SqlType(Kind.TEXT, length=25), default_sql="'nobody'"),
    Column("price", SqlType(Kind.NUMERIC, 12, 2)),
)
BY_NAME = Index(1, "account_by_name", (1,), is_unique=False)


@pytest.fixture
def store() -> Iterator[LocalStore]:
    opened = LocalStore.in_memory()
    yield opened
    opened.close()


@pytest.fixture
def cache() -> CatalogCache:
    return CatalogCache()


def snapshot(store: LocalStore) -> Transaction:
    """A transaction that sees what is there now: a snapshot is taken by the first read."""
    tx = store.begin()
    tx.get(b"")
    return tx


def create(tx: Transaction, name: str, *indexes: Index) -> Table:
    return create_table(tx, CatalogCache().view(tx), name, COLUMNS, (0,), indexes)


def names(tx: Transaction) -> list[str]:
    return [table.name for table in CatalogCache().view(tx).tables()]


def test_an_empty_database_has_an_empty_catalog(store: LocalStore, cache: CatalogCache) -> None:
    view = cache.view(store.begin())
    assert (view.version, view.tables(), view.table("account"), view.index("i")) == (b"", [], None, None)


def test_a_table_is_read_back_as_it_was_defined(store: LocalStore, cache: CatalogCache) -> None:
    tx = store.begin()
    made = create(tx, "account", BY_NAME)
    tx.commit()
    view = cache.view(store.begin())
    assert view.table("account") == made == Table(1, "account", COLUMNS, (0,), (BY_NAME,))
    assert view.index("account_by_name") == (made, BY_NAME)
    assert view.names() == ["account", "account_by_name"]
    assert len(view.version) == 16


def test_foreign_keys_are_read_back_and_found_from_the_other_side(
    store: LocalStore, cache: CatalogCache
) -> None:
    tx = store.begin()
    create(tx, "account")
    to_account = ForeignKey("a", (0,), "account", (0,))
    to_itself = ForeignKey(
        "b", (2, 1), "entry", (1, 2), 1, ReferentialAction.CASCADE, ReferentialAction.SET_DEFAULT
    )
    made = create_table(
        tx, CatalogCache().view(tx), "entry", COLUMNS, (0,), foreign_keys=(to_account, to_itself)
    )
    tx.commit()
    view = cache.view(store.begin())
    assert view.table("entry") == made
    assert made.foreign_keys == (to_account, to_itself)
    assert view.references_to("account") == [(made, to_account)]
    assert view.references_to("entry") == [(made, to_itself)]


def test_a_definition_from_before_there_were_foreign_keys_is_read(
    store: LocalStore, cache: CatalogCache
) -> None:
    # A table without any is still written so, and so the fixtures of old formats agree.
    tx = store.begin()
    made = create(tx, "account", BY_NAME)
    kind, content = msgpack.unpackb(tx.get(table_key("account")) or b"")
    assert (kind, len(content)) == ("t", 6)
    assert cache.view(tx).table("account") == made


def test_a_table_that_is_referred_to_is_written_so_that_its_writers_learn_of_it(store: LocalStore) -> None:
    tx = store.begin()
    create(tx, "account")
    tx.commit()
    writer, definer = store.begin(), store.begin()
    assert names(writer) == ["account"]
    foreign_key = ForeignKey("a", (0,), "account", (0,))
    create_table(definer, CatalogCache().view(definer), "entry", COLUMNS, (0,), foreign_keys=(foreign_key,))
    definer.commit()
    with pytest.raises(errors.SerializationFailure):
        writer.lock([table_key("account")], LockMode.SHARE)


def test_ddl_is_seen_by_its_own_transaction_and_by_others_when_it_commits(
    store: LocalStore, cache: CatalogCache
) -> None:
    before, writer = snapshot(store), snapshot(store)
    create(writer, "account")
    assert cache.view(writer).table("account") is not None
    assert cache.view(store.begin()).table("account") is None
    writer.commit()
    assert cache.view(store.begin()).table("account") is not None
    # A snapshot has the tables of its time.
    assert cache.view(before).table("account") is None


def test_ddl_that_is_rolled_back_never_was(store: LocalStore, cache: CatalogCache) -> None:
    tx = store.begin()
    create(tx, "kept")
    savepoint = tx.savepoint()
    create(tx, "undone")
    assert cache.view(tx).names() == ["kept", "undone"]
    tx.rollback_to(savepoint)
    assert cache.view(tx).names() == ["kept"]
    tx.rollback()
    assert cache.view(store.begin()).names() == []


def test_tables_and_indexes_share_one_namespace(store: LocalStore) -> None:
    tx = store.begin()
    account = create(tx, "account", BY_NAME)
    for name, indexes in [("account", ()), ("account_by_name", ()), ("other", (BY_NAME,))]:
        with pytest.raises(errors.DuplicateTable, match=r'relation ".*" already exists'):
            create(tx, name, *indexes)
    with pytest.raises(errors.DuplicateTable, match='"twice"'):
        create(tx, "another", Index(1, "twice", (0,), False), Index(2, "twice", (1,), False))
    with pytest.raises(errors.DuplicateTable, match='"account"'):
        replace_table(tx, replace(account, indexes=(BY_NAME, Index(2, "account", (2,), False))))


def test_an_index_comes_and_goes_with_its_table_definition(store: LocalStore, cache: CatalogCache) -> None:
    tx = store.begin()
    account = create(tx, "account", BY_NAME)
    by_price = Index(next_index_id(account), "account_by_price", (2,), is_unique=True, is_constraint=True)
    assert by_price.id == 2
    changed = replace(account, indexes=(by_price,))
    replace_table(tx, changed)
    view = cache.view(tx)
    assert view.table("account") == changed
    assert view.index("account_by_price") == (changed, by_price)
    assert view.index("account_by_name") is None
    # Its name is free again.
    create(tx, "account_by_name")


def test_dropping_a_table_frees_all_its_names_and_never_its_id(
    store: LocalStore, cache: CatalogCache
) -> None:
    tx = store.begin()
    account = create(tx, "account", BY_NAME)
    drop_table(tx, account)
    assert cache.view(tx).names() == []
    again = create(tx, "account", BY_NAME)
    assert again.id > account.id
    assert table_range(again.id)[0] >= table_range(account.id)[1]


def test_two_concurrent_ddl_transactions_conflict(store: LocalStore) -> None:
    first, second = snapshot(store), snapshot(store)
    create(first, "a")
    first.commit()
    with pytest.raises(errors.SerializationFailure):
        create(second, "b")


def test_ddl_conflicts_with_dml_that_began_before_it(store: LocalStore) -> None:
    # An index build must not miss the row of a writer that runs beside it.
    tx = store.begin()
    account = create(tx, "account")
    tx.commit()
    builder, writer = snapshot(store), snapshot(store)
    writer.lock([table_key("account")], LockMode.SHARE)
    writer.put(b"\xfft\x01\x00row", b"")
    writer.commit()
    with pytest.raises(errors.SerializationFailure):
        replace_table(builder, replace(account, indexes=(BY_NAME,)))


class CountingTransaction:
    """Counts what is asked of the transaction behind it."""

    def __init__(self, tx: Transaction) -> None:
        self.tx = tx
        self.calls: list[str] = []

    def get(self, key: bytes) -> bytes | None:
        self.calls.append("get")
        return self.tx.get(key)

    def scan(self, lo: bytes, hi: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        self.calls.append("scan")
        return self.tx.scan(lo, hi)


def test_a_known_catalog_costs_one_get(store: LocalStore, cache: CatalogCache) -> None:
    tx = store.begin()
    create(tx, "account")
    tx.commit()
    first = cache.view(store.begin())
    counting = CountingTransaction(store.begin())
    assert cache.view(cast(Transaction, counting)) is first
    assert counting.calls == ["get"]


def test_the_cache_forgets_the_catalog_that_was_used_longest_ago(store: LocalStore) -> None:
    cache, snapshots = CatalogCache(capacity=2), []
    for name in ("a", "b", "c"):
        tx = store.begin()
        create(tx, name)
        tx.commit()
        snapshots.append(snapshot(store))
    a, b = cache.view(snapshots[0]), cache.view(snapshots[1])
    assert cache.view(snapshots[0]) is a
    cache.view(snapshots[2])
    assert cache.view(snapshots[0]) is a
    assert cache.view(snapshots[1]) is not b
    assert cache.view(snapshots[1]) == b


class MovingTransaction:
    """Read committed: every call sees the newest commit, and one lands between two calls."""

    def __init__(self, store: LocalStore, during_scan: list[str]) -> None:
        self.store = store
        self.during_scan = during_scan

    def get(self, key: bytes) -> bytes | None:
        return self.store.begin().get(key)

    def scan(self, lo: bytes, hi: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        seen = list(self.store.begin().scan(lo, hi))
        for name in self.during_scan[:1]:
            del self.during_scan[0]
            tx = self.store.begin()
            create(tx, name)
            tx.commit()
        return iter(seen)


def test_a_catalog_that_changes_while_it_is_read_is_not_kept_under_a_wrong_version(
    store: LocalStore, cache: CatalogCache
) -> None:
    tx = store.begin()
    create(tx, "a")
    tx.commit()
    view = cache.view(cast(Transaction, MovingTransaction(store, ["b", "c"])))
    assert view.names() == ["a", "b", "c"]
    assert view.version == store.begin().get(CATALOG_VERSION)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xc1",
        msgpack.packb(["t", [1]]),
        msgpack.packb(["x", 1]),
        msgpack.packb(7),
        msgpack.packb(
            ["t", [1, "account", [], [], [], "", [["f", [0], "p", [0], 0, "WHATEVER", "CASCADE"]]]]
        ),
        msgpack.packb(["t", [1, "account", [], [], [], "", [], []]]),
    ],
)
def test_a_damaged_definition_is_a_corruption_error(
    store: LocalStore, cache: CatalogCache, value: bytes
) -> None:
    tx = store.begin()
    create(tx, "account")
    tx.put(table_key("account"), value)
    with pytest.raises(errors.CorruptionError, match="account"):
        cache.view(tx)


class Catalogs(RuleBasedStateMachine):
    """Random DDL, savepoints and rollbacks; one cache throughout; a dict is the model."""

    @initialize()
    def open(self) -> None:
        self.store = LocalStore.in_memory()
        self.cache = CatalogCache(capacity=3)
        self.committed: dict[str, Table] = {}
        self.begin()

    def begin(self) -> None:
        self.tx = self.store.begin()
        self.model = dict(self.committed)
        self.savepoints: list[tuple[Savepoint, dict[str, Table]]] = []

    @rule(name=st.sampled_from("abcd"), index=st.sampled_from(["", "x", "y", "a"]))
    def create_a_table(self, name: str, index: str) -> None:
        taken = {*self.model, *(i.name for table in self.model.values() for i in table.indexes)}
        indexes = [Index(1, index, (1,), False)] if index else []
        wanted = [name, index] if index else [name]
        before = self.tx.savepoint()
        try:
            made = create_table(self.tx, self.cache.view(self.tx), name, COLUMNS, (0,), indexes)
        except errors.DuplicateTable:
            assert taken & set(wanted) or len(set(wanted)) < len(wanted)
            self.tx.rollback_to(before)
            return
        assert not taken & set(wanted)
        assert made.id not in {table.id for table in self.model.values()}
        self.model[name] = made

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def drop_one(self, data: st.DataObject) -> None:
        drop_table(self.tx, self.model.pop(data.draw(st.sampled_from(sorted(self.model)))))

    @rule()
    def savepoint(self) -> None:
        self.savepoints.append((self.tx.savepoint(), dict(self.model)))

    @precondition(lambda self: self.savepoints)
    @rule()
    def roll_back_to_savepoint(self) -> None:
        savepoint, self.model = self.savepoints.pop()
        self.tx.rollback_to(savepoint)

    @rule()
    def commit(self) -> None:
        self.tx.commit()
        self.committed = self.model
        self.begin()

    @rule()
    def roll_back(self) -> None:
        self.tx.rollback()
        self.begin()

    @invariant()
    def the_view_is_the_model(self) -> None:
        self.agree(self.tx, self.model)
        reader = self.store.begin()
        self.agree(reader, self.committed)
        reader.rollback()

    def agree(self, tx: Transaction, model: dict[str, Table]) -> None:
        view = self.cache.view(tx)
        assert {table.name: table for table in view.tables()} == model
        indexes: Sequence[Index] = [index for table in model.values() for index in table.indexes]
        assert view.names() == sorted([*model, *(index.name for index in indexes)])

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.tx.rollback()
            self.store.close()


TestCatalogs = Catalogs.TestCase
TestCatalogs.settings = settings(deadline=None, max_examples=40, stateful_step_count=25)


def test_names_of_columns_and_defaults_survive_any_text(store: LocalStore, cache: CatalogCache) -> None:
    odd = Column('"quoted" \x00 ü', TEXT, default_sql="'\u2603' || 'x'")
    tx = store.begin()
    create_table(tx, cache.view(tx), "odd \x00 name", [odd], (), ())
    view = cache.view(tx)
    found = view.table("odd \x00 name")
    assert found is not None
    assert found.columns == (odd,)
    assert found.primary_key == ()
