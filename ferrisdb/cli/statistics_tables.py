"""`.stats` as a page: what the engine counts, its levels, its cache, what it pays.

commits: 1,204                          one line for each number
...
levels:                                 tables, where numbers are to be compared
 level | tables |  size | point reads | ...
cache:
amplification:
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

from ferrisdb.cli.draw_table import draw_table
from ferrisdb.storage.read_counts import LevelStatistics
from ferrisdb.storage.statistics import EngineStatistics

_DRAWN_BELOW = {
    "cache_hits",
    "cache_misses",
    "cache_bytes",
    "cache_evictions",
    "cache_passed_through",
    "levels",
    "space_amplification",
    "tables_per_level",
}


def describe_statistics(found: EngineStatistics) -> str:
    """The page, without a line end at its end."""
    plain = [
        f"{_in_words(field.name)}: {_with_unit(field.name, getattr(found, field.name))}"
        for field in fields(found)
        if field.name not in _DRAWN_BELOW
    ]
    return "\n".join([*plain, *_levels(found.levels), *_cache(found), *_amplification(found)])


def _levels(levels: Sequence[LevelStatistics]) -> Iterator[str]:
    yield "\nlevels:"
    rows = [
        [
            str(level.level),
            f"{level.tables:,}",
            f"{level.table_bytes:,}",
            f"{level.point_reads:,}",
            f"{level.bloom_negatives:,}",
            f"{level.bloom_false_positives:,}",
            f"{level.point_blocks:,}",
            f"{level.scanned_blocks:,}",
            f"{level.cache_hits:,}",
            f"{level.blocks_read:,}",
            f"{level.read_bytes:,}",
        ]
        for level in levels
        if level.tables or level.point_reads or level.scanned_blocks or level.level == 0
    ]
    heads = "level|tables|bytes|point reads|filter said no|filter was wrong|blocks for points"
    heads += "|blocks for scans|from cache|from disk|bytes read"
    yield _drawn(heads.split("|"), rows)


def _cache(found: EngineStatistics) -> Iterator[str]:
    yield "\ncache:"
    asked = found.cache_hits + found.cache_misses
    ratio = f"{100 * found.cache_hits / asked:.1f}%" if asked else "-"
    numbers = (found.cache_bytes, found.cache_hits, found.cache_misses)
    thrown_out = (found.cache_evictions, found.cache_passed_through)
    row = [*(f"{number:,}" for number in numbers), ratio, *(f"{number:,}" for number in thrown_out)]
    yield _drawn(["bytes", "hits", "misses", "hit ratio", "evictions", "of these never used again"], [row])


def _amplification(found: EngineStatistics) -> Iterator[str]:
    yield "\namplification:"
    three = (
        ("write", found.write_amplification, "bytes written by bytes committed"),
        ("read", found.read_amplification, "blocks looked into by reads of one key"),
        ("space", found.space_amplification, "bytes of tables by bytes that are live, at most"),
    )
    rows = [[name, "-" if value is None else f"{value:.2f}", meaning] for name, value, meaning in three]
    yield _drawn(["of", "factor", "what it is"], rows, ("left", "right", "left"))


def _drawn(heads: list[str], rows: list[list[str]], align: Sequence[str] | None = None) -> str:
    return draw_table(rows, heads, "presto", disable_numparse=True, colalign=align or ["right"] * len(heads))


def _in_words(name: str) -> str:
    return name.removesuffix("_s").replace("_bytes", " size").replace("_", " ")


def _with_unit(name: str, value: float | str | None) -> str:
    if value is None:
        return "none"
    if isinstance(value, str | bool):
        return str(value)
    if name.endswith("_bytes"):
        return f"{value:,} bytes"
    return f"{value:.3f} seconds" if name.endswith("_s") else f"{value:,}"
