"""From the text of a spec to a `Spec`.

Lark builds the parser from grammar/isolation.lark when the first spec is read: a second at
most for a command that then runs for longer, and nothing for all the others, which never
import this module.

    g0.spec:3: ERROR 42601: a session begins with its name
      session { BEGIN; }
              ^
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from ferrisdb.errors import Error, OperationalError, SpecError, broken, line_and_column, render
from ferrisdb.isolation.spec import (
    MAX_SESSIONS,
    MAX_STEPS,
    AfterNotices,
    AfterStep,
    Blocker,
    Permutation,
    PlannedStep,
    SessionSpec,
    ShownWaiting,
    Spec,
    Step,
)

MAX_SPEC_BYTES = 1_000_000
MAX_NOTICE_DIGITS = 6
_PACKAGE = Path(__file__).parent.parent
GRAMMAR_PATHS = (_PACKAGE / "grammar" / "isolation.lark", _PACKAGE.parent / "grammar" / "isolation.lark")
_WORDS = {
    "NAME": "a name",
    "QUOTED_NAME": "a name",
    "BLOCK": "SQL in { }",
    "INT": "a number",
    "STAR": '"*"',
    "LPAR": '"("',
    "RPAR": '")"',
    "COMMA": '","',
    "$END": "the end",
}


def read_spec(path: str) -> Spec:
    """The spec in a file. Raises SpecError, whose text names file and line; OperationalError."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise OperationalError(f"cannot read {path}: {error.strerror or error}") from None
    if len(raw) > MAX_SPEC_BYTES:
        raise SpecError(f"{path} has {len(raw):,} bytes; the limit is {MAX_SPEC_BYTES:,}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} is not UTF-8 text: byte {error.start} is {raw[error.start]:#04x}") from None
    try:
        return parse_spec(text)
    except SpecError as error:
        error.place = f"{path}:{line_and_column(text, error.position or 0)[0]}"
        error.source = text
        raise


def parse_spec(text: str) -> Spec:
    """Raises SpecError, with the position in the text."""
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise _refusal(error, text) from None
    return _SpecBuilder(tree).build()


def render_spec_error(error: Error) -> str:
    """The error as the command prints it: with file, line and caret where they are known."""
    if isinstance(error, SpecError) and error.place is not None:
        return f"{error.place}: {render(error, error.source)}"
    return render(error)


@cache
def _parser() -> Lark:
    path = next((path for path in GRAMMAR_PATHS if path.is_file()), None)
    if path is None:
        broken(f"the grammar is missing; looked at {' and '.join(map(str, GRAMMAR_PATHS))}")
    # The basic lexer: a word of the format is never a name, wherever it stands.
    return Lark(path.read_text(encoding="utf-8"), parser="lalr", lexer="basic", maybe_placeholders=False)


def _refusal(error: UnexpectedInput, text: str) -> SpecError:
    if isinstance(error, UnexpectedToken):
        token = error.token
        fits = sorted({_WORDS.get(name, f'"{name.lower()}"') for name in error.accepts or error.expected})
        found = "the end of the spec" if token.type == "$END" else f'"{_short(str(token))}"'
        position = len(text.rstrip()) if token.type == "$END" else token.start_pos or 0
        return SpecError(f"{found} where {_one_of(fits)} should stand", position=position)
    position = error.pos_in_stream if isinstance(error, UnexpectedCharacters) else 0
    position = position or 0
    character = text[position]
    if character == "{":
        return SpecError("this block is not closed: its } is missing", position=position)
    if character == '"':
        return SpecError("this name is not closed: its quote is missing", position=position)
    return SpecError(f"the character {character!r} has no meaning here", position=position)


