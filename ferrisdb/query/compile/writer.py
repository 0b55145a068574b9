"""Writing Python: lines, blocks, and names for what the lines may not contain.

Nothing that a user wrote ever becomes source text. Values, functions and codecs get a name
in the program's namespace, and only names that are made here stand in the code:

    SELECT b FROM t WHERE a > 5           for row_2 in rows_2:
                                              c1, c2 = ...
    namespace: k3 = 5                         if not ((c1 > k3)): continue

CPython has bounds that a query may reach and a programmer rarely does: 20 statically nested
loops, 100 levels of indentation, 200 open parentheses. `loops` counts the first; filters
use `continue` instead of a deeper block; the expression compiler watches the third.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

MAX_LOOPS = 14
"""Open loops in one function before the rows are kept in a list and a new nest begins."""


class Namespace:
    """The globals of the generated code. Equal objects share a name when they are one object."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {"__builtins__": _BUILTINS}
        self._names: dict[int, str] = {}
        self._count = 0

    def fresh(self, prefix: str) -> str:
        """A name that nothing else has."""
        self._count += 1
        return f"{prefix}{self._count}"

    def name(self, value: object, prefix: str = "k") -> str:
        """The name under which the code finds the value."""
        known = self._names.get(id(value))
        if known is not None:
            return known
        name = self.fresh(prefix)
        self.values[name] = value  # keeps the object alive, so its id stays its own
        self._names[id(value)] = name
        return name

    def include(self, names: Mapping[str, object]) -> None:
        """Names that a function's template brings along; they mean the same everywhere."""
        self.values.update(names)


_BUILTINS = {
    "len": len,
    "zip": zip,
    "set": set,
    "dict": dict,
    "range": range,
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "abs": abs,
    "min": min,
    "max": max,
    "bytes": bytes,
    "isinstance": isinstance,
    "tuple": tuple,
    "list": list,
    "round": round,
}


class FunctionWriter:
    """The body of one Python function while it is being written."""

    def __init__(self, header: str) -> None:
        self.lines: list[str] = [header]
        self._indent = "    "
        self.loops = 0

    def line(self, text: str) -> None:
        self.lines.append(self._indent + text)

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        self.line(header)
        self._indent += "    "
        yield
        self._indent = self._indent[:-4]

    @contextmanager
    def loop(self, header: str) -> Iterator[None]:
        self.loops += 1
        with self.block(header):
            yield
        self.loops -= 1


def tuple_of(codes: list[str]) -> str:
    """A tuple display: `(a, b)`, `(a,)`, `()`."""
    return f"({codes[0]},)" if len(codes) == 1 else f"({', '.join(codes)})"


def targets_of(names: list[str]) -> str:
    """What a `for` unpacks a tuple of that many into."""
    return tuple_of(names) if names else "_"
