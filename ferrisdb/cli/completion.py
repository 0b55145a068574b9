"""What Tab offers in the shell: words of SQL, tables, their columns, dot commands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from ferrisdb.cli.describe import identifier
from ferrisdb.query.parse import keywords
from ferrisdb.query.schema import Table

_WORD = re.compile(r"[\w.]*$")


class SqlCompleter(Completer):
    """`tables` is asked at each completion, so what was just created is offered."""

    def __init__(self, tables: Callable[[], Iterable[Table]], dot_commands: Iterable[str]) -> None:
        self._tables = tables
        self._dot_commands = sorted(dot_commands)
        self._keywords = sorted(keywords())

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        before = document.text_before_cursor
        match = _WORD.search(before)
        word = match[0] if match else ""
        if before == word and word.startswith("."):
            return _matching(self._dot_commands, word)
        table, dot, beginning = word.rpartition(".")
        if dot:
            columns = [c.name for t in self._tables() if t.name == table.lower() for c in t.columns]
            return _matching(sorted(columns), beginning)
        return _matching([*self._names(), *self._keywords], word) if word else []

    def _names(self) -> list[str]:
        names = {identifier(t.name) for t in self._tables()}
        names.update(identifier(c.name) for t in self._tables() for c in t.columns)
        return sorted(names)


def _matching(words: Iterable[str], beginning: str) -> list[Completion]:
    wanted = beginning.lower()
    return [Completion(word, -len(beginning)) for word in words if word.lower().startswith(wanted)]
