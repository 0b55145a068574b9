"""Expressions as Python source, with SQL's three truth values kept exact.

There are three questions to ask of a condition, and each has its own cheapest code:

    value(e)    True, False or None        what SELECT shows
    truth(e)    truthy iff e is TRUE       what WHERE asks:    a AND b  ->  truth(a) and truth(b)
    falsity(e)  truthy iff e is FALSE      what NOT asks:      NOT a    ->  falsity(a)

So a WHERE clause never builds a None to throw it away, and NOT, AND and OR become Python's
own short-circuit words. A NULL check is written only for an operand that can be NULL.

    a + b > 5  with b nullable       b is not None and ((a + b) > k1)

Code is nested text, and CPython reads at most 200 open parentheses; past `MAX_NESTING` a
part is moved to a function of its own, which keeps its evaluation lazy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from ferrisdb.errors import broken
from ferrisdb.query.bind.expressions import (
    And,
    Call,
    Case,
    Cast,
    Constant,
    DistinctFrom,
    ExistsQuery,
    Expression,
    InList,
    InQuery,
    IsTest,
    Let,
    Like,
    Not,
    Now,
    Or,
    ParameterRef,
    ScalarQuery,
    Slot,
    SlotRef,
    SubqueryExpression,
    slots_of,
)
from ferrisdb.query.compile import matching
from ferrisdb.query.compile.code import Code, all_of, any_of, deepest, nest
from ferrisdb.query.compile.writer import Namespace
from ferrisdb.query.types import DATE
from ferrisdb.query.values import ScalarFunction

MAX_NESTING = 25

Environment = Mapping[Slot, str]
"""The Python name that holds each slot's value at some place of the code."""


class Host(Protocol):
    """What the expression compiler needs of the program around it."""

    namespace: Namespace

    def prologue(self, key: object, prefix: str, code: str) -> str:
        """The name of a value computed once, before the first row."""

    def helper(self, parameters: Sequence[str], body: str) -> str:
        """The name of a new function that returns `body`."""

    def subquery(self, node: SubqueryExpression, environment: Environment) -> str:
        """Code that calls the subquery for the current row."""


