"""The log's promise: after a crash a prefix; after damage an error, never a shorter prefix."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ferrisdb.errors import CorruptionError, Error
from ferrisdb.storage.file_header import HEADER_BYTES
from ferrisdb.storage.memory_env import MemoryEnv
from ferrisdb.storage.wal import LogWriter, SegmentReader, encode_writes

Writes = dict[bytes, bytes | None]
NUMBER = 7
PATH = "000007.wal"


def log_of(*groups: list[Writes], synced: bool = True, mark: bool = False) -> bytes:
    """A segment: each group is one write, followed by a sync when `synced`."""
    env = MemoryEnv()
    log = LogWriter.create(env, "", NUMBER)
    timestamp = 1
    for group in groups:
        log.append(timestamp, [encode_writes(writes) for writes in group])
        timestamp += len(group)
        if synced:
            log.sync()
    if mark:
        log.append_mark(timestamp - 1)
    return env.read_file(PATH)


def read(
    data: bytes, *, may_be_torn: bool = True, number: int = NUMBER, after: int = 0
) -> tuple[list[Writes], int]:
    reader = SegmentReader(data, number, PATH, last_timestamp=after, may_be_torn=may_be_torn)
    found = []
    for timestamp, record in enumerate(reader, after + 1):
        assert record.timestamp == timestamp
        found.append(dict(zip(record.keys, record.values, strict=True)))
    return found, reader.sound_bytes


ALICE: Writes = {b"alice": b"100", b"bob": None}
BOB: Writes = {b"bob": b"50"}
CAROL: Writes = {b"carol": b"", b"": b"empty key"}
ONE_BY_ONE = ([ALICE], [BOB], [CAROL])

writes_strategy = st.dictionaries(
    st.binary(max_size=20), st.none() | st.binary(max_size=40), min_size=1, max_size=4
)


@given(groups=st.lists(st.lists(writes_strategy, min_size=1, max_size=4), max_size=5), mark=st.booleans())
def test_what_was_written_is_read(groups: list[list[Writes]], mark: bool) -> None:
    data = log_of(*groups, mark=mark)
    found, sound_bytes = read(data, may_be_torn=False)
    assert found == [writes for group in groups for writes in group]
    assert sound_bytes == len(data)


def test_the_bytes_are_as_specified() -> None:
    # The dump in docs/formats.md, which other programs may rely on.
    env = MemoryEnv()
    log = LogWriter.create(env, "", 1)
    log.append(1, [encode_writes({b"alice": b"100", b"bob": None})])
    log.sync()
    log.append_mark(1)
    specification = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
    section = specification.partition("## Write-ahead log")[2].partition("\n## ")[0]
    dump = re.findall(r"^00[0-9a-f]{2}  ((?:[0-9a-f]{2} )+)", section, re.MULTILINE)
    assert env.read_file("000001.wal") == bytes.fromhex("".join(dump))


def test_a_log_cut_at_any_length_gives_a_prefix() -> None:
    data = log_of(*ONE_BY_ONE)
    for length in range(len(data)):
        found, sound_bytes = read(data[:length])
        assert found == [ALICE, BOB, CAROL][: len(found)]
        assert sound_bytes <= length
        # And all that is whole is given.
        assert read(data[:sound_bytes])[0] == found if sound_bytes else found == []


@pytest.mark.parametrize("mark", [False, True], ids=["crashed", "closed"])
def test_any_flipped_bit_is_found(mark: bool) -> None:
    data = log_of(*ONE_BY_ONE, mark=mark)
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            try:
                found, _ = read(bytes(damaged))
            except CorruptionError as error:
                assert error.file == PATH
                assert error.offset <= max(position, HEADER_BYTES)
                continue
            # Only what nothing vouches for can pass as a crash's tear: the last commit of a
            # log that was not closed, or the mark itself.
            assert found == ([ALICE, BOB, CAROL] if mark else [ALICE, BOB])


@pytest.mark.parametrize("tail", [bytes(1), bytes(23), bytes(24), bytes(5000), b"\xff" * 100, b"\x01" * 40])
def test_a_tail_of_zeros_or_garbage_ends_the_log(tail: bytes) -> None:
    data = log_of(*ONE_BY_ONE)
    assert read(data + tail) == ([ALICE, BOB, CAROL], len(data))


def test_strictly_any_tear_is_damage() -> None:
    data = log_of(*ONE_BY_ONE)
    for damaged in (data[:-1], data + b"\1", data + b"\0\0\1"):
        with pytest.raises(CorruptionError) as caught:
            read(damaged, may_be_torn=False)
        assert caught.value.file == PATH


def test_a_crash_in_a_group_may_lose_its_middle() -> None:
    # One write of three commits; the disk wrote the first and the last sector of it.
    data = bytearray(log_of([ALICE], [BOB, CAROL, ALICE]))
    start_of_carol = data.index(b"carol") - 20
    data[start_of_carol : start_of_carol + 25] = bytes(25)
    assert read(bytes(data))[0] == [ALICE, BOB]


def test_a_loss_in_a_synced_group_is_damage() -> None:
    # As before, and a fourth commit that was written when the group was on disk.
    data = bytearray(log_of([ALICE], [BOB, CAROL, ALICE], [BOB]))
    start_of_carol = data.index(b"carol") - 20
    data[start_of_carol : start_of_carol + 25] = bytes(25)
    with pytest.raises(CorruptionError, match="had been synced"):
        read(bytes(data))


def test_unsynced_commits_may_be_lost_from_any_place_on() -> None:
    data = bytearray(log_of([ALICE], [BOB], [CAROL], synced=False))
    data[data.index(b"bob", data.index(b"alice") + 20)] ^= 1
    assert len(read(bytes(data))[0]) < 3


def test_a_log_stored_as_a_value_is_not_taken_for_records() -> None:
    # A record torn near its end, with a whole log inside: parseable, but not of this place.
    inner = log_of(*ONE_BY_ONE, mark=True)
    data = log_of([ALICE], [{b"backup": inner + b"x" * 100}])
    assert read(data[:-50])[0] == [ALICE]


def test_a_segment_under_another_name_is_refused() -> None:
    data = log_of(*ONE_BY_ONE, mark=True)
    with pytest.raises(CorruptionError):
        read(data, number=NUMBER + 1, may_be_torn=False)


def test_a_gap_in_the_timestamps_says_that_commits_are_missing() -> None:
    with pytest.raises(CorruptionError, match="commit 1 where 6 was due: commits are missing") as caught:
        read(log_of(*ONE_BY_ONE), after=5)
    assert caught.value.offset == HEADER_BYTES


@settings(max_examples=300)
@given(data=st.binary(max_size=200), at=st.integers(0, 300))
def test_garbage_never_raises_anything_but_our_errors(data: bytes, at: int) -> None:
    sound = log_of(*ONE_BY_ONE)
    try:
        read(sound[:at] + data + sound[at:])
    except Error as error:
        assert isinstance(error, CorruptionError)


def test_writing_goes_on_where_the_sound_part_ends() -> None:
    env = MemoryEnv()
    log = LogWriter.create(env, "", NUMBER)
    log.append(1, [encode_writes(ALICE)])
    log.sync()
    sound_bytes = log.size_bytes
    log.append(2, [encode_writes(BOB)])
    log.close()
    env.truncate(PATH, log.size_bytes - 1)

    found, sound = read(env.read_file(PATH))
    assert (found, sound) == ([ALICE], sound_bytes)
    again = LogWriter.reopen(env, "", NUMBER, sound, has_mark=False)
    again.append(2, [encode_writes(CAROL)])
    assert read(env.read_file(PATH), may_be_torn=False)[0] == [ALICE, CAROL]
