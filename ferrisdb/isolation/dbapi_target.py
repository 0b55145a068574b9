"""Any other database as a target: through a DB-API module, or through SQLAlchemy.

    sqlite3:connect("shop.db", timeout=1)       module:function(arguments)
    postgresql+psycopg://me@localhost/test      a URL of SQLAlchemy (ferrisdb[isolation])

The first form calls a function of a module with plain values: the text is read, never
evaluated. SQLAlchemy is used for what its URLs know, which driver and how to call it; the
statements go to the driver's own cursor, since a spec's text must arrive as it stands.

Connections are put into autocommit, so that BEGIN and COMMIT of the spec are the only ones.

Limits: a step is cut at each `;` outside of quotes and comments, unless it holds `$$`, and each
piece is a statement of its own; PostgreSQL's tester sends a step as one. Whether a session
waits cannot be asked here, so it is a matter of time (`RunOptions.wait_s`).
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Callable, Collection
from typing import Any

from ferrisdb.errors import InvalidParameterValue, MissingLibrary, OperationalError
from ferrisdb.isolation.dialects import Dialect, dialect_of
from ferrisdb.isolation.target import Answer, answer_of
from ferrisdb.query.parse import split_statements

Connect = Callable[[], Any]
_MODULE_CALL = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_][\w.]*\(.*\))", re.DOTALL)


class DbApiTarget:
    """`connect` gives a new DB-API connection. It is called in the thread that will use it."""

    def __init__(self, connect: Connect, dialect: Dialect) -> None:
        self.dialect = dialect
        self._connect = connect

    def connect(self) -> DbApiSession:
        return DbApiSession(self._connect(), self.dialect)

    def is_waiting(self, thread_id: int) -> None:
        """Nobody knows."""

    def all_wait_for_ever(self, thread_ids: Collection[int]) -> bool:
        return False

    def close(self) -> None:
        """There is nothing that the sessions share."""


class DbApiSession:
    def __init__(self, connection: Any, dialect: Dialect) -> None:
        self._connection = connection
        self._dialect = dialect
        self._heard_notices = 0
        _turn_autocommit_on(connection)
        if hasattr(connection, "add_notice_handler"):  # psycopg
            connection.add_notice_handler(self._hear)

    def execute(self, text: str) -> list[Answer]:
        pieces = [text] if "$$" in text else [statement for _, statement in split_statements(text)]
        answers = []
        for piece in pieces:
            for statement in self._dialect.translated(piece):
                cursor = self._connection.cursor()
                cursor.execute(statement)
                if cursor.description:
                    answers.append(answer_of((str(column[0]) for column in cursor.description), cursor))
                cursor.close()
        return answers

    @property
    def notice_count(self) -> int:
        kept = getattr(self._connection, "notices", None)  # psycopg2
        return self._heard_notices + (len(kept) if isinstance(kept, list) else 0)

    def cancel(self) -> None:
        # psycopg says cancel; sqlite3 and duckdb say interrupt. Others cannot.
        for name in ("cancel", "interrupt"):
            method = getattr(self._connection, name, None)
            if callable(method):
                method()
                return

    def close(self) -> None:
        try:
            self._connection.rollback()
        finally:
            self._connection.close()

    def _hear(self, notice: object) -> None:
        self._heard_notices += 1


def opener(url: str) -> tuple[Dialect, Callable[[], DbApiTarget]]:
    """The dialect of the database behind the URL, and what opens it as a target.

    Raises InvalidParameterValue, MissingLibrary, OperationalError where it can't be reached.
    """
    call = _MODULE_CALL.fullmatch(url)
    if call is not None:
        dialect, connect = dialect_of(call.group(1)), _module_connect(call.group(1), call.group(2))
    elif "://" in url:
        dialect, connect = dialect_of(url), _sqlalchemy_connect(url)
    else:
        raise InvalidParameterValue(
            f"{url!r} is no database URL",
            hint='as sqlite3:connect("file.db"), or a URL of SQLAlchemy: postgresql://user@host/database',
        )
    try:
        connect().close()
    except Exception as error:
        raise OperationalError(f"cannot connect to {url}: {error}") from error
    return dialect, lambda: DbApiTarget(connect, dialect)


def _module_connect(module_name: str, call: str) -> Connect:
    path, arguments, named = _parsed_call(call)
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise MissingLibrary(f"cannot import {module_name}: {error}") from None
    for name in path:
        found = getattr(found, name, None)
    if not callable(found):
        raise InvalidParameterValue(f"the module {module_name} has no function {'.'.join(path)}")
    function: Callable[..., Any] = found
    return lambda: function(*arguments, **named)


def _parsed_call(call: str) -> tuple[list[str], list[Any], dict[str, Any]]:
    """Names, arguments and named arguments of `name.name(value, name=value)`."""
    wrong = InvalidParameterValue(
        f"{call!r} is no call with plain values", hint='as connect("file.db", timeout=1)'
    )
    try:
        tree = ast.parse(call, mode="eval").body
        if not isinstance(tree, ast.Call):
            raise wrong
        arguments = [ast.literal_eval(each) for each in tree.args]
        named = {each.arg: ast.literal_eval(each.value) for each in tree.keywords if each.arg is not None}
    except (SyntaxError, ValueError):
        raise wrong from None
    return call[: call.index("(")].split("."), arguments, named


def _sqlalchemy_connect(url: str) -> Connect:
    try:
        sqlalchemy = importlib.import_module("sqlalchemy")
        pool = importlib.import_module("sqlalchemy.pool")
    except ImportError:
        raise MissingLibrary(
            "a URL needs SQLAlchemy, which is not installed",
            hint="pip install 'ferrisdb[isolation]', or name a DB-API module: sqlite3:connect(\"file.db\")",
        ) from None
    try:
        engine = sqlalchemy.create_engine(url, poolclass=pool.NullPool, isolation_level="AUTOCOMMIT")
    except Exception as error:  # also ImportError, where the driver is missing
        raise InvalidParameterValue(f"SQLAlchemy cannot use {url}: {error}") from error

    def connect() -> Any:
        handle = engine.raw_connection()
        connection = handle.dbapi_connection
        # From here on it belongs to the session that uses it, and not to the pool.
        handle.detach()
        return connection

    return connect


def _turn_autocommit_on(connection: Any) -> None:
    autocommit = getattr(connection, "autocommit", None)
    if callable(autocommit):  # MySQL's drivers
        autocommit(True)
    elif autocommit is not None:
        connection.autocommit = True
    elif hasattr(connection, "isolation_level"):  # sqlite3 before Python 3.12
        connection.isolation_level = None
