"""Whether the end of a `with` block leads back to the loop around it, or out of it.

    for attempt in db.attempts(5):          header: FOR_ITER
        with attempt as tx:
            ...
            return 7                        the block ends here, too, and there is no next round

At the end of the block the transaction commits. Where that fails and may be tried again, the
error is swallowed and the loop goes on. But a block that ends by `return` or `break` ends the
same way for `__exit__`: nothing is raised. To swallow the error there would be to tell a
program that its data is saved when it is not.

So in that one case, a commit that has failed, the caller's code is followed from where the
block ended: is there a way to the header of the loop, in by its back door? The front door is
GET_ITER, which begins another loop. Every branch is followed, and no exceptions.

Limits: where this cannot be told (no frames, no `for` loop, an ExitStack) the answer is no, and
the caller raises the error. That is never wrong, but for the retry that it costs.
"""

from __future__ import annotations

import dis
import sys
from types import CodeType
from typing import NamedTuple

_ENDS = frozenset({"RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE"})


class Place(NamedTuple):
    """An instruction of some code; `offset` in bytes."""

    code: CodeType
    offset: int


def place_of_caller(depth: int) -> Place | None:
    """Where the function stands that is `depth` calls above the one that asks."""
    try:
        frame = sys._getframe(depth + 1)
    except (AttributeError, ValueError):
        return None
    return Place(frame.f_code, frame.f_lasti)


def leads_back(start: Place | None, header: Place | None) -> bool:
    """Whether a way leads from behind `start` to `header`, the FOR_ITER of a loop around it."""
    if start is None or header is None or start.code is not header.code:
        return False
    instructions = list(dis.get_instructions(start.code))
    index_at = {each.offset: index for index, each in enumerate(instructions)}
    at = index_at.get(header.offset)
    if at is None or instructions[at].opname != "FOR_ITER" or start.offset not in index_at:
        return False
    seen: set[int] = set()
    ways = [index_at[start.offset] + 1]
    while ways:
        index = ways.pop()
        if index in seen or index >= len(instructions):
            continue
        seen.add(index)
        each = instructions[index]
        is_jump = each.opcode in dis.hasjrel or each.opcode in dis.hasjabs
        if is_jump and each.argval == header.offset:
            return True
        if is_jump:
            ways.append(index_at[each.argval])
        is_end = each.opname in _ENDS or (is_jump and each.opname.startswith("JUMP_"))
        # Into the header from above: that is where the loop begins anew.
        if not is_end and index + 1 != at:
            ways.append(index + 1)
    return False
