"""Functions of text. Positions count characters from 1, as SQL does."""

from __future__ import annotations

from collections.abc import Callable

from ferrisdb.errors import InvalidParameterValue
from ferrisdb.query.types import INTEGER, TEXT, SqlType, Value
from ferrisdb.query.values.function import ScalarFunction

MAX_TEXT_CHARACTERS = 100_000_000
"""What repeat and lpad may make. More is a mistake that would take the memory of the host."""


def substring_from(text: str, start: int) -> str:
    return text[max(start - 1, 0) :]


def substring(text: str, start: int, length: int) -> str:
    """The characters start .. start + length - 1; those before the first do not exist but count."""
    if length < 0:
        raise InvalidParameterValue("negative substring length not allowed")
    return text[max(start - 1, 0) : max(start - 1 + length, 0)]


def _left(text: str, count: int) -> str:
    """The first `count` characters; all but the last ones when `count` is negative."""
    return text[:count]


def _right(text: str, count: int) -> str:
    if count == 0:
        return ""
    return text[-count:] if count > 0 else text[min(-count, len(text)) :]


def _trim(text: str) -> str:
    return text.strip(" ")


def _left_trim(text: str) -> str:
    return text.lstrip(" ")


def _right_trim(text: str) -> str:
    return text.rstrip(" ")


def _trim_characters(strip: Callable[[str, str], str]) -> Callable[[str, str], str]:
    """Python takes no characters to mean blanks; SQL takes it to mean nothing to strip."""
    return lambda text, characters: strip(text, characters) if characters else text


def _replace(text: str, old: str, new: str) -> str:
    if not old:
        return text
    if len(new) > len(old):
        _check_length(len(text) + text.count(old) * (len(new) - len(old)))
    return text.replace(old, new)


def _position(wanted: str, text: str) -> int:
    return text.find(wanted) + 1


def _strpos(text: str, wanted: str) -> int:
    return text.find(wanted) + 1


def _fill(text: str, length: int, fill: str) -> str:
    """As much of `fill`, over and over, as `text` lacks to `length`."""
    missing = _check_length(length) - len(text)
    if missing <= 0 or not fill:
        return ""
    return (fill * (missing // len(fill) + 1))[:missing]


def _left_pad(text: str, length: int, fill: str = " ") -> str:
    return (
        (_fill(text, length, fill) + text)[: max(length, 0)] if length > len(text) else text[: max(length, 0)]
    )


def _right_pad(text: str, length: int, fill: str = " ") -> str:
    return (text + _fill(text, length, fill))[: max(length, 0)]


def _reverse(text: str) -> str:
    return text[::-1]


def _repeat(text: str, count: int) -> str:
    if count <= 0:
        return ""
    _check_length(len(text) * count)
    return text * count


def _check_length(characters: int) -> int:
    if characters > MAX_TEXT_CHARACTERS:
        raise InvalidParameterValue(
            "requested length too large", detail=f"The limit is {MAX_TEXT_CHARACTERS} characters."
        )
    return characters


def _define(
    names: tuple[str, ...], argument_types: tuple[SqlType, ...], result: SqlType, call: Callable[..., Value]
) -> list[ScalarFunction]:
    return [ScalarFunction(name, argument_types, result, call) for name in names]


_T, _TT, _TI = (TEXT,), (TEXT, TEXT), (TEXT, INTEGER)

TEXT_FUNCTIONS: tuple[ScalarFunction, ...] = (
    *(
        ScalarFunction(name, _T, INTEGER, len, template="len({0})", names={"len": len})
        for name in ("length", "char_length", "character_length")
    ),
    ScalarFunction("upper", _T, TEXT, str.upper, template="{0}.upper()"),
    ScalarFunction("lower", _T, TEXT, str.lower, template="{0}.lower()"),
    *_define(("trim", "btrim"), _T, TEXT, _trim),
    *_define(("ltrim",), _T, TEXT, _left_trim),
    *_define(("rtrim",), _T, TEXT, _right_trim),
    *_define(("trim", "btrim"), _TT, TEXT, _trim_characters(str.strip)),
    *_define(("ltrim",), _TT, TEXT, _trim_characters(str.lstrip)),
    *_define(("rtrim",), _TT, TEXT, _trim_characters(str.rstrip)),
    *_define(("substr", "substring"), _TI, TEXT, substring_from),
    *_define(("substr", "substring"), (TEXT, INTEGER, INTEGER), TEXT, substring),
    *_define(("replace",), (TEXT, TEXT, TEXT), TEXT, _replace),
    *_define(("position",), _TT, INTEGER, _position),
    *_define(("strpos", "instr"), _TT, INTEGER, _strpos),
    *_define(("left",), _TI, TEXT, _left),
    *_define(("right",), _TI, TEXT, _right),
    *_define(("lpad",), _TI, TEXT, _left_pad),
    *_define(("lpad",), (TEXT, INTEGER, TEXT), TEXT, _left_pad),
    *_define(("rpad",), _TI, TEXT, _right_pad),
    *_define(("rpad",), (TEXT, INTEGER, TEXT), TEXT, _right_pad),
    *_define(("reverse",), _T, TEXT, _reverse),
    *_define(("repeat",), _TI, TEXT, _repeat),
)