class ExpressionCompiler:
    """Compiles expressions at one place, where `environment` says what has a name."""

    def __init__(self, host: Host, environment: Environment) -> None:
        self._host = host
        self.names = host.namespace
        self._environment = dict(environment)

    def value(self, expression: Expression) -> str:
        return self.code(expression).text

    def truth(self, expression: Expression) -> str:
        return self._truth(expression).text

    # --- the three forms ----------------------------------------------------------------

    def code(self, expression: Expression) -> Code:
        return self._bounded(expression, _VALUE[type(expression)](self, expression))

    def _truth(self, expression: Expression) -> Code:
        compiler = _TRUTH.get(type(expression))
        if compiler is None:
            return self.code(expression)
        return self._bounded(expression, compiler(self, expression))

    def _falsity(self, expression: Expression) -> Code:
        compiler = _FALSITY.get(type(expression))
        if compiler is not None:
            return self._bounded(expression, compiler(self, expression))
        value = self.code(expression)
        if expression.is_nullable:
            return Code(f"({value.text} is False)", value.depth + 1)
        return Code(f"(not {value.text})", value.depth + 1)

    def _bounded(self, expression: Expression, code: Code) -> Code:
        if code.depth <= MAX_NESTING:
            return code
        used = sorted(slots_of(expression), key=lambda slot: slot.id)
        names = list(dict.fromkeys(self._environment[slot] for slot in used))
        names = [name for name in names if name not in self.names.values]
        return Code(f"{self._host.helper(names, code.text)}({', '.join(names)})", 1)

    # --- leaves -------------------------------------------------------------------------

    def _constant(self, node: Constant) -> Code:
        if node.value is None or node.value is True or node.value is False:
            return Code(str(node.value))
        return Code(self.names.name(node.value))

    def _parameter(self, node: ParameterRef) -> Code:
        key = self.names.name(node.key)
        return Code(self._host.prologue(("parameter", node.key), "p", f"parameters[{key}]"))

    def _now(self, node: Now) -> Code:
        return Code(self._host.prologue("today", "p", "now.date()") if node.type == DATE else "now")

    def _slot(self, node: SlotRef) -> Code:
        name = self._environment.get(node.slot)
        if name is None:
            broken(f"column {node.slot!r} has no value at this place of the plan")
        return Code(name)

    # --- calls --------------------------------------------------------------------------

    def _call(self, node: Call) -> Code:
        arguments = [self.code(argument) for argument in node.arguments]
        if not node.function.is_strict:
            return self._apply(node.function, arguments)
        guards, arguments = self.guards(node.arguments, arguments, "is None")
        applied = self._apply(node.function, arguments)
        if not guards:
            return applied
        return nest(
            "(None if {} else {})", Code(" or ".join(g.text for g in guards), deepest(guards)), applied
        )

    def _call_truth(self, node: Call) -> Code:
        return self._guarded_call(node, "{}")

    def _call_falsity(self, node: Call) -> Code:
        return self._guarded_call(node, "not {}")

    def _guarded_call(self, node: Call, form: str) -> Code:
        arguments = [self.code(argument) for argument in node.arguments]
        if not node.function.is_strict:
            applied = self._apply(node.function, arguments)
            return applied if form == "{}" else nest("({} is False)", applied)
        guards: list[Code] = []
        if not (form == "{}" and _is_false_of_null(node)):
            guards, arguments = self.guards(node.arguments, arguments, "is not None")
        applied = self._apply(node.function, arguments)
        return all_of([*guards, Code(form.format(applied.text), applied.depth)])

    def guards(
        self, arguments: Sequence[Expression], codes: Sequence[Code], test: str
    ) -> tuple[list[Code], list[Code]]:
        """NULL tests of the arguments that need one, and code that reads them again."""
        guards, names = [], []
        for argument, code in zip(arguments, codes, strict=True):
            if not argument.is_nullable:
                names.append(code)
                continue
            if code.text.isidentifier():
                guards.append(Code(f"{code.text} {test}", code.depth))
                names.append(code)
                continue
            name = self.names.fresh("t")
            guards.append(Code(f"({name} := {code.text}) {test}", code.depth + 1))
            names.append(Code(name))
        return guards, names

    def _apply(self, function: ScalarFunction, arguments: Sequence[Code]) -> Code:
        depth = deepest(arguments) + 2
        texts = [argument.text for argument in arguments]
        if function.template is not None:
            self.names.include(function.names)
            return Code(function.template.format(*texts), depth)
        return Code(f"{self.names.name(function.call, 'f')}({', '.join(texts)})", depth)

    def _cast(self, node: Cast) -> Code:
        if isinstance(node.operand, ParameterRef):
            return self._cast_parameter(node, node.operand)
        operand = self.code(node.operand)
        if node.function is None:
            return operand
        guards, arguments = self.guards([node.operand], [operand], "is None")
        applied = self._apply(node.function, arguments)
        return nest("(None if {} else {})", guards[0], applied) if guards else applied

    def _cast_parameter(self, node: Cast, parameter: ParameterRef) -> Code:
        source = self._parameter(parameter).text
        if node.function is None:
            return Code(source)
        function = self.names.name(node.function.call, "f")
        code = f"None if {source} is None else {function}({source})"
        key = ("cast", parameter.key, node.type)
        return Code(self._host.prologue(key, "p", code))

    # --- AND, OR, NOT -------------------------------------------------------------------

    def _and(self, node: And) -> Code:
        return self._chain(node.parts, "False", "True")

    def _or(self, node: Or) -> Code:
        return self._chain(node.parts, "True", "False")

    def _chain(self, parts: Sequence[Expression], decided: str, otherwise: str) -> Code:
        """`decided` as soon as one part is; else NULL when a part is; else the other value."""
        tests, unknowns = [], []
        for part in parts:
            code = self.code(part)
            if part.is_nullable:
                name = code.text
                if not name.isidentifier():
                    name = self.names.fresh("t")
                    code = Code(f"({name} := {code.text})", code.depth + 1)
                unknowns.append(f"{name} is None")
                tests.append(Code(f"{code.text} is {decided}", code.depth))
            else:
                tests.append(code if decided == "True" else Code(f"not {code.text}", code.depth))
        inner = f"None if {' or '.join(unknowns)} else {otherwise}" if unknowns else otherwise
        test = " or ".join(code.text for code in tests)
        return Code(f"({decided} if {test} else {inner})", deepest(tests) + 1)

    def _and_truth(self, node: And) -> Code:
        return all_of([self._truth(part) for part in node.parts])

    def _and_falsity(self, node: And) -> Code:
        return any_of([self._falsity(part) for part in node.parts])

    def _or_truth(self, node: Or) -> Code:
        return any_of([self._truth(part) for part in node.parts])

    def _or_falsity(self, node: Or) -> Code:
        return all_of([self._falsity(part) for part in node.parts])

    def _not(self, node: Not) -> Code:
        operand = self.code(node.operand)
        guards, arguments = self.guards([node.operand], [operand], "is None")
        if guards:
            return nest("(None if {} else not {})", guards[0], arguments[0])
        return nest("(not {})", operand)

    def _not_truth(self, node: Not) -> Code:
        return self._falsity(node.operand)

    def _not_falsity(self, node: Not) -> Code:
        return self._truth(node.operand)

    # --- tests --------------------------------------------------------------------------

    def _is_test(self, node: IsTest) -> Code:
        if node.test is True:
            return nest("(True if {} else False)", self._truth(node.operand))
        if node.test is False:
            return nest("(True if {} else False)", self._falsity(node.operand))
        if not node.operand.is_nullable:
            return Code("False")
        return nest("({} is None)", self.code(node.operand))

    def _is_test_falsity(self, node: IsTest) -> Code:
        if node.test is None and node.operand.is_nullable:
            return nest("({} is not None)", self.code(node.operand))
        return nest("(not {})", self._is_test(node))

    def _distinct_from(self, node: DistinctFrom) -> Code:
        # None is equal to itself alone in Python, which is just what DISTINCT asks.
        return nest("({} != {})", self.code(node.left), self.code(node.right))

    # --- CASE and Let -------------------------------------------------------------------

    def _case(self, node: Case) -> Code:
        return self._case_with(node, self.code)

    def _case_truth(self, node: Case) -> Code:
        return self._case_with(node, self._truth)

    def _case_with(self, node: Case, form: Callable[[Expression], Code]) -> Code:
        code = form(node.otherwise)
        for number in range(len(node.whens) - 1, -1, -1):
            condition, result = node.whens[number]
            code = nest("({} if {} else {})", form(result), self._truth(condition), code)
            code = self._bounded(Case(node.whens[number:], node.otherwise, node.type), code)
        return code

    def _let(self, node: Let) -> Code:
        return nest(
            f"({{1}} if {{0}} is {self._let_name(node)} else None)", *self._let_parts(node, self.code)
        )

    def _let_truth(self, node: Let) -> Code:
        return nest(f"({{0}} is {self._let_name(node)} and {{1}})", *self._let_parts(node, self._truth))

    def _let_falsity(self, node: Let) -> Code:
        return nest(f"({{0}} is {self._let_name(node)} and {{1}})", *self._let_parts(node, self._falsity))

    def _let_name(self, node: Let) -> str:
        return f"v{node.slot.id}"

    def _let_parts(self, node: Let, form: Callable[[Expression], Code]) -> tuple[Code, Code]:
        """The operand, stored and therefore identical to its name; then the body over it."""
        value = self.code(node.value)
        name = self._let_name(node)
        self._environment[node.slot] = name
        return Code(f"({name} := {value.text})", value.depth + 1), form(node.body)

    # --- subqueries ---------------------------------------------------------------------

    def _scalar_query(self, node: ScalarQuery) -> Code:
        return Code(self._host.subquery(node, self._environment), 1)

    def _in_query(self, node: InQuery) -> Code:
        answer = self._host.subquery(node, self._environment)
        return nest(f"{answer}.contains({{}})", self.code(node.operand))

    def _in_query_truth(self, node: InQuery) -> Code:
        answer = self._host.subquery(node, self._environment)
        return nest(f"({{}} in {answer}.values)", self.code(node.operand))


