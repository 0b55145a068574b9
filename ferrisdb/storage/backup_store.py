"""A backup store: one folder with many backups of a database, which share their tables.

    shop.backups/
      LOCK                          held by who adds or deletes
      backup-000001                 a description: tables 4 and 9, and the manifest's state
      backup-000002                                tables 9 and 12
      000004-8123-1af31fc7.sst      a table: its number, bytes, checksum of its blocks
      000009-4813-8c0a91f3.sst
      000012-977-00c1d2e3.sst.tmp   being copied

Tables never change, so a backup copies only those that no earlier one has: it is full and
incremental at once, and every one can be restored without the others. A name says what is in
the file: a restored database that goes on counting where the first one did, and is backed up
here, too, makes other tables of the same numbers, and they get other names.

    description: file header, u32 length, u32 crc32, msgpack map     docs/formats.md

The description comes last, and goes first. So what it names is always there:

    make      copy a table to *.tmp, sync, check, rename; sync the folder;
              description to *.tmp, sync, rename; sync the folder
    delete    remove descriptions; sync the folder; remove tables that no other one names

A crash leaves *.tmp files and tables without a description, which the next one to add or
delete removes. While one description cannot be read, no table is removed: it may name any.

Listing, verifying and restoring take no lock and write nothing, so they work on a medium that
is read-only. Meanwhile a backup may be deleted; that is said when it is noticed.

Limits: two different tables of one number, one length and one checksum would be taken for one.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any, Final
from zlib import crc32

import msgpack

from ferrisdb.errors import CorruptionError, DatabaseLocked, NotADatabase, UndefinedObject
from ferrisdb.immutable import immutable
from ferrisdb.storage.env import Env, join
from ferrisdb.storage.file_header import BACKUP_MAGIC, HEADER_BYTES, check_header, encode_header
from ferrisdb.storage.file_names import CURRENT_NAME, LOCK_NAME
from ferrisdb.storage.manifest import ManifestState, decode_state, encode_state
from ferrisdb.storage.recovery import make_durable_directory, parent_of

TEMPORARY_SUFFIX: Final = ".tmp"
_DESCRIPTION = re.compile(r"backup-(\d{6,19})", re.ASCII)
_TABLE = re.compile(r"\d{6,19}-\d+-[0-9a-f]{8}\.sst", re.ASCII)
_FRAME = struct.Struct("<II")  # length, crc32
_CHECKED = struct.Struct("<QI")  # number of the backup, length


@immutable
class StoredTable:
    """A table's identity."""

    number: int
    file_bytes: int
    checksum: int
    """Of its blocks: see `TableProperties.blocks_checksum`."""

    @property
    def name(self) -> str:
        return f"{self.number:06}-{self.file_bytes}-{self.checksum:08x}.sst"


@immutable
class Backup:
    """What is worth knowing of a backup without reading its tables."""

    number: int
    """In its store, from 1, never used again while a later one is there."""
    made_at_s: float
    """Seconds since 1970."""
    last_timestamp: int
    """Of the last commit that is in it."""
    table_count: int
    table_bytes: int
    copied_count: int
    """Tables that no earlier backup in the store had."""
    copied_bytes: int

    @property
    def made_at(self) -> datetime:
        """In UTC."""
        return datetime.fromtimestamp(self.made_at_s, UTC)


@immutable
class Description:
    """A backup, whole: all that is needed to restore it."""

    backup: Backup
    tables: tuple[StoredTable, ...]
    state: ManifestState


