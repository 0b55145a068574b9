"""What SQL does to values: types, casts, operators, functions, aggregates.

The binder asks for a function by its name and the types of its arguments; what it gets is
a `ScalarFunction` or an `AggregateFunction`, and the arguments are cast to what that says.
NULL is None and never arrives at a strict function.
"""

from ferrisdb.query.values.aggregates import aggregate_function
from ferrisdb.query.values.casts import CastContext, can_cast, cast_function
from ferrisdb.query.values.function import AggregateFunction, AggregateKind, ScalarFunction
from ferrisdb.query.values.functions import function_names, scalar_function
from ferrisdb.query.values.numbers import NUMERIC_CONTEXT, arithmetic_error
from ferrisdb.query.values.operators import binary_operator, unary_operator
from ferrisdb.query.values.patterns import like_matcher
from ferrisdb.query.values.texts import format_value
from ferrisdb.query.values.type_names import common_type, resolve_type, type_of_value

__all__ = [
    "NUMERIC_CONTEXT",
    "AggregateFunction",
    "AggregateKind",
    "CastContext",
    "ScalarFunction",
    "aggregate_function",
    "arithmetic_error",
    "binary_operator",
    "can_cast",
    "cast_function",
    "common_type",
    "format_value",
    "function_names",
    "like_matcher",
    "resolve_type",
    "scalar_function",
    "type_of_value",
    "unary_operator",
]
