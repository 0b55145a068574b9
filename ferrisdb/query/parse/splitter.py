"""Where one statement ends and the next begins, without parsing any.

A script is cut at each `;` that stands outside strings, quoted names and comments. Whatever
else is wrong with a statement is for the parser to say, so nothing here raises: an
unterminated string reaches to the end of the text and takes the last statement with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ferrisdb.query.parse.lexer import end_of_comment

_PIECE = re.compile(
    r"""\s*+(?:
      (?P<SEMICOLON> ; )
    | (?P<LINE_COMMENT> --[^\n]*+ )
    | (?P<COMMENT> /\* )
    | (?P<UNTERMINATED> '[^']*+(?:''[^']*+)*+\Z | "[^"]*+(?:""[^"]*+)*+\Z )
    | (?P<TEXT> (?: [^\s;'"/-] | '[^']*+(?:''[^']*+)*+' | "[^"]*+(?:""[^"]*+)*+" | -(?!-) | /(?!\*) )++ )
    )""",
    re.VERBOSE,
)


def _pieces(sql: str) -> Iterator[tuple[str, int, int]]:
    """(kind, start, end) of the semicolons, comments and texts, in order."""
    position = 0
    while match := _PIECE.match(sql, position):
        kind = match.lastgroup or "TEXT"
        start, position = match.start(kind), match.end()
        if kind == "COMMENT":
            position = end_of_comment(sql, start)
            if position < 0:
                yield "UNTERMINATED", start, len(sql)
                return
        yield kind, start, position


def split_statements(sql: str) -> Iterator[tuple[int, str]]:
    """Yield (offset, text) of each statement, from its first word up to its `;`, without it.

    Empty statements, and blanks and comments before and after a statement, are left out:
    what lies between two of them is blanks, comments and semicolons.
    """
    start, end = -1, -1
    for kind, piece_start, piece_end in _pieces(sql):
        if kind in ("TEXT", "UNTERMINATED"):
            start = piece_start if start < 0 else start
            end = piece_end
        elif kind == "SEMICOLON" and start >= 0:
            yield start, sql[start:end]
            start = -1
    if start >= 0:
        yield start, sql[start:end]


def is_complete(sql: str) -> bool:
    """Whether the text ends with `;`, but for blanks and comments. A shell then runs it.

    A `;` in a string, a quoted name or a comment ends nothing. The empty text is not
    complete.
    """
    last = ""
    for kind, _, _ in _pieces(sql):
        if kind not in ("LINE_COMMENT", "COMMENT"):
            last = kind
    return last == "SEMICOLON"
