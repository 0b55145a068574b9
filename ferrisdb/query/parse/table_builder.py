"""From the grammar to parse tables, with Lark: run when a wheel is built, or the grammar changed.

    grammar/sql.lark  --Lark: LALR(1)-->  states x symbols  --this module-->  plain data

Importing Lark takes 100 ms and building the tables of this grammar a second, so a program
that uses FerrisDB does neither: it loads the finished tables (`tables.py`). This module
imports nothing of FerrisDB, so that the build of a wheel can load it alone.

Lark resolves a shift/reduce conflict by shifting, and says so only in its log. A conflict
means that the grammar does not say what we think it says, so here each is an error.

The tables are made of lists, dicts, strings and integers (`build` says their shape). Their
numbering is our own and depends on the grammar only: the same grammar gives the same bytes.
"""

from __future__ import annotations

import logging
import threading
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from lark import Lark

STATEMENT = "statement"
EXPRESSION = "expression"
RESERVED_FOR_LATER = "reserved_for_later"
BARE = ("bare_word", "call_word")
"""Rules of words that may be bare names."""
OTHER = "other_word"
STARTS = [STATEMENT, EXPRESSION, RESERVED_FOR_LATER]

END = "$END"
ACCEPT = 0

_log_lock = threading.Lock()


class GrammarConflict(Exception):
    """The grammar is ambiguous for a parser that looks one word ahead."""


class TableData(TypedDict):
    """What is stored. A state's row maps a symbol (an index into `symbols`) to what to do.

    For a terminal: n >= 0 shifts it and goes to state n, and n < 0 reduces by rule ~n. For
    a rule's name: the state to go to after that rule was reduced. State 0 is the end: the
    whole text has become one value, and only $END fits.
    """

    symbols: list[str]
    rows: list[tuple[list[int], list[int]]]
    rules: list[tuple[str, int, str]]
    """(name of the rule, number of symbols, alias; an empty alias hands the value on)."""
    starts: dict[str, int]
    reserved_words: list[str]
    bare_words: list[str]
    other_words: list[str]


def build(grammar: str) -> TableData:
    """Build the tables. Raises GrammarConflict, or Lark's own errors for a malformed grammar."""
    return _Exporter(lark_parser(grammar)).export()


def lark_parser(grammar: str, **options: Any) -> Lark:
    """Lark's parser of the grammar. `options` go to Lark. Raises GrammarConflict."""
    import lark  # noqa: PLC0415 - it takes 100 ms

    conflicts = _ConflictHandler()
    options.setdefault("lexer", _no_lexer())
    with _log_lock:
        level = lark.logger.level
        lark.logger.addHandler(conflicts)
        lark.logger.setLevel(logging.DEBUG)
        silenced, lark.logger.handlers = lark.logger.handlers, [conflicts]
        try:
            parser = lark.Lark(grammar, parser="lalr", start=STARTS, **options)
        except lark.exceptions.GrammarError as error:
            if "Reduce/Reduce" in str(error):
                raise GrammarConflict(str(error)) from None
            raise
        finally:
            lark.logger.handlers = [handler for handler in silenced if handler is not conflicts]
            lark.logger.setLevel(level)
    if conflicts.messages:
        raise GrammarConflict("\n".join(conflicts.messages))
    return parser


def _no_lexer() -> type:
    """Lark wants a lexer; the tables do not depend on it, and FerrisDB has its own."""
    from lark.lexer import Lexer  # noqa: PLC0415 - it takes 100 ms

    class NoLexer(Lexer):
        def __init__(self, _configuration: Any) -> None:
            pass

        def lex(self, _state: Any, _parser: Any) -> Any:
            raise NotImplementedError

    return NoLexer


class _ConflictHandler(logging.Handler):
    """Keeps what Lark logs about conflicts: the line that names it, and the rule after it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.messages: list[str] = []
        self._is_rule_next = False

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        is_conflict = "conflict" in message.lower()
        if is_conflict or self._is_rule_next:
            self.messages.append(message)
        self._is_rule_next = is_conflict


class _Exporter:
    def __init__(self, parser: Lark) -> None:
        from lark.parsers.lalr_analysis import Shift  # noqa: PLC0415 - it takes 100 ms

        self.shift = Shift
        self.table = parser.parser.parser._parse_table
        self.grammar_rules = parser.rules
        self.texts = {terminal.name: terminal.pattern.value for terminal in parser.terminals}
        self.numbers: dict[int, int] = {}
        self.symbols: dict[str, int] = {}
        self.rules: dict[tuple[str, int, str], int] = {}

    def export(self) -> TableData:
        order = self._states_in_order()
        self.numbers = {state: number for number, state in enumerate(order, 1)}
        rows = [([self.symbols.setdefault(END, len(self.symbols))], [ACCEPT])]
        rows += [self._row(self.table.states[state]) for state in order]
        reserved, bare, other = self._words()
        return {
            "symbols": list(self.symbols),
            "rows": rows,
            "rules": list(self.rules),
            "starts": {name: self.numbers[self.table.start_states[name]] for name in STARTS},
            "reserved_words": reserved,
            "bare_words": bare,
            "other_words": other,
        }

    def _states_in_order(self) -> list[int]:
        """States as they are first met from the start ones. Lark numbers them by hash."""
        ends = set(self.table.end_states.values())
        order = [self.table.start_states[name] for name in STARTS]
        known = set(order) | ends
        for state in order:
            for _, (action, target) in self._sorted(self.table.states[state]):
                if action is self.shift and target not in known:
                    known.add(target)
                    order.append(target)
        return order

    def _sorted(self, row: dict[str, Any]) -> list[tuple[str, Any]]:
        return sorted(((self._symbol(name), entry) for name, entry in row.items()), key=itemgetter(0))

    def _symbol(self, name: str) -> str:
        return self.texts.get(name, str(name))

    def _row(self, row: dict[str, Any]) -> tuple[list[int], list[int]]:
        symbols: list[int] = []
        actions: list[int] = []
        for name, (action, argument) in self._sorted(row):
            symbols.append(self.symbols.setdefault(name, len(self.symbols)))
            if action is self.shift:
                actions.append(self.numbers.get(argument, ACCEPT))
            else:
                actions.append(~self._rule(argument))
        return symbols, actions

    def _rule(self, rule: Any) -> int:
        name, length = str(rule.origin.name), len(rule.expansion)
        if rule.alias is None and length != 1:
            raise ValueError(f"a production of {name} with {length} symbols has no alias: {rule}")
        key = (name, length, str(rule.alias or ""))
        return self.rules.setdefault(key, len(self.rules))

    def _words(self) -> tuple[list[str], list[str], list[str]]:
        """The reserved words, the bare ones, the other ones. Declared terminals have no text."""
        words = {text for text in self.texts.values() if text[0].isalpha()}
        bare = {
            self._symbol(rule.expansion[0].name) for rule in self.grammar_rules if rule.origin.name in BARE
        }
        other = {
            self._symbol(rule.expansion[0].name) for rule in self.grammar_rules if rule.origin.name == OTHER
        }
        return sorted(words - bare - other), sorted(bare), sorted(other)