class BackupStore:
    """The folder. What it does to it is said by each method; `locked` is for who writes."""

    def __init__(self, env: Env, folder: str) -> None:
        self.env = env
        self.folder = folder

    def path_of(self, name: str) -> str:
        return join(self.folder, name)

    def require(self) -> None:
        """Raise NotADatabase unless the folder is a backup store; an empty one may become one."""
        if not self.env.exists(self.folder):
            raise NotADatabase(f"there is no backup store at {self.folder}")
        if not self.env.is_directory(self.folder):
            raise NotADatabase(f"{self.folder} is a file, and a backup store is a folder")
        names = self.env.list_directory(self.folder)
        if CURRENT_NAME in names:
            raise NotADatabase(
                f"{self.folder} is a database, not a backup store",
                hint="a backup store is a folder of its own",
            )
        for name in names:
            if not _is_ours(name):
                raise NotADatabase(f"{self.folder} is not a backup store: it has {name!r}")

    @contextlib.contextmanager
    def locked(self, *, create: bool = False) -> Iterator[None]:
        """Alone in the store. `create` makes it where it is absent.

        Raises NotADatabase, DatabaseLocked naming the process, StorageError.
        """
        if create and not self.env.exists(self.folder):
            make_durable_directory(self.env, self.folder)
        self.require()
        if not self.numbers():
            # A crash may have left it here with its name not yet on disk.
            self.env.sync_directory(parent_of(self.folder))
        try:
            lock = self.env.lock(self.path_of(LOCK_NAME))
        except DatabaseLocked as error:
            error.hint = "a backup is being made or deleted there; try again when that is done"
            raise
        try:
            yield
        finally:
            lock.release()

    def numbers(self) -> list[int]:
        """Of the backups that are there, sound or not, oldest first."""
        found = map(_DESCRIPTION.fullmatch, self.env.list_directory(self.folder))
        return sorted(int(match[1]) for match in found if match)

    def chosen(self, number: int | None) -> int:
        """`number`, or that of the newest. UndefinedObject when there is none."""
        numbers = self.numbers()
        if not numbers:
            raise UndefinedObject(f"{self.folder} has no backup")
        if number is None:
            return numbers[-1]
        if number not in numbers:
            there = ", ".join(map(str, numbers[-20:]))
            raise UndefinedObject(f"{self.folder} has no backup {number}", hint=f"it has {there}")
        return number

    def read(self, number: int) -> Description:
        """UndefinedObject when there is none; CorruptionError, FormatVersionError, StorageError."""
        path = self.path_of(description_name(number))
        try:
            data = self.env.read_file(path)
        except FileNotFoundError as error:
            raise UndefinedObject(f"{self.folder} has no backup {number}") from error
        return _decode(data, number, path)

    def read_all(self) -> tuple[list[Description], list[CorruptionError]]:
        """The sound descriptions, oldest first, and what is wrong with the others."""
        sound, damaged = [], []
        for number in self.numbers():
            try:
                sound.append(self.read(number))
            except UndefinedObject:
                continue  # deleted since it was listed
            except CorruptionError as error:
                damaged.append(error)
        return sound, damaged

    def add(self, description: Description) -> None:
        """Make the backup true; all its tables are there and synced, names and all."""
        path = self.path_of(description_name(description.backup.number))
        temporary = path + TEMPORARY_SUFFIX
        with contextlib.closing(self.env.create(temporary)) as file:
            file.append(_encode(description))
            file.sync()
        self.env.rename(temporary, path)
        self.env.sync_directory(self.folder)

    def delete(self, numbers: Collection[int]) -> None:
        """Remove these backups, and the tables that only they had."""
        for number in numbers:
            self.env.remove(self.path_of(description_name(number)))
        # On disk before a table goes: a backup must not come back without its tables.
        self.env.sync_directory(self.folder)
        self.clean()

    def clean(self, keep: Collection[str] = ()) -> None:
        """Remove what a crash left, and tables that neither a backup nor `keep` names."""
        sound, damaged = self.read_all()
        needed = {table.name for description in sound for table in description.tables} | set(keep)
        for name in self.env.list_directory(self.folder):
            is_orphan = _TABLE.fullmatch(name) and name not in needed and not damaged
            if is_orphan or (_is_ours(name) and name.endswith(TEMPORARY_SUFFIX)):
                self.env.remove(self.path_of(name))


def description_name(number: int) -> str:
    return f"backup-{number:06}"


def _is_ours(name: str) -> bool:
    plain = name.removesuffix(TEMPORARY_SUFFIX)
    return name == LOCK_NAME or bool(_DESCRIPTION.fullmatch(plain) or _TABLE.fullmatch(plain))


def _encode(description: Description) -> bytes:
    backup = description.backup
    body: bytes = msgpack.packb(
        {
            "made_at_s": backup.made_at_s,
            "copied": [backup.copied_count, backup.copied_bytes],
            "tables": [[table.number, table.file_bytes, table.checksum] for table in description.tables],
            "state": encode_state(description.state),
        }
    )
    checksum = crc32(body, crc32(_CHECKED.pack(backup.number, len(body))))
    return encode_header(BACKUP_MAGIC) + _FRAME.pack(len(body), checksum) + body


def _decode(data: bytes, number: int, path: str) -> Description:
    check_header(data, BACKUP_MAGIC, path)
    start = HEADER_BYTES + _FRAME.size
    if len(data) < start:
        raise CorruptionError("the description is cut short", file=path, offset=len(data))
    length, checksum = _FRAME.unpack_from(data, HEADER_BYTES)
    body = data[start:]
    if length != len(body) or checksum != crc32(body, crc32(_CHECKED.pack(number, length))):
        raise CorruptionError("the description's length or checksum is wrong", file=path, offset=HEADER_BYTES)
    try:
        return _described(msgpack.unpackb(body), number, path)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptionError(
            "the checksum is right but it is not the description of a backup", file=path, offset=start
        ) from error


def _described(found: dict[str, Any], number: int, path: str) -> Description:
    state = decode_state(found["state"], path, HEADER_BYTES + _FRAME.size)
    tables = tuple(StoredTable(*fields) for fields in found["tables"])
    if [(table.number, table.file_bytes) for table in tables] != [
        (entry.number, entry.file_bytes) for entry in state.tables
    ]:
        raise ValueError("the tables are not those of the state")
    backup = Backup(
        number,
        float(found["made_at_s"]),
        state.last_timestamp,
        len(tables),
        sum(table.file_bytes for table in tables),
        *found["copied"],
    )
    return Description(backup, tables, state)
