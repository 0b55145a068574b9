"""A CSV file as records: what each field says, and in which line it stands.

RFC 4180: fields are separated by a delimiter, may be quoted, and a quoted field may hold
delimiters, line ends and doubled quotes. The first record is the header.

An empty field that is not quoted is NULL, in text columns too; "" is the empty text:

    id,name,town            1   Ada   NULL
    1,Ada,                  2   ''    Rome
    2,"",Rome

The csv module does the cutting, and tells quoted from bare only from Python 3.12 on. So the
raw lines of a record are kept for a moment, and where one holds a quoted NULL text the
fields are looked at again. Few lines do.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import stat
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from ferrisdb.errors import DataError, OperationalError

Fields = list[str | None]
_QUOTED = re.compile(r'"(?:[^"]|"")*"')


@dataclass(frozen=True)
class CsvFormat:
    """`null_text` stands for NULL where it is not quoted."""

    delimiter: str = ","
    null_text: str = ""
    encoding: str = "utf-8-sig"


class CsvFile:
    """An open file, read once from its beginning. Use with `with`."""

    def __init__(self, path: str, format: CsvFormat) -> None:
        """Raises OperationalError when it cannot be read, DataError for a bad header."""
        # One field may be as long as a TEXT can be; the module's own bound is 128 KiB.
        csv.field_size_limit(sys.maxsize)
        self.path = path
        self.size_bytes = 0
        self._format = format
        self._quoted_null = f'"{format.null_text}"'
        self._raw_lines: list[str] = []
        self._file = self._open()
        stream = gzip.GzipFile(fileobj=self._file) if path.endswith(".gz") else self._file
        self._text = io.TextIOWrapper(cast(BinaryIO, stream), encoding=format.encoding, newline="")
        self._reader = csv.reader(self._lines(), delimiter=format.delimiter, strict=True)
        self.header = self._read_header()

    def _open(self) -> BinaryIO:
        try:
            status = Path(self.path).stat()
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                raise OperationalError(
                    f"cannot read {self.path}: it is a pipe or a device",
                    hint="a CSV file is read twice, once for the types: save it first",
                )
            self.size_bytes = status.st_size
            return Path(self.path).open("rb")
        except OSError as error:
            raise OperationalError(f"cannot read {self.path}: {error.strerror or error}") from None

    @property
    def position_bytes(self) -> int:
        """How far the file has been read; in a compressed one, in its compressed bytes."""
        return self._file.tell()

    def __enter__(self) -> CsvFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self._text.close()
        self._file.close()  # a GzipFile leaves it open

    def records(self) -> Iterator[tuple[int, Fields]]:
        """Yield (line, fields) of each record; lines count from 1, the header's included."""
        width = len(self.header)
        while True:
            self._raw_lines.clear()
            line = self._reader.line_num + 1
            texts = self._next_record(line)
            if texts is None:
                return
            if not texts:
                if width > 1:
                    continue  # a blank line
                texts = [""]
            if len(texts) != width:
                raise DataError(
                    f"{self.path}, line {line}: {len(texts)} fields, but the header has {width}",
                    hint="a field that holds the delimiter or a line end must be quoted",
                )
            yield line, self._with_nulls(texts)

    def _with_nulls(self, texts: list[str]) -> Fields:
        null_text = self._format.null_text
        if null_text not in texts:
            return cast(Fields, texts)
        raw = "".join(self._raw_lines)
        if self._quoted_null not in raw:
            return [None if text == null_text else text for text in texts]
        flags = is_quoted(raw, self._format.delimiter)
        return [
            None if text == null_text and not quoted else text
            for text, quoted in zip(texts, flags, strict=True)
        ]

    def _next_record(self, line: int) -> list[str] | None:
        try:
            return next(self._reader, None)
        except csv.Error as error:
            raise DataError(f"{self.path}, line {line}: {error}", hint="is the delimiter right?") from None
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.path}, after line {self._reader.line_num}: not {error.encoding}: {error.reason}",
                hint="--encoding says what it is",
            ) from None
        except (OSError, EOFError, zlib.error) as error:  # the last two from a damaged .gz
            raise OperationalError(f"cannot read {self.path}: {error}") from None

    def _lines(self) -> Iterator[str]:
        for line in self._text:
            self._raw_lines.append(line)
            yield line

    def _read_header(self) -> list[str]:
        try:
            names = self._next_record(1)
            if not names:
                raise DataError(f"{self.path} has no header", hint="its first line names the columns")
            for place, name in enumerate(names, start=1):
                if not name.strip():
                    raise DataError(f"{self.path}, line 1: field {place} of the header is empty")
        except BaseException:
            self._close()
            raise
        return [name.strip() for name in names]


def is_quoted(raw: str, delimiter: str) -> list[bool]:
    """For each field of a well-formed record, whether it stands in quotes."""
    flags = []
    position = 0
    while True:
        match = _QUOTED.match(raw, position)
        flags.append(match is not None)
        end = raw.find(delimiter, match.end() if match else position)
        if end < 0:
            return flags
        position = end + len(delimiter)