def _is_false_of_null(node: Call) -> bool:
    """Whether the bare template already says no when an argument is NULL: None == 5."""
    if node.name != "=" or node.function.template not in {"({0} == {1})", "{0} == {1}"}:
        return False
    return not all(argument.is_nullable for argument in node.arguments)


_C = ExpressionCompiler
_VALUE: dict[type, Callable[..., Code]] = {
    Constant: _C._constant,
    ParameterRef: _C._parameter,
    Now: _C._now,
    SlotRef: _C._slot,
    Call: _C._call,
    Cast: _C._cast,
    And: _C._and,
    Or: _C._or,
    Not: _C._not,
    IsTest: _C._is_test,
    DistinctFrom: _C._distinct_from,
    InList: matching.in_list,
    Like: matching.like,
    Case: _C._case,
    Let: _C._let,
    ScalarQuery: _C._scalar_query,
    ExistsQuery: _C._scalar_query,
    InQuery: _C._in_query,
}
_TRUTH: dict[type, Callable[..., Code]] = {
    Call: _C._call_truth,
    And: _C._and_truth,
    Or: _C._or_truth,
    Not: _C._not_truth,
    InList: matching.in_list_truth,
    Like: matching.like_truth,
    Case: _C._case_truth,
    Let: _C._let_truth,
    InQuery: _C._in_query_truth,
}
_FALSITY: dict[type, Callable[..., Code]] = {
    Call: _C._call_falsity,
    And: _C._and_falsity,
    Or: _C._or_falsity,
    Not: _C._not_falsity,
    IsTest: _C._is_test_falsity,
    InList: matching.in_list_falsity,
    Like: matching.like_falsity,
    Let: _C._let_falsity,
}
