"""What is wrong with a text that does not fit the grammar, and what would fit.

The automaton only says: this token has no place here. The states on its stack say more.
`automaton.expected` tells which tokens do have a place, and every hint is a small repair
that is tried out on the same automaton before it is offered:

    SELECT a FORM t        FORM became the alias of a, and `t` does not fit. Was FORM meant
             ^             to be a word that fits there, and does `t` fit behind that word?
    SELECT a, FROM t       does FROM fit when the comma is left out?
    SELECT * FROM order    does the rest fit when the reserved word is a name?

Else the hint lists what fits, when that is short.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from ferrisdb.errors import Error, NotSupportedError, SqlSyntaxError, line_and_column
from ferrisdb.query.parse.automaton import expected, shift, shift_all
from ferrisdb.query.parse.lexer import AS_OF, COMPARISON, END, NAME, PARAMETER, STRING, Token, token_length
from ferrisdb.query.parse.not_yet import missing_feature
from ferrisdb.query.parse.tables import Tables

MAX_LISTED = 6
SIMILARITY = 0.6
"""difflib's ratio from which two words are thought to be the same, mistyped."""

_ARITHMETIC = {"+", "-", "*", "/", "%", "||", "::"}
_PREDICATES = {"=", COMPARISON, "AND", "OR", "IS", "NOT", "IN", "LIKE", "ILIKE", "BETWEEN"}
_AFTER_A_NAME = {".", "(", STRING}
_SHOWN = {
    NAME: "a name",
    STRING: "a string",
    "INT": "a whole number",
    PARAMETER: "a parameter",
    COMPARISON: "<",
    AS_OF: "AS OF",
    END: "the end of the statement",
}


def explain(tables: Tables, start: str, sql: str, tokens: list[Token], index: int) -> Error:
    """The error for a text whose token `index` was refused."""
    return _Explanation(tables, start, sql, tokens, index).error()


