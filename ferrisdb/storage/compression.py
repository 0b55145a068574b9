"""Compression of blocks: less disk, for more time at each block.

    encoded block --> zstd or lz4 --> an eighth smaller at least?  yes: stored so, codec 1 or 2
                                                                   no:  stored as it is, codec 0

The frame of each block says its codec (block.py), so the blocks of one table and the tables of
one database may differ. The option says what is written from now on. Compaction writes the
old tables anew in its time.

A small gain is not worth having: the block would cost its decoding at each read. The eighth
is LevelDB's measure.

The libraries are extras, imported when the first block needs one. Their absence is said when
a database is opened that is to write with them, and when a block is read that needs them.

A frame of either codec tells how long its content is; frames that do not are never written,
and refused. That length is compared with MAX_INFLATED_BYTES before a byte is inflated, and
what comes out must have it. So a damaged or hostile block costs bounded memory.

Why zstd's level 1, and the figures: docs/performance.md#compression.
"""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Callable
from typing import Any, Final

from ferrisdb.errors import CorruptionError, FormatVersionError, MissingLibrary
from ferrisdb.storage.limits import MAX_COMMIT_BYTES
from ferrisdb.storage.options import Compression

CODEC_NONE: Final = 0
CODEC_ZSTD: Final = 1
CODEC_LZ4: Final = 2

CODEC_NAMES: Final = {CODEC_NONE: "not compressed", CODEC_ZSTD: "zstd", CODEC_LZ4: "lz4"}

ZSTD_LEVEL: Final = 1

MAX_INFLATED_BYTES: Final = MAX_COMMIT_BYTES
"""No larger block is compressed, so no larger one is inflated. Room for the longest value."""

_LEAST_GAIN: Final = 8
"""A block must lose one in so many of its bytes."""

Compress = Callable[[bytes], tuple[int, bytes]]
"""From the body of a block: the codec, and the bytes to be stored."""

_LIBRARIES: Final = {CODEC_ZSTD: "zstandard", CODEC_LZ4: "lz4.frame"}
_CODECS: Final = {Compression.ZSTD: CODEC_ZSTD, Compression.LZ4: CODEC_LZ4}


def require_library(compression: Compression) -> None:
    """Raise MissingLibrary unless blocks can be written so."""
    if compression is not Compression.NONE:
        _library(_CODECS[compression], f'compression "{compression.value}" needs')


def compressor(compression: Compression) -> Compress | None:
    """What compresses the blocks of one table, for one thread; None to store them as they are.

    Raises MissingLibrary.
    """
    if compression is Compression.NONE:
        return None
    codec = _CODECS[compression]
    library = _library(codec, f'compression "{compression.value}" needs')
    if codec == CODEC_ZSTD:
        squeeze = library.ZstdCompressor(level=ZSTD_LEVEL, write_content_size=True).compress
    else:
        squeeze = functools.partial(library.compress, store_size=True)

    def compress(body: bytes) -> tuple[int, bytes]:
        if len(body) > MAX_INFLATED_BYTES:
            return CODEC_NONE, body
        squeezed: bytes = squeeze(body)
        if len(squeezed) > len(body) - len(body) // _LEAST_GAIN:
            return CODEC_NONE, body
        return codec, squeezed

    return compress


def inflate(codec: int, stored: bytes, path: str, offset: int) -> bytes:
    """The body of a block that is stored with `codec`, at `offset` of `path`.

    Raises FormatVersionError for a codec not known here, MissingLibrary, CorruptionError when
    it is not one frame of that codec with as many bytes as it promises.
    """
    if codec not in _LIBRARIES:
        raise FormatVersionError(
            f"{path} has a block with codec {codec}; this FerrisDB reads codecs 0 to {CODEC_LZ4}",
            hint="open it with the newer FerrisDB that wrote it",
        )
    library = _library(codec, f"{path} is compressed with {CODEC_NAMES[codec]}; reading it needs")
    try:
        body = (_inflate_zstd if codec == CODEC_ZSTD else _inflate_lz4)(library, stored)
    except MemoryError:
        raise
    # Each library raises what it likes: lz4 RuntimeError, zstandard its own.
    except Exception as error:
        raise CorruptionError(
            f"the block cannot be decompressed ({CODEC_NAMES[codec]}: {error})", file=path, offset=offset
        ) from error
    return body


def _inflate_zstd(library: Any, stored: bytes) -> bytes:
    promised = library.frame_content_size(stored)
    _check_promise(promised)
    decompressor = getattr(_of_thread, "zstd", None)
    if decompressor is None:
        # Not to be shared: its C state is changed by each call.
        decompressor = _of_thread.zstd = library.ZstdDecompressor()
    return _kept_promise(decompressor.decompress(stored, allow_extra_data=False), promised)


def _inflate_lz4(library: Any, stored: bytes) -> bytes:
    promised = library.get_frame_info(stored)["content_size"] or -1
    _check_promise(promised)
    decompressor = library.LZ4FrameDecompressor()
    # One byte more, so that a frame that goes on behind its promise does not look ended.
    body = decompressor.decompress(stored, max_length=promised + 1)
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("the frame does not end where the block ends")
    return _kept_promise(body, promised)


def _check_promise(promised: int) -> None:
    """Both libraries say 0 or -1 for a frame that does not tell."""
    if not 0 < promised <= MAX_INFLATED_BYTES:
        raise ValueError(f"a content of {promised} bytes; at most {MAX_INFLATED_BYTES} are possible")


def _kept_promise(body: bytes, promised: int) -> bytes:
    if len(body) != promised:
        raise ValueError(f"{len(body)} bytes came out where {promised} were promised")
    return body


_of_thread = threading.local()


@functools.cache
def _imported(name: str) -> Any:
    return importlib.import_module(name)


def _library(codec: int, needing: str) -> Any:
    name = _LIBRARIES[codec]
    try:
        return _imported(name)
    except ImportError as error:
        raise MissingLibrary(
            f"{needing} the package {name.partition('.')[0]}, which is not installed",
            hint='pip install "ferrisdb[compression]"',
        ) from error
