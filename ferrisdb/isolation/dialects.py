"""How other databases begin a transaction at a level, and which levels they have.

Specs say `BEGIN ISOLATION LEVEL x`, as PostgreSQL does. Where a database says it otherwise, the
statement is put into its words; all else in a spec is sent as it stands.

    BEGIN ISOLATION LEVEL SERIALIZABLE      MySQL:   SET TRANSACTION ISOLATION LEVEL SERIALIZABLE
                                                     START TRANSACTION
                                            SQLite:  BEGIN

A level is known by the name it has in FerrisDB, and by what the database at hand calls it:
snapshot isolation is `repeatable read` to PostgreSQL, and only SQL Server has both.
"""

from __future__ import annotations

import re

from ferrisdb.immutable import immutable

_BEGIN_AT = re.compile(
    r"(?:BEGIN(?:\s+TRANSACTION|\s+WORK)?|START\s+TRANSACTION)\s+ISOLATION\s+LEVEL\s+(\w[\w\s]*?)\s*",
    re.IGNORECASE,
)


@immutable
class Level:
    """`reference` is the level whose promises it makes, by FerrisDB's name; `name` its own."""

    name: str
    reference: str


@immutable
class Dialect:
    name: str
    levels: tuple[Level, ...]
    begin: tuple[str, ...]
    """Statements; {level} stands for the name of the level."""

    def level_name(self, level: str) -> str:
        """What this database calls the level that FerrisDB calls so."""
        known = (each.name for each in self.levels if each.reference == level.lower())
        return next(known, level)

    def translated(self, statement: str) -> list[str]:
        """The statement in this database's words."""
        match = _BEGIN_AT.fullmatch(statement)
        if match is None:
            return [statement]
        level = self.level_name(" ".join(match.group(1).split())).upper()
        return [each.format(level=level) for each in self.begin]


_READ_COMMITTED = Level("read committed", "read committed")
_REPEATABLE_READ = Level("repeatable read", "snapshot")
_SERIALIZABLE = Level("serializable", "serializable")

POSTGRESQL = Dialect(
    "PostgreSQL",
    (_READ_COMMITTED, _REPEATABLE_READ, _SERIALIZABLE),
    ("BEGIN ISOLATION LEVEL {level}",),
)
FERRISDB = Dialect(
    "FerrisDB",
    (_READ_COMMITTED, Level("snapshot", "snapshot"), _SERIALIZABLE),
    ("BEGIN ISOLATION LEVEL {level}",),
)
MYSQL = Dialect(
    "MySQL",
    (_READ_COMMITTED, _REPEATABLE_READ, _SERIALIZABLE),
    ("SET TRANSACTION ISOLATION LEVEL {level}", "START TRANSACTION"),
)
SQL_SERVER = Dialect(
    "SQL Server",
    (_READ_COMMITTED, Level("snapshot", "snapshot"), _SERIALIZABLE),
    ("SET TRANSACTION ISOLATION LEVEL {level}", "BEGIN TRANSACTION"),
)
SQLITE = Dialect("SQLite", (_SERIALIZABLE,), ("BEGIN",))
DUCKDB = Dialect("DuckDB", (Level("snapshot", "snapshot"),), ("BEGIN TRANSACTION",))

_BY_PREFIX = {
    "ferris": FERRISDB,
    "postgres": POSTGRESQL,
    "psycopg": POSTGRESQL,
    "pg8000": POSTGRESQL,
    "cockroach": POSTGRESQL,
    "mysql": MYSQL,
    "mariadb": MYSQL,
    "pymysql": MYSQL,
    "mssql": SQL_SERVER,
    "sqlite": SQLITE,
    "duckdb": DUCKDB,
}


def dialect_of(name: str) -> Dialect:
    """By the name of a driver module, or the scheme of a URL; PostgreSQL's words where unknown."""
    lowered = name.lower()
    return next((each for prefix, each in _BY_PREFIX.items() if lowered.startswith(prefix)), POSTGRESQL)