class _Explanation:
    def __init__(self, tables: Tables, start: str, sql: str, tokens: list[Token], index: int) -> None:
        self.tables = tables
        self.start = start
        self.sql = sql
        self.tokens = tokens
        self.kinds = [token[0] for token in tokens]
        self.index = index
        self.expected = expected(tables, self._states_before(index))

    def error(self) -> Error:
        kind, _, position = self.tokens[self.index]
        if self.index == 0 and kind in (END, ";"):
            return SqlSyntaxError(f"there is no {self.start} here", position=position)
        if kind == ";" and END in self.expected:
            return SqlSyntaxError(
                "more than one statement", position=position, hint="run them one by one, or as a script"
            )
        return self._not_supported() or self._mistyped() or self._syntax_error(self.index, self._hint())

    def _not_supported(self) -> NotSupportedError | None:
        is_name_wanted = NAME in self.expected and "AS" not in self.expected
        feature = missing_feature(self.tokens, self.index, is_name_wanted=is_name_wanted)
        if feature is None:
            return None
        what, where = feature
        return NotSupportedError(f"{what} is not supported yet", position=self.tokens[where][2])

    # --- a word mistyped ----------------------------------------------------------------

    def _mistyped(self) -> SqlSyntaxError | None:
        """The refused word, or the one before it that was taken for a name by mistake."""
        for culprit in (self.index - 1, self.index):
            word = self._similar_word(culprit)
            if word is not None:
                return self._syntax_error(culprit, f"did you mean {word}?")
        return None

    def _similar_word(self, culprit: int) -> str | None:
        if culprit < 0 or not self._is_plain_word(culprit):
            return None
        states = self._states_before(culprit)
        fitting = expected(self.tables, states) & self.tables.keywords
        if NAME in expected(self.tables, states):
            # The others fit here only as names, and a name is what was written.
            fitting &= self.tables.reserved_words | {"SET"}
        written = self.tokens[culprit][1].upper()
        similar = difflib.get_close_matches(written, sorted(fitting), 5, SIMILARITY)
        good = [word for word in similar if self._fits(states, word, culprit + 1)]
        if good:
            return good[0]
        # At the refused word itself, the text behind it may be wrong as well.
        return similar[0] if similar and culprit == self.index else None

    def _is_plain_word(self, index: int) -> bool:
        kind, text, position = self.tokens[index]
        return kind == NAME and len(text) >= 3 and self.sql[position] != '"'

    # --- other hints --------------------------------------------------------------------

    def _hint(self) -> str | None:
        return self._comma_hint() or self._reserved_hint() or self._operator_hint() or self._expected_hint()

    def _comma_hint(self) -> str | None:
        if self.index == 0 or self.kinds[self.index - 1] != ",":
            return None
        if not shift(self.tables, self._states_before(self.index - 1), self.kinds[self.index]):
            return None
        return f"there is a comma too many before {self._shown(self.index)}"

    def _reserved_hint(self) -> str | None:
        kind, text, _ = self.tokens[self.index]
        if kind not in self.tables.reserved_words or NAME not in self.expected:
            return None
        is_only_name = "INT" not in self.expected and "AS" not in self.expected
        # SELECT FROM t would fit as SELECT "from" AS t, but nobody means that.
        is_clause = kind in ("FROM", "WHERE", "SELECT", "VALUES", "AS")
        if not is_only_name and (
            is_clause or not self._fits(self._states_before(self.index), NAME, self.index + 1)
        ):
            return None
        return f'{kind} is a reserved word; to use it as a name, write "{text}"'

    def _operator_hint(self) -> str | None:
        kind = self.kinds[self.index]
        if kind in ("=", COMPARISON) and "+" in self.expected:
            return "comparisons do not chain; use AND, or parentheses"
        if kind == ")" and END in self.expected:
            return "there is no ( for it"
        return None

    def _expected_hint(self) -> str | None:
        shown = self._expected_shown()
        if not 0 < len(shown) <= MAX_LISTED:
            return None
        if shown == ["AS"]:
            return "a query in FROM needs a name: (...) AS name"
        *others, last = shown
        return f"expected {', '.join(others)} or {last}" if others else f"expected {last}"

    def _expected_shown(self) -> list[str]:
        """What fits, with all that begins an expression, and all operators, as one item each."""
        kinds, shown = set(self.expected), []
        if {"INT", "CASE", "("} <= kinds:
            shown.append("an expression")
            kinds -= expected(self.tables, [self.tables.starts["expression"]])
        if {"+", "*", "||"} <= kinds:
            shown.append("an operator")
            kinds -= _ARITHMETIC | _PREDICATES | _AFTER_A_NAME
        if NAME in kinds:
            if "AS" not in kinds:
                shown.append(_SHOWN[NAME])
            kinds -= {NAME} | self.tables.bare_words | self.tables.other_words
        if END in kinds:
            kinds.remove(END)
            return shown + self._sorted(kinds) + [_SHOWN[END]]
        return shown + self._sorted(kinds)

    def _sorted(self, kinds: set[str]) -> list[str]:
        return sorted((_SHOWN.get(kind, kind) for kind in kinds), key=lambda text: (not text.isalpha(), text))

    # --- tools --------------------------------------------------------------------------

    def _states_before(self, index: int) -> list[int]:
        return shift_all(self.tables, self.start, self.kinds[:index])

    def _fits(self, states: Sequence[int], kind: str, following: int) -> bool:
        """Whether `kind` fits here, and the token `following` behind it."""
        tried = list(states)
        if not shift(self.tables, tried, kind):
            return False
        return following >= len(self.kinds) or shift(self.tables, tried, self.kinds[following])

    def _shown(self, index: int) -> str:
        position = self.tokens[index][2]
        text = self.sql[position : position + token_length(self.sql, position)]
        return text if len(text) <= 40 else text[:37] + "..."

    def _syntax_error(self, index: int, hint: str | None) -> SqlSyntaxError:
        kind, _, position = self.tokens[index]
        line, column = line_and_column(self.sql, position)
        near = "end of statement" if kind == END else f"'{self._shown(index)}'"
        return SqlSyntaxError(
            f"syntax error at line {line} col {column} near {near}", position=position, hint=hint
        )
