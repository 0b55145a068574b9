"""`.why`: the circle that a transaction was refused for, drawn for who is learning.

    Session b was refused when it came to COMMIT: a and b are in a circle.

      b  read doctor(1)                SELECT count(*) FROM doctor WHERE on_call
      |
      |  rw: b has not seen what a wrote, so b comes before a
      v
      a  wrote doctor(1)               UPDATE doctor SET on_call = false WHERE id = 1
    ...

All that is told is data of the error (`SerializationFailure.conflict`, see `conflict`).
Transactions have the names of the shell's sessions, where it knows them: of a statement that
is a transaction of its own it mostly does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ferrisdb.cli.surroundings import Surroundings
from ferrisdb.conflict import Conflict, ConflictStep, KeyRange
from ferrisdb.errors import Error, RefusedForOthers
from ferrisdb.query.key_words import KeyWords

Lines = Iterator[str]
Naming = Callable[[int | None], str]
Describing = Callable[[KeyRange], str]

_WORDS: Final = {
    "rw": ("read", "wrote", "{first} has not seen what {second} wrote, so {first} comes before {second}"),
    "wr": ("wrote", "read", "{second} has seen what {first} wrote, so {first} comes before {second}"),
    "ww": ("wrote", "wrote", "{second} wrote over what {first} wrote, so {first} comes before {second}"),
}
_TOO_LATE: Final = {
    "ww": "{second} would write over {what} without having seen what {first} made of it: a lost update",
    "rw": "{first} has relied on {what} being what it was, and {second} would change it",
    "wr": "{second} relies on {what}, and has not seen what {first} made of it",
}


def explain_refusal(surroundings: Surroundings) -> Lines:
    """Why the current session's last transaction was refused, line by line."""
    name = surroundings.session_name
    error = surroundings.refusals.get(name)
    if error is None:
        yield f"No transaction of session {name} has been refused because of another one."
        return
    conflict = error.conflict if isinstance(error, RefusedForOthers) else None
    yield f"The last transaction of session {name} that was refused: ERROR {error.sqlstate}"
    if conflict is None:
        yield from _without_conflict(error)
        return
    describe = KeyWords(surroundings.database.tables())
    names = {each: surroundings.name_of(each) for each in _transactions(conflict)}
    # A session's earlier transaction may be in the circle, too: then the name alone is ambiguous.
    repeated = {each for each in names.values() if list(names.values()).count(each) > 1}

    def naming(transaction: int | None) -> str:
        known = names[transaction]
        return f"{known} ({transaction})" if known in repeated else known

    draw = {"deadlock": _deadlock, "ww": _too_late}.get(conflict.kind, _circle)
    yield from draw(conflict, naming, describe)


def _without_conflict(error: Error) -> Lines:
    yield f"  {error.message}"
    for note in (error.detail, error.hint):
        if note:
            yield f"  {note}"


def _transactions(conflict: Conflict) -> list[int | None]:
    """Each once, the victim first."""
    ends = [each for step in conflict.steps for each in (step.from_transaction, step.to_transaction)]
    return list(dict.fromkeys([conflict.victim, *ends]))


def _circle(conflict: Conflict, naming: Naming, describe: Describing) -> Lines:
    victim = naming(conflict.victim)
    others = [naming(each) for each in _transactions(conflict)[1:]]
    yield f"Had {_listed([*others, victim])} run one after the other, in any order, this could not be:"
    for step in conflict.steps:
        before, after, because = _WORDS[step.kind]
        first, second = naming(step.from_transaction), naming(step.to_transaction)
        what = describe(step.what)
        yield ""
        yield from _doing(first, f"{before} {what}", step.from_statement)
        yield "  |"
        yield f"  |  {step.kind}: " + because.format(first=first, second=second)
        yield "  v"
        yield from _doing(second, f"{after} {what}", step.to_statement)
    ends = [naming(step.to_transaction) for step in conflict.steps]
    order = " before ".join([naming(conflict.steps[0].from_transaction), *ends])
    yield ""
    yield f"Together: {order}. Nobody comes before himself."
    yield f"{victim} was the last to commit, so {victim} was rolled back."
    yield "Run it again: its new snapshot sees what the others did."


def _deadlock(conflict: Conflict, naming: Naming, describe: Describing) -> Lines:
    victim = naming(conflict.victim)
    yield "Each would have waited for the next, for ever:"
    yield ""
    for step in conflict.steps:
        first, second = naming(step.from_transaction), naming(step.to_transaction)
        yield from _doing(first, f"wants {describe(step.what)}, which {second} has", step.from_statement)
        yield "  |"
        yield "  v"
    yield f"  {victim}"
    yield ""
    yield f"{victim} asked last, so {victim} was rolled back and its locks are free. Run it again."
    yield "Where all take their rows in the same order, there is no deadlock."


def _too_late(conflict: Conflict, naming: Naming, describe: Describing) -> Lines:
    for step in conflict.steps:
        first, second, what = naming(step.from_transaction), naming(step.to_transaction), describe(step.what)
        yield ""
        yield f"  {second}  took its snapshot"
        yield "  |"
        yield from _doing(first, _committed(step, what), step.from_statement)
        yield "  |"
        yield from _doing(second, f"{_would(step)} {what}, and sees it as it was before", step.to_statement)
        yield ""
        yield _TOO_LATE[step.kind].format(first=first, second=second, what=what) + "."
    yield f"{naming(conflict.victim)} was rolled back. Run it again: its new snapshot sees the commit."


def _committed(step: ConflictStep, what: str) -> str:
    return f"relied on {what}, and committed" if step.kind == "rw" else f"wrote {what}, and committed"


def _would(step: ConflictStep) -> str:
    return "relies on" if step.kind == "wr" else "writes"


def _doing(who: str, what: str, statement: str) -> Lines:
    yield f"  {who}  {what}"
    if statement:
        yield f"  {' ' * len(who)}    {statement}"


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
