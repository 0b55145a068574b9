"""Did you mean ...? The nearest known word, or nothing."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint such as `did you mean substr?`, or None when nothing is near."""
    import difflib  # noqa: PLC0415 - only what went wrong needs it

    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else None
