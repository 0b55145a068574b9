"""The values given with a statement, checked and typed.

`?` and `?3` take from a sequence, numbered from 1; `:name` takes from a mapping. Only the
kinds matter for planning: `signature` is what a statement cache adds to its key, and a
plan made for one signature runs with any values of the same. A str and None are UNKNOWN,
as quoted literals are, and take their type from where they stand.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from ferrisdb.errors import InterfaceError, UndefinedParameter
from ferrisdb.query.types import SqlType, Value
from ferrisdb.query.values import type_of_value


class Parameters:
    """`values` by number from 1, or by name."""

    __slots__ = ("_types", "signature", "values")

    values: Mapping[int | str, Value]
    signature: Hashable

    def __init__(self, values: Mapping[int | str, Value]) -> None:
        self.values = values
        self._types = {key: type_of_value(value) for key, value in values.items()}
        self.signature = tuple((key, type.kind) for key, type in self._types.items())

    @classmethod
    def of(cls, values: Sequence[object] | Mapping[str, object] | None) -> Parameters:
        """A user's values. Raises InterfaceError for what is neither sequence nor mapping."""
        if not values and (values is None or isinstance(values, (tuple, list, dict))):
            return NO_PARAMETERS
        if isinstance(values, Mapping):
            return cls(dict(sorted(_named(values).items())))
        if isinstance(values, Sequence) and not isinstance(values, (str, bytes, bytearray)):
            return cls(dict(enumerate(values, start=1)))
        raise InterfaceError(
            f"parameters are a sequence or a mapping, not {type(values).__name__}",
            hint="a single value needs a tuple around it: (value,)",
        )

    def beside(self, more: Mapping[int | str, Value]) -> Parameters:
        """These and `more`, for a plan that knows the types of `more` by itself."""
        both = Parameters.__new__(Parameters)
        both.values = {**self.values, **more}
        both.signature, both._types = self.signature, self._types
        return both

    def type_of(self, key: int | str) -> SqlType:
        """Raises UndefinedParameter when the statement names what was not given."""
        found = self._types.get(key)
        if found is not None:
            return found
        shown = f"?{key}" if isinstance(key, int) else f":{key}"
        given = len(self._types)
        if isinstance(key, int) and all(isinstance(name, int) for name in self._types):
            detail = (
                f"{given} value{'' if given == 1 else 's'} were given" if given != 1 else "1 value was given"
            )
        else:
            detail = "given are " + ", ".join(str(name) for name in self._types)
        raise UndefinedParameter(f"there is no value for parameter {shown}", detail=detail)


def _named(values: Mapping[str, object]) -> dict[int | str, object]:
    for name in values:
        if not isinstance(name, str):
            raise InterfaceError(f"a parameter's name is a str, not {type(name).__name__}")
    return dict(values.items())


NO_PARAMETERS = Parameters({})
