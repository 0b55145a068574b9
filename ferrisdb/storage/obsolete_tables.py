"""Tables that no longer count, and the readers that still read them.

A compaction takes its inputs out of the set where reads look. A reader that took the set
before goes on with it, perhaps for hours: a scan that somebody has stopped in the middle. So
a table's file goes with its last reader:

    Sources of 10:00 ---> table 7        a scan holds these Sources
    Sources of 10:01 ---> table 12       7 is obsolete: removed when nobody holds it

A reader holds a table by holding the object: `Sources`, a list of them, an iterator in the
middle. It costs a reader nothing, where a count of readers would cost every point read a
lock. Python tells when the last reference is gone (`weakref.finalize`), and only then the
file is closed and removed. An interpreter without reference counts would tell later, never
earlier; what is still there when the database is closed is closed and removed then, and
what a crash leaves behind the next open removes.

The telling may happen anywhere, under any lock, in the middle of a collection of garbage.
So it only puts a note in a `SimpleQueue`, which is made for that, and the compaction thread
does the rest. In a forked child nobody reads the notes, and the parent's files stay.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence

from ferrisdb.errors import StorageError
from ferrisdb.immutable import immutable
from ferrisdb.storage.block_cache import BlockCache
from ferrisdb.storage.env import Env, join
from ferrisdb.storage.file_names import table_name
from ferrisdb.storage.sstable_reader import SSTableReader


@immutable
class Unread:
    """A table that nobody reads any more."""

    number: int
    offsets: Sequence[int]


class ObsoleteTables:
    """Used by one thread at a time: the compaction thread, and after it whoever closes."""

    def __init__(self, env: Env, folder: str, cache: BlockCache, tell: Callable[[Unread], None]) -> None:
        """`tell` is called from anywhere, and must neither wait nor raise."""
        self._env = env
        self._folder = folder
        self._cache = cache
        self._tell = tell
        self._waiting: dict[int, weakref.finalize[[Unread], SSTableReader]] = {}

    def __len__(self) -> int:
        """Tables whose files are still there for their readers."""
        return len(self._waiting)

    def add(self, tables: Iterable[SSTableReader]) -> None:
        """These are in no set of sources from now on."""
        for table in tables:
            last_word = weakref.finalize(table, self._tell, Unread(table.number, table.offsets))
            # At the end of the process the thread that would listen is gone.
            last_word.atexit = False
            self._waiting[table.number] = last_word

    def remove(self, unread: Unread) -> None:
        """Nobody reads the table any more: its blocks and its file go. StorageError."""
        if self._waiting.pop(unread.number, None) is not None:
            self._cache.drop(unread.number, unread.offsets)
            self._env.remove(join(self._folder, table_name(unread.number)))

    def close(self) -> None:
        """Close and remove all that are left, under the hands of their readers."""
        for number, last_word in self._waiting.items():
            alive = last_word.detach()
            if alive is not None:
                alive[0].close()
            try:
                self._env.remove(join(self._folder, table_name(number)))
            except StorageError:
                # Closing must go on, and the next open removes it: the manifest does not name it.
                continue
        self._waiting.clear()
