"""Pieces of Python source, and how deep their parentheses go.

CPython reads at most 200 open parentheses. Whoever puts pieces together keeps count, and
the expression compiler moves what has become too deep into a function of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Code(NamedTuple):
    """A Python expression that can stand anywhere, and how deep its parentheses go."""

    text: str
    depth: int = 0


def deepest(codes: Sequence[Code]) -> int:
    return max((code.depth for code in codes), default=0)


def nest(form: str, *codes: Code) -> Code:
    """The codes put into a form, one level of parentheses deeper."""
    return Code(form.format(*[code.text for code in codes]), deepest(codes) + 1)


def all_of(codes: Sequence[Code]) -> Code:
    """Truthy when all are, tried in order."""
    if len(codes) == 1:
        return codes[0]
    return Code(f"({' and '.join(code.text for code in codes)})", deepest(codes) + 1)


def any_of(codes: Sequence[Code]) -> Code:
    """Truthy when one is, tried in order."""
    if len(codes) == 1:
        return codes[0]
    return Code(f"({' or '.join(code.text for code in codes)})", deepest(codes) + 1)
