"""Code for IN lists and LIKE: a value against several, or against a pattern.

    a IN (1, 2, 3)       a in k1                             a frozenset; NULL is in none
    a IN (1, b)          a in k1 or a == (t1 := b)           None if a miss met t1 is None
    s LIKE 'ab%'         f1(s)                               the pattern is compiled once
    s LIKE p             f2(s, p, None, False)               support.like keeps recent ones

As everywhere there are three forms: value, truth and falsity (see expressions).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ferrisdb.query.bind.expressions import Constant, InList, Like
from ferrisdb.query.compile import support
from ferrisdb.query.compile.code import Code, all_of, any_of, deepest, nest
from ferrisdb.query.values import like_matcher

if TYPE_CHECKING:
    from ferrisdb.query.compile.expressions import ExpressionCompiler


def in_list(compiler: ExpressionCompiler, node: InList) -> Code:
    operand = compiler.code(node.operand)
    members, unknown = _members(compiler, node)
    name = operand.text
    if not name.isidentifier():
        name = compiler.names.fresh("t")
    head = f"({name} := {operand.text})" if name != operand.text else name
    null = f"None if {head} is None else " if node.operand.is_nullable else ""
    if not null:
        members = Code(members.text.replace("\0", head, 1).replace("\0", name), members.depth)
    members = Code(members.text.replace("\0", name), members.depth)
    miss = "False"
    if unknown:
        miss = f"None if {' or '.join(unknown)} else False" if "True" not in unknown else "None"
    return Code(f"({null}True if {members.text} else {miss})", max(operand.depth, members.depth) + 2)


def _members(compiler: ExpressionCompiler, node: InList) -> tuple[Code, list[str]]:
    """The test of membership with \\0 for the operand, and what makes a miss unknown."""
    constants = {item.value for item in node.items if isinstance(item, Constant)}
    unknown = ["True"] if None in constants else []
    constants.discard(None)
    tests = [Code(f"\0 in {compiler.names.name(frozenset(constants))}")] if constants else []
    for item in node.items:
        if isinstance(item, Constant):
            continue
        code = compiler.code(item)
        if item.is_nullable:
            name = code.text if code.text.isidentifier() else compiler.names.fresh("t")
            if name != code.text:
                code = Code(f"({name} := {code.text})", code.depth + 1)
            unknown.append(f"{name} is None")
        tests.append(Code(f"\0 == {code.text}", code.depth))
    return (any_of(tests) if tests else Code("(\0 is False and False)")), unknown


def in_list_truth(compiler: ExpressionCompiler, node: InList) -> Code:
    constants = {item.value for item in node.items if isinstance(item, Constant)} - {None}
    if any(not isinstance(item, Constant) for item in node.items):
        return in_list(compiler, node)
    return nest(f"({{}} in {compiler.names.name(frozenset(constants))})", compiler.code(node.operand))


def in_list_falsity(compiler: ExpressionCompiler, node: InList) -> Code:
    values = [item.value for item in node.items if isinstance(item, Constant)]
    if len(values) < len(node.items):
        return nest("({} is False)", in_list(compiler, node))
    if None in values:
        return Code("False")
    operand = compiler.code(node.operand)
    guards, arguments = compiler.guards([node.operand], [operand], "is not None")
    missing = nest(f"({{}} not in {compiler.names.name(frozenset(values))})", arguments[0])
    return all_of([*guards, missing])


def like(compiler: ExpressionCompiler, node: Like) -> Code:
    guards, match = _match(compiler, node, "is None")
    if not guards:
        return match
    return nest("(None if {} else {})", Code(" or ".join(g.text for g in guards), deepest(guards)), match)


def like_truth(compiler: ExpressionCompiler, node: Like) -> Code:
    guards, match = _match(compiler, node, "is not None")
    return all_of([*guards, match])


def like_falsity(compiler: ExpressionCompiler, node: Like) -> Code:
    guards, match = _match(compiler, node, "is not None")
    return all_of([*guards, nest("(not {})", match)])


def _match(compiler: ExpressionCompiler, node: Like, test: str) -> tuple[list[Code], Code]:
    escape_is_known = node.escape is None or isinstance(node.escape, Constant)
    if isinstance(node.pattern, Constant) and node.pattern.value is not None and escape_is_known:
        escape = node.escape.value if isinstance(node.escape, Constant) else None
        if node.escape is None or escape is not None:
            matcher = like_matcher(str(node.pattern.value), _text(escape), node.is_case_insensitive)
            guards, names = compiler.guards([node.operand], [compiler.code(node.operand)], test)
            return guards, Code(f"{compiler.names.name(matcher, 'f')}({names[0].text})", names[0].depth + 1)
    children = node.children()
    guards, names = compiler.guards(children, [compiler.code(child) for child in children], test)
    texts = [name.text for name in names] + (["None"] if node.escape is None else [])
    texts.append(str(node.is_case_insensitive))
    return guards, Code(f"{compiler.names.name(support.like, 'f')}({', '.join(texts)})", deepest(names) + 1)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
