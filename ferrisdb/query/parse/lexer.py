"""From text to tokens: one regular expression, and one dictionary of words.

    SELECT "Key" FROM t WHERE n <> ?   -->   SELECT     select   0
                                             NAME       Key      7
                                             FROM       from     13
                                             NAME       t        18
                                             WHERE      where    20
                                             NAME       n        26
                                             COMPARISON <>       28
                                             PARAMETER  1        31
                                             $END                32

A token is a tuple (kind, text, position). The kind of a keyword is the word in upper case,
that of punctuation is itself; NAME, STRING, INT, DECIMAL, FLOAT, PARAMETER and COMPARISON
are the rest. The text is what the token means: names folded or unquoted, strings without
their quotes, `!=` as `<>`, a `?` as its number.

The lexer knows nothing of the place a word stands at: a reserved word is never a name,
whatever the parser would like to see (a lexer that asks the parser takes `SELECT a FROM
where` for a table). Words that may also be names are sorted out by the grammar.

Unquoted names fold to lower case. Comments are `-- ...` and `/* ... */`, which nest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ferrisdb.errors import SqlSyntaxError

Token = tuple[str, str, int]
"""(kind, text, position)"""

NAME = "NAME"
STRING = "STRING"
PARAMETER = "PARAMETER"
COMPARISON = "COMPARISON"
AS_OF = "AS_OF"
END = "$END"

MAX_PARAMETER_NUMBER = 65_535

# The alternatives are tried from left to right: what is frequent comes first. Quantifiers that
# may not give back (`*+`) make an unterminated string fail as a whole; it would else end at
# the first half of its last `''`. JUNK is the tail of 12ab, which would else be 12 AS ab.
_TOKEN = re.compile(
    r"""\s*+(?:
      (?P<WORD> [^\W\d][\w$]*+ )
    | (?P<PUNCTUATION> [(),;*+%] | \.(?![0-9]) | :: | \|\| | -(?!-) | /(?!\*) )
    | (?P<COMPARISON> [<>]= | <> | [<>] | != )
    | (?P<EQUAL> ==? )
    | (?P<NUMBER> (?: [0-9]++ (?: \.[0-9]*+ )? | \.[0-9]++ ) (?: [eE][+-]?[0-9]++ )? ) (?P<JUNK> [\w$]++ )?
    | (?P<STRING> '[^']*+(?:''[^']*+)*+' )
    | (?P<QUOTED> "[^"]*+(?:""[^"]*+)*+" )
    | (?P<PARAMETER> \?[0-9]*+ | [:$]\w++ )
    | (?P<LINE_COMMENT> --[^\n]*+ )
    | (?P<COMMENT> /\* )
    | (?P<END> \Z )
    | (?P<BAD> . )
    )""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


_OF = re.compile(r"\bof\b", re.IGNORECASE)


class Lexer:
    """Turns a text into tokens. `keyword_kinds` maps a lower-case word to its kind."""

    def __init__(self, keyword_kinds: Mapping[str, str]) -> None:
        self._kind_of_word = dict(keyword_kinds).get

    def tokens(self, sql: str) -> list[Token]:
        """All tokens of the text; the last is END, placed right behind the one before it.

        Raises SqlSyntaxError for an unterminated string, name or comment, a character that
        begins nothing, a malformed number, and parameters that cannot be told apart.
        """
        tokens: list[Token] = []
        append = tokens.append
        kind_of_word = self._kind_of_word
        has_parameters = False
        end = 0
        for match in _matches(sql):
            group = match.lastgroup or "BAD"
            text = match[group]
            if group == "WORD":
                text = text.lower()
                append((kind_of_word(text, NAME), text, match.start(group)))
            elif group == "PUNCTUATION":
                append((text, text, match.start(group)))
            elif group == "END":
                break
            elif group == "LINE_COMMENT":
                continue
            else:
                has_parameters |= group == PARAMETER
                append(_token(sql, group, text, match))
            end = match.end()
        append((END, "", end))
        if has_parameters:
            _number_parameters(tokens)
        if _OF.search(sql):
            _join_as_of(tokens)
        return tokens


def _matches(sql: str) -> Iterator[re.Match[str]]:
    """The matches of _TOKEN one after another, without the comments that a regular expression
    can't follow: the nesting ones."""
    start = 0
    while True:
        for match in _TOKEN.finditer(sql, start):
            if match.lastgroup == "COMMENT":
                opening = match.start("COMMENT")
                start = end_of_comment(sql, opening)
                if start < 0:
                    raise SqlSyntaxError("unterminated comment", position=opening, hint="add a closing */")
                break
            yield match
        else:
            return


def _token(sql: str, group: str, text: str, match: re.Match[str]) -> Token:
    """A token of a group that is neither a word nor punctuation."""
    position = match.start(group)
    if group == "NUMBER":
        return _number_kind(text), text, position
    if group == "COMPARISON":
        return COMPARISON, "<>" if text == "!=" else text, position
    if group == "EQUAL":
        return "=", "=", position
    if group == "STRING":
        return STRING, text[1:-1].replace("''", "'"), position
    if group == "QUOTED":
        return NAME, _unquote(text, position), position
    if group == "PARAMETER":
        return PARAMETER, text, position
    raise _rejection(sql, match.start("NUMBER") if group == "JUNK" else position)


def end_of_comment(sql: str, start: int) -> int:
    """Where the comment that begins at `start` with `/*` is over; -1 when it never is."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(sql, start):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return -1


def end_of_last_token(sql: str) -> int:
    """Where the text ends when the comments and blanks behind it are left off."""
    return Lexer({}).tokens(sql)[-1][2]


def token_length(sql: str, position: int) -> int:
    """How many characters the token at `position` takes."""
    match = _TOKEN.match(sql, position)
    return match.end() - position if match else 0


def _number_kind(text: str) -> str:
    if text.isdigit():
        return "INT"
    return "FLOAT" if "e" in text or "E" in text else "DECIMAL"


def _unquote(text: str, position: int) -> str:
    name = text[1:-1].replace('""', '"')
    if not name:
        raise SqlSyntaxError("a name in double quotes is empty", position=position)
    return name


def _join_as_of(tokens: list[Token]) -> None:
    """AS OF before VERSION or TIMESTAMP is one token.

    Two would take the parser two tokens to tell from an alias called "of", and it looks at one.
    Behind an alias neither word can stand, so nothing is lost.
    """
    for index in range(len(tokens) - 3, -1, -1):
        first, second, third = tokens[index : index + 3]
        if (first[0], second[0], third[0]) != ("AS", "OF", NAME) or third[1] not in ("version", "timestamp"):
            continue
        tokens[index : index + 2] = [(AS_OF, "as of", first[2])]


def _number_parameters(tokens: list[Token]) -> None:
    """Give each `?` its number, and leave the name or number of the others.

    One statement keeps to one way of writing them. Else nobody can say which value goes
    where: does the `?` after `?3` take the second value, or the fourth?
    """
    styles: dict[str, Token] = {}
    count = 0
    for index, (kind, text, position) in enumerate(tokens):
        if kind != PARAMETER:
            continue
        style, key = _parameter(text, position)
        styles.setdefault(style, tokens[index])
        if style == "?":
            count += 1
            key = str(count)
        if count > MAX_PARAMETER_NUMBER:
            raise _parameter_number_error(position)
        if len(styles) > 1:
            first, second = styles
            raise SqlSyntaxError(
                f"parameters are written in two ways: {first} and {second}",
                position=position,
                hint="use only one of ?, ?1 and :name in a statement",
            )
        tokens[index] = (PARAMETER, key, position)


def _parameter(text: str, position: int) -> tuple[str, str]:
    """How a parameter is written, and its key: a number in digits, or a name."""
    key = text[1:]
    if not key:
        return "?", ""
    if text[0] != ":" and key[0] in "0123456789":
        if not key.isdecimal() or len(key) > 5 or not 1 <= int(key) <= MAX_PARAMETER_NUMBER:
            raise _parameter_number_error(position)
        return "?1", str(int(key))
    if key[0].isdecimal():
        raise SqlSyntaxError(
            f"a parameter's name begins with a digit: {text[:40]}",
            position=position,
            hint=f"write ?{key[:20]}",
        )
    return ":name", key


def _parameter_number_error(position: int) -> SqlSyntaxError:
    return SqlSyntaxError(f"parameters are numbered from 1 to {MAX_PARAMETER_NUMBER}", position=position)


def _rejection(sql: str, position: int) -> SqlSyntaxError:
    character = sql[position]
    if character == "'":
        return SqlSyntaxError("unterminated string", position=position, hint="add a closing '")
    if character == '"':
        return SqlSyntaxError("unterminated quoted name", position=position, hint='add a closing "')
    if character in ".0123456789":
        text = sql[position : position + min(token_length(sql, position), 40)]
        return SqlSyntaxError(f"malformed number '{text}'", position=position)
    shown = character if character.isprintable() else f"U+{ord(character):04X}"
    hint = "names with other characters go in double quotes" if character in "`[]@#\\" else None
    return SqlSyntaxError(f"unexpected character '{shown}'", position=position, hint=hint)