def _one_of(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _short(text: str) -> str:
    first = text.split("\n", maxsplit=1)[0]
    return first if len(first) <= 30 and first == text else first[:30] + "..."


class _SpecBuilder:
    """Makes a spec of a syntax tree, and sees to its names."""

    def __init__(self, tree: Tree[Token]) -> None:
        self._tree = tree
        self._steps: dict[str, Step] = {}
        self._session_names: set[str] = set()

    def build(self) -> Spec:
        sessions = tuple(
            self._session(index, part) for index, part in enumerate(self._parts(self._tree, "session"))
        )
        return Spec(
            tuple(_block(part) for part in self._parts(self._tree, "setup")),
            self._optional_block(self._tree, "teardown"),
            sessions,
            tuple(self._permutation(part) for part in self._parts(self._tree, "permutation")),
        )

    def _session(self, index: int, tree: Tree[Token]) -> SessionSpec:
        token = _first_token(tree)
        name = _name(token)
        if index == MAX_SESSIONS:
            raise SpecError(f"a spec has {MAX_SESSIONS} sessions at most", position=token.start_pos)
        if name in self._session_names:
            raise SpecError(f'there are two sessions "{name}"', position=token.start_pos)
        self._session_names.add(name)
        return SessionSpec(
            name,
            self._optional_block(tree, "setup"),
            tuple(self._step(index, part) for part in self._parts(tree, "step")),
            self._optional_block(tree, "teardown"),
        )

    def _step(self, session: int, tree: Tree[Token]) -> Step:
        token = _first_token(tree)
        name = _name(token)
        if name in self._steps:
            raise SpecError(f'there are two steps "{name}"', position=token.start_pos)
        if len(self._steps) == MAX_STEPS:
            raise SpecError(f"a spec has {MAX_STEPS} steps at most", position=token.start_pos)
        step = self._steps[name] = Step(name, _block(tree), session)
        return step

    def _permutation(self, tree: Tree[Token]) -> Permutation:
        return tuple(self._planned(part) for part in self._parts(tree, "permutation_step"))

    def _planned(self, tree: Tree[Token]) -> PlannedStep:
        step = self._known(_first_token(tree))
        blockers = (part for part in tree.children if isinstance(part, Tree))
        return PlannedStep(step, tuple(self._blocker(step, part) for part in blockers))

    def _blocker(self, blocked: Step, tree: Tree[Token]) -> Blocker:
        if tree.data == "shown_waiting":
            return ShownWaiting()
        token = _first_token(tree)
        step = self._known(token)
        if step.session == blocked.session:
            raise SpecError(
                f'step "{blocked.name}" cannot be held back by "{step.name}" of its own session',
                position=token.start_pos,
            )
        if tree.data == "after_notices":
            return AfterNotices(step, self._count(tree))
        return AfterStep(step)

    def _count(self, tree: Tree[Token]) -> int:
        token = tree.children[1]
        if not isinstance(token, Token) or len(token) > MAX_NOTICE_DIGITS:
            raise SpecError(
                f"a step waits for {10**MAX_NOTICE_DIGITS - 1} notices at most",
                position=_first_token(tree).start_pos,
            )
        return int(token)

    def _known(self, token: Token) -> Step:
        step = self._steps.get(_name(token))
        if step is None:
            raise SpecError(
                f'there is no step "{_name(token)}"',
                position=token.start_pos,
                hint=f"the steps are {', '.join(self._steps)}",
            )
        return step

    def _parts(self, tree: Tree[Token], kind: str) -> Iterator[Tree[Token]]:
        return (part for part in tree.children if isinstance(part, Tree) and part.data == kind)

    def _optional_block(self, tree: Tree[Token], kind: str) -> str | None:
        return next((_block(part) for part in self._parts(tree, kind)), None)


def _first_token(tree: Tree[Token]) -> Token:
    token = tree.children[0]
    if not isinstance(token, Token):
        broken(f"a {tree.data} begins with its name")
    return token


def _name(token: Token) -> str:
    return str(token)[1:-1].replace('""', '"') if token.type == "QUOTED_NAME" else str(token)


def _block(tree: Tree[Token]) -> str:
    return str(tree.children[-1])[1:-1].strip()
