"""Tables as text, drawn by tabulate: the one place that calls it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def draw_table(rows: Sequence[Sequence[str]], headers: Sequence[str], table_format: str, **how: Any) -> str:
    """`table_format` and `how` are tabulate's own."""
    # Late: it takes longer to import than a short statement to run.
    import tabulate  # noqa: PLC0415

    # Else every header is two wider than its column needs. It is a setting of the whole process: set
    # elsewhere too, what is drawn would depend on what was drawn before.
    tabulate.MIN_PADDING = 0
    drawn: str = tabulate.tabulate(rows, headers=headers, tablefmt=table_format, **how)
    return drawn
