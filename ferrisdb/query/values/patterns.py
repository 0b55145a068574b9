"""LIKE: a pattern becomes a Python function, once.

`%` is any run of characters, `_` is one, and the escape character (backslash unless ESCAPE
says otherwise) takes the next one literally. Common shapes need no regular expression:

    'abc'  equality     'abc%'  startswith     '%abc'  endswith     '%abc%'  in

The rest becomes one, with each run between two `%` in an atomic group. The first place
where a run fits is the best place, as what follows `%` does not care how much it skips; so
nothing is tried twice, and a pattern such as '%a%a%a%a%b' takes no more than linear time
for each of its runs. Plain `.*a.*a.*a` would try every combination.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from ferrisdb.errors import InvalidEscape

Run = list[str | None]
_ANY_ONE = None


@functools.lru_cache(maxsize=512)
def like_matcher(pattern: str, escape: str | None, is_case_insensitive: bool) -> Callable[[str], bool]:
    """A function that tells whether a text matches. `escape` None is a backslash, '' is none.

    Raises InvalidEscape when `escape` is longer than one character, or ends the pattern.
    """
    runs = _runs(pattern, "\\" if escape is None else escape)
    words = ["".join(token or "" for token in run) for run in runs]
    has_any_one = any(token is _ANY_ONE for run in runs for token in run)
    if has_any_one or len(runs) > 3 or is_case_insensitive:
        return _compiled(runs, is_case_insensitive)
    return _plain_matcher(words) or _compiled(runs, is_case_insensitive)


def _runs(pattern: str, escape: str) -> list[Run]:
    """Split at `%`: each run is a list of characters and of _ANY_ONE."""
    if len(escape) > 1:
        raise InvalidEscape("invalid escape string", hint="the escape must be empty or one character")
    runs: list[Run] = [[]]
    characters = iter(pattern)
    for character in characters:
        if character == escape:
            literal = next(characters, None)
            if literal is None:
                raise InvalidEscape("LIKE pattern must not end with escape character")
            runs[-1].append(literal)
        elif character == "%":
            runs.append([])
        else:
            runs[-1].append(_ANY_ONE if character == "_" else character)
    return runs


def _plain_matcher(words: list[str]) -> Callable[[str], bool] | None:
    if len(words) == 1:
        return words[0].__eq__
    first, last = words[0], words[-1]
    if len(words) == 3:
        middle = words[1]
        if first or last:
            return None
        return lambda text: middle in text
    if not last:
        return lambda text: text.startswith(first)
    if not first:
        return lambda text: text.endswith(last)
    shortest = len(first) + len(last)
    return lambda text: len(text) >= shortest and text.startswith(first) and text.endswith(last)


def _compiled(runs: list[Run], is_case_insensitive: bool) -> Callable[[str], bool]:
    flags = re.DOTALL | (re.IGNORECASE if is_case_insensitive else 0)
    first, *rest = ["".join("." if token is _ANY_ONE else re.escape(token) for token in run) for run in runs]
    if not rest:
        match = re.compile(first, flags).fullmatch
    else:
        *middle, last = rest
        skips = "".join(f"(?>.*?{run})" for run in middle if run)
        match = re.compile(f"{first}{skips}.*{last}", flags).fullmatch
    return lambda text: match(text) is not None
