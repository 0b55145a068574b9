"""Where the parse tables come from.

    1. sql_tables.msgpack beside this module      made when the wheel was built
    2. the same in the user's cache folder        where the first can't be written
    3. Lark and the grammar                       a developer edited the grammar

The first that was made from the grammar as it is now is taken. What had to be built is written
to the first of the two places that can be written; where none can, each process builds its
own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ferrisdb.errors import broken, invariant
from ferrisdb.immutable import immutable
from ferrisdb.query.parse import table_file
from ferrisdb.query.parse.rules import REDUCERS, Reducer

_HERE = Path(__file__).parent
_PACKAGE = _HERE.parent.parent
GRAMMAR_PATHS = (_PACKAGE / "grammar" / "sql.lark", _PACKAGE.parent / "grammar" / "sql.lark")

Row = dict[str, int]
"""What to do on a symbol; see `table_builder.TableData`."""

ParseRule = tuple[str, int, Reducer | None]
"""(name, number of symbols, function); None hands the only value on."""


@immutable
class Tables:
    rows: list[Row]
    rules: list[ParseRule]
    starts: dict[str, int]
    reserved_words: frozenset[str]
    bare_words: frozenset[str]
    other_words: frozenset[str]

    @property
    def keywords(self) -> frozenset[str]:
        return self.reserved_words | self.bare_words | self.other_words


def load() -> Tables:
    """The tables of the grammar as it is now, from the nearest place that has them."""
    grammar = grammar_text()
    return link(find_or_build(grammar, [_HERE / table_file.FILE_NAME, cache_path(grammar)]))


def grammar_text() -> str:
    """The grammar, from the installed package or from the checkout around it."""
    path = next((path for path in GRAMMAR_PATHS if path.is_file()), None)
    if path is None:
        broken(f"the grammar is missing; looked at {' and '.join(map(str, GRAMMAR_PATHS))}")
    return path.read_text(encoding="utf-8")


def find_or_build(grammar: str, places: Sequence[Path]) -> Mapping[str, Any]:
    """The tables out of the first of `places` that has them; else built, and left in the first
    that can be written."""
    for path in places:
        found = table_file.read(path, grammar)
        if found is not None:
            return found
    from ferrisdb.query.parse import table_builder  # noqa: PLC0415 - only here, and it needs Lark

    built = table_builder.build(grammar)
    for path in places:
        try:
            table_file.write(path, built, grammar)
        except OSError:
            # A read-only installation, or a full disk: the next place, or memory alone.
            continue
        break
    return built


def cache_path(grammar: str) -> Path:
    """Where the user's cache keeps the tables of this grammar."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ferrisdb" / f"{table_file.short_key(grammar)}-{table_file.FILE_NAME}"


def link(data: Mapping[str, Any]) -> Tables:
    """Put names for numbers and functions for aliases."""
    # Interned, so that they are the very objects the lexer hands out: a dict then finds them
    # by identity, without comparing text.
    symbols = [sys.intern(symbol) for symbol in data["symbols"]]
    name_of = symbols.__getitem__
    rows = [dict(zip(map(name_of, numbers), actions, strict=True)) for numbers, actions in data["rows"]]
    rules: list[ParseRule] = []
    for name, length, alias in data["rules"]:
        invariant(not alias or alias in REDUCERS, f"no function for the rule {alias}")
        rules.append((sys.intern(name), length, REDUCERS[alias] if alias else None))
    return Tables(
        rows,
        rules,
        data["starts"],
        frozenset(data["reserved_words"]),
        frozenset(data["bare_words"]),
        frozenset(data["other_words"]),
    )
