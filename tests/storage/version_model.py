"""The model that memtable, SSTable and merge are judged by: all versions in a dict.

    {key: {timestamp: value or None}}

Everything is answered by looking at everything, so there is nothing to get wrong.
"""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import strategies as st

from ferrisdb.storage.version import MISSING, Chunk, Found

Versions = dict[bytes, dict[int, bytes | None]]

LATEST = 2**63 - 1

# Few letters, so that keys meet, neighbour and prefix one another.
keys = st.text("ab\0\xff", max_size=3).map(lambda text: text.encode("latin-1"))
values = st.none() | st.binary(max_size=6)
timestamps = st.integers(min_value=1, max_value=12)
versions = st.dictionaries(keys, st.dictionaries(timestamps, values, min_size=1, max_size=6), max_size=12)


def read(model: Versions, key: bytes, timestamp: int) -> Found:
    seen = [at for at in model.get(key, {}) if at <= timestamp]
    return model[key][max(seen)] if seen else MISSING


def visible(
    model: Versions, lo: bytes, hi: bytes | None, timestamp: int, *, reverse: bool = False
) -> list[tuple[bytes, bytes | None]]:
    rows = []
    for key in sorted(model, reverse=reverse):
        found = read(model, key, timestamp)
        if key >= lo and (hi is None or key < hi) and found is not MISSING:
            rows.append((key, found))
    return rows


def entries(model: Versions) -> list[tuple[bytes, int, bytes | None]]:
    """Keys ascending, timestamps of one key descending."""
    return [(key, at, model[key][at]) for key in sorted(model) for at in sorted(model[key], reverse=True)]


def commits(model: Versions) -> list[tuple[int, dict[bytes, bytes | None]]]:
    """The same versions as they were written, one commit at each timestamp."""
    stamps = sorted({at for chain in model.values() for at in chain})
    return [(at, {key: chain[at] for key, chain in model.items() if at in chain}) for at in stamps]


def rows(chunks: Iterable[Chunk]) -> list[tuple[bytes, bytes | None]]:
    """The chunks laid end to end; none of them may be empty or crooked."""
    found: list[tuple[bytes, bytes | None]] = []
    for chunk_keys, chunk_values in chunks:
        assert chunk_keys, "an empty chunk"
        found.extend(zip(chunk_keys, chunk_values, strict=True))
    return found
