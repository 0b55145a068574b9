"""FerrisDB: a transactional MVCC database with SQL that lives inside a Python program.

    import ferrisdb

    db = ferrisdb.open("shop.ferris")
    with db.transaction() as tx:
        tx.execute("UPDATE account SET balance = balance - ? WHERE id = ?", (10, 1))

    con = ferrisdb.connect("shop.ferris")     # PEP 249

The names below are the public ones; everything else may change. `ferrisdb.errors` has a class
for each SQLSTATE, as `ferrisdb.errors.UniqueViolation`, `ferrisdb.events` one for each kind of
event. The names are imported when first used: a process that only needs one room of the house,
as the compaction child does, must not pay for all of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ferrisdb import errors, events
    from ferrisdb.api.backups import Backup, backups, delete_backup, restore, verify_backup
    from ferrisdb.api.connection import Connection, apilevel, connect, paramstyle, threadsafety
    from ferrisdb.api.cursor import Cursor
    from ferrisdb.api.database import Database, open
    from ferrisdb.api.dbapi_types import (
        BINARY,
        BOOLEAN,
        DATETIME,
        NUMBER,
        ROWID,
        STRING,
        Binary,
        Date,
        DateFromTicks,
        Time,
        TimeFromTicks,
        Timestamp,
        TimestampFromTicks,
    )
    from ferrisdb.api.rows import Rows
    from ferrisdb.api.transaction import Savepoint, Transaction
    from ferrisdb.errors import (
        CommitUnknown,
        CorruptionError,
        DatabaseError,
        DatabaseLocked,
        DataError,
        DeadlockDetected,
        Error,
        IntegrityError,
        InterfaceError,
        InternalError,
        LockNotAvailable,
        NotSupportedError,
        OperationalError,
        ProgrammingError,
        Retryable,
        SerializationFailure,
        Warning,
    )
    from ferrisdb.storage.options import Durability
    from ferrisdb.txn.api import IsolationLevel

__version__ = "0.1.0"

__all__ = [
    "BINARY",
    "BOOLEAN",
    "DATETIME",
    "NUMBER",
    "ROWID",
    "STRING",
    "Backup",
    "Binary",
    "CommitUnknown",
    "Connection",
    "CorruptionError",
    "Cursor",
    "DataError",
    "Database",
    "DatabaseError",
    "DatabaseLocked",
    "Date",
    "DateFromTicks",
    "DeadlockDetected",
    "Durability",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "IsolationLevel",
    "LockNotAvailable",
    "NotSupportedError",
    "OperationalError",
    "ProgrammingError",
    "Retryable",
    "Rows",
    "Savepoint",
    "SerializationFailure",
    "Time",
    "TimeFromTicks",
    "Timestamp",
    "TimestampFromTicks",
    "Transaction",
    "Warning",
    "__version__",
    "apilevel",
    "backups",
    "connect",
    "delete_backup",
    "errors",
    "events",
    "open",
    "paramstyle",
    "restore",
    "threadsafety",
    "verify_backup",
]

_HOMES = {
    "api.backups": "Backup backups delete_backup restore verify_backup",
    "api.connection": "Connection apilevel connect paramstyle threadsafety",
    "api.cursor": "Cursor",
    "api.database": "Database open",
    "api.dbapi_types": "BINARY BOOLEAN DATETIME NUMBER ROWID STRING Binary Date DateFromTicks "
    "Time TimeFromTicks Timestamp TimestampFromTicks",
    "api.rows": "Rows",
    "api.transaction": "Savepoint Transaction",
    "errors": "errors CommitUnknown CorruptionError DataError DatabaseError DatabaseLocked DeadlockDetected "
    "Error IntegrityError InterfaceError InternalError LockNotAvailable NotSupportedError "
    "OperationalError ProgrammingError Retryable SerializationFailure Warning",
    "events": "events",
    "storage.options": "Durability",
    "txn.api": "IsolationLevel",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

if not TYPE_CHECKING:  # a type checker would believe that every name exists

    def __getattr__(name: str) -> object:
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module 'ferrisdb' has no attribute {name!r}")
        module = import_module(f"ferrisdb.{home}")
        value = globals()[name] = module if name == home else getattr(module, name)
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)
