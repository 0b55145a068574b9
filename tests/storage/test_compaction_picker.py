"""What leveled compaction takes next, on trees drawn by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ferrisdb.storage.compaction_picker import CompactionPicker
from ferrisdb.storage.level import LEVEL_COUNT, Level
from ferrisdb.storage.options import StorageOptions

OPTIONS = StorageOptions(table_bytes=100, level_base_bytes=1000, level_growth=10)
"""Four tables start a compaction of level 0."""


def table(number: int, keys: str, file_bytes: int = 10, *, has_only_newest: bool = True) -> Any:
    """`keys` is "ad" for a table from a to d."""
    properties = SimpleNamespace(
        smallest_key=keys[0].encode(),
        largest_key=keys[-1].encode(),
        file_bytes=file_bytes,
        entry_count=10,
        tombstone_count=0,
        largest_timestamp=number,
    )
    return SimpleNamespace(number=number, properties=properties, has_only_newest=has_only_newest)


def tree(*level_zero: Any, **levels: list[Any]) -> Any:
    """Level 0 newest first; `l6=[...]` is level 6."""
    all_levels = tuple(Level(levels.get(f"l{number}", [])) for number in range(1, LEVEL_COUNT))
    return SimpleNamespace(
        level_zero=level_zero,
        levels=all_levels,
        tables_of=lambda level: all_levels[level - 1].tables if level else level_zero,
    )


def numbers(tables: tuple[Any, ...]) -> list[int]:
    return [found.number for found in tables]


def pick(sources: Any) -> Any:
    return CompactionPicker(OPTIONS).pick(sources, watermark=100)


def test_level_zero_gives_its_oldest_table_and_all_that_it_meets_over_others() -> None:
    # 1 meets 2, which meets the newer 4; 3 meets none of them.
    found = pick(
        tree(table(4, "fk"), table(3, "xz"), table(2, "cg"), table(1, "ad"), l6=[table(9, "eh", 99)])
    )
    assert (found.level, found.output_level) == (0, 6)
    assert numbers(found.upper) == [4, 2, 1]
    assert numbers(found.lower) == [9]


def test_level_zero_never_jumps_over_a_level_that_is_not_empty() -> None:
    # The last level has shrunk, and level 5 is above the base now. What it has is newer than
    # level 6 and older than level 0.
    sources = tree(*(table(number, "az") for number in (5, 4, 3, 2)), l5=[table(1, "mm")])
    picker = CompactionPicker(OPTIONS)
    assert picker._into_next(sources, 0, 100).output_level == 5
    # But first that level is emptied.
    assert (found := picker.pick(sources, 100)) is not None
    assert (found.level, found.output_level, found.is_move) == (5, 6, True)


def test_a_table_with_something_to_collect_is_not_moved_but_rewritten() -> None:
    assert pick(tree(l4=[table(1, "ad")])).is_move
    assert not pick(tree(l4=[table(1, "ad", has_only_newest=False)])).is_move


def test_level_zero_may_hold_an_eighth_of_the_last_level() -> None:
    # The first base of a last level of 8,000 bytes is level 5, with a tenth of it.
    last = [table(9, "az", 8000)]
    assert pick(tree(table(1, "ad", 999), l6=last)) is None
    found = pick(tree(table(1, "ad", 1000), l6=last))
    assert (found.level, found.output_level) == (0, 5)


def test_four_tables_of_level_zero_are_enough() -> None:
    small = [table(number, "az") for number in (4, 3, 2, 1)]
    assert pick(tree(*small[:3], l6=[table(9, "az", 900)])) is None
    assert numbers(pick(tree(*small, l6=[table(9, "az", 900)])).upper) == [4, 3, 2, 1]


def test_the_tables_of_a_level_take_turns() -> None:
    # A base of 800 bytes that has 1,200: one table at a time goes down, each time the next one.
    base = [table(number, keys, 400) for number, keys in ((1, "ac"), (2, "df"), (3, "gi"))]
    sources = tree(l5=base, l6=[table(9, "az", 8000)])
    picker = CompactionPicker(OPTIONS)
    taken = [picker.pick(sources, 100) for _ in range(4)]
    assert [numbers(found.upper) for found in taken if found is not None] == [[1], [2], [3], [1]]
    assert {(found.level, found.output_level) for found in taken if found is not None} == {(5, 6)}


def test_tombstones_weigh_what_they_hide() -> None:
    # A row of the last level takes 800 bytes, so two tombstones are worth 1,600 of the eighth.
    deleted = table(1, "ad", 10)
    deleted.properties.tombstone_count = 1
    assert pick(tree(deleted, l6=[table(9, "az", 8000)])) is None
    deleted.properties.tombstone_count = 2
    assert pick(tree(deleted, l6=[table(9, "az", 8000)])).level == 0
