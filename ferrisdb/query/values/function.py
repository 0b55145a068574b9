"""What the binder is given for an operator, a function, a cast or an aggregate.

A `ScalarFunction` comes in two forms that mean the same. `call` is a Python function: for
constants, for plans that run once, for anything that has no second form. `template` is a
Python expression that the code generator splices into a fused loop, where a call (40 ns)
would cost more than the work:

    a + b   on INTEGER   call      add_integer(a, b)
                         template  (_i if MIN <= (_i := {0} + {1}) <= MAX else integer_overflow(_i))

Templates and NUMERIC `call`s may raise `ArithmeticError` from the decimal module where the
exact answer has too many digits; `arithmetic_error` (values.numbers) says what that is in SQL.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from ferrisdb.immutable import immutable
from ferrisdb.query.types import SqlType, Value


@immutable
class ScalarFunction:
    """One operator, function or cast, chosen for the types of its arguments.

    `argument_types` are what the arguments must be cast to before the call. A strict
    function is never called with None: any NULL argument gives NULL.

    `template` is a Python expression over {0}, {1}, ..., each used exactly once, in any
    order, equal to `call`. `names` says what its free names mean. Its own variables are
    `_i` and `_f`, read at once after they are written, so templates nest.
    """

    name: str
    argument_types: tuple[SqlType, ...]
    result_type: SqlType
    call: Callable[..., Value]
    is_strict: bool = True
    template: str | None = None
    names: Mapping[str, object] = field(default_factory=dict, compare=False)


class AggregateKind(enum.Enum):
    """Which aggregates the code generator may write inline."""

    COUNT_STAR = "count(*)"
    COUNT = "count"
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"
    OTHER = "other"


@immutable
class AggregateFunction:
    """A fold over the rows of a group: `state = initial(); state = step(state, *arguments); finish(state)`.

    The caller leaves out rows where the first argument is NULL, except for count(*), whose
    `step` takes the state only. `step` gives the new state and may change the old one.
    """

    name: str
    kind: AggregateKind
    argument_types: tuple[SqlType, ...]
    result_type: SqlType
    initial: Callable[[], Any]
    step: Callable[..., Any]
    finish: Callable[[Any], Value]
