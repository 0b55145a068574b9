"""The merge against an oracle: pour everything into one dict, newest last, and sort."""

from __future__ import annotations

import pytest
import version_model as model
from hypothesis import given
from hypothesis import strategies as st

from ferrisdb.storage.merge import merge_chunks

source = st.dictionaries(model.keys, model.values, max_size=20)


@st.composite
def cut_sources(draw):
    """Sources, newest first, each cut into chunks anywhere, and the direction they run in."""
    reverse = draw(st.booleans())
    cut = []
    for content in draw(st.lists(source, max_size=6)):
        rows = sorted(content.items(), reverse=reverse)
        chunks = []
        while rows:
            length = draw(st.integers(1, len(rows)))
            chunks.append(([key for key, _ in rows[:length]], [value for _, value in rows[:length]]))
            rows = rows[length:]
        cut.append(chunks)
    return cut, reverse


def oracle(sources, reverse):
    newest = {}
    for chunks in reversed(sources):
        newest.update(row for keys, values in chunks for row in zip(keys, values, strict=True))
    return [(key, newest[key]) for key in sorted(newest, reverse=reverse) if newest[key] is not None]


@given(cut_sources())
def test_a_merge_gives_what_the_oracle_gives(case):
    sources, reverse = case
    merged = model.rows(merge_chunks([iter(chunks) for chunks in sources], reverse=reverse))
    assert merged == oracle(sources, reverse)


@given(cut_sources())
def test_a_merge_leaves_its_sources_chunks_as_they_were(case):
    sources, reverse = case
    before = [[(list(keys), list(values)) for keys, values in chunks] for chunks in sources]
    list(merge_chunks([iter(chunks) for chunks in sources], reverse=reverse))
    assert sources == before


def test_the_newest_source_wins_and_its_tombstone_hides_older_values():
    newest = [([b"a", b"b"], [None, b"new"])]
    oldest = [([b"a", b"b", b"c"], [b"old", b"old", b"old"])]
    assert model.rows(merge_chunks([iter(newest), iter(oldest)])) == [(b"b", b"new"), (b"c", b"old")]


def test_one_source_passes_through_untouched():
    chunk = ([b"a", b"b"], [b"1", b""])
    (batch,) = merge_chunks([iter([chunk])])
    assert batch[0] is chunk[0]
    assert batch[1] is chunk[1]


@pytest.mark.parametrize("reverse", [False, True])
def test_no_chunk_is_fetched_before_it_is_needed(reverse):
    fetched = []

    def counting(name, keys):
        for key in sorted(keys, reverse=reverse):
            fetched.append(name)
            yield [key], [b"v"]

    merged = merge_chunks(
        [counting("even", [b"2", b"4", b"6"]), counting("odd", [b"1", b"3", b"5", b"7"])], reverse=reverse
    )
    next(merged)
    assert sorted(fetched) == ["even", "odd"], "one chunk of each tells which key comes first"
    next(merged)
    assert len(fetched) == 3, "only the source that ran out was asked again"


def test_nothing_merges_to_nothing():
    assert list(merge_chunks([])) == []
    assert list(merge_chunks([iter([]), iter([])])) == []
