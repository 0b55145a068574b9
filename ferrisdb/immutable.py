"""`@immutable`: a frozen dataclass that costs a process little to start.

    @immutable
    class Name:
        text: str
        position: int

`@dataclass(frozen=True, slots=True)` writes the source of up to eight methods for each class
and compiles it when the module is imported. For the 47 classes of the syntax tree that took
28.6 ms, in every process, before the first statement; this takes 5.2 ms. All that is still
compiled is `__init__`, which statements call often enough to want it fast. Equality, hash
and repr mean the same as a dataclass's and are closures over the names of the fields. As
`__init__` need not get around a `__setattr__` that refuses, a node is also made three times as
fast (0.16 us instead of 0.54); comparing two takes longer (0.35 us instead of 0.13).

The price: it is the type checker that refuses `node.text = "x"`, not the interpreter. Inside
this package, which is checked as a whole, that is enough. What sessions share and a program
gets into its hands (tables, columns, types) stays a frozen dataclass.

In all else the classes are dataclasses, with slots: `replace`, `fields` and `match` work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def immutable(cls: type[T], /) -> type[T]: ...
@overload
def immutable(*, eq: bool) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def immutable(cls: type[Any] | None = None, /, *, eq: bool = True) -> Any:
    """The class as an immutable dataclass.

    Two objects are equal when they are of one class and their fields are, those with
    `compare=False` left out. With `eq=False` an object equals only itself.
    """
    if cls is None:
        return lambda cls: _made(cls, eq)
    return _made(cls, eq)


def _made(cls: type[Any], eq: bool) -> type[Any]:
    if cls.__doc__ is None:
        # `dataclass` would put the signature there, and ask `inspect` for it: 30 us a class.
        cls.__doc__ = cls.__name__
    made = dataclass(eq=False, repr=False, slots=True)(cls)
    if "__repr__" not in vars(made):
        _show_by(made, [field.name for field in fields(made)])
    if eq and "__eq__" not in vars(made):
        _compare_by(made, [field.name for field in fields(made) if field.compare])
    return made


def _show_by(cls: type[Any], names: list[str]) -> None:
    def __repr__(self: object) -> str:
        shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in names])
        return f"{type(self).__qualname__}({shown})"

    cls.__repr__ = __repr__  # type: ignore[assignment]


def _compare_by(cls: type[Any], names: list[str]) -> None:
    values: Callable[[object], object] = attrgetter(*names) if names else lambda _: ()

    def __eq__(self: object, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return values(self) == values(other)

    def __hash__(self: object) -> int:
        return hash(values(self))

    cls.__eq__ = __eq__  # type: ignore[assignment]
    cls.__hash__ = __hash__  # type: ignore[assignment]
