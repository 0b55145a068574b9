"""What a check has found, and what it only notes."""

from __future__ import annotations

from dataclasses import dataclass, field

from ferrisdb.errors import CorruptionError, Error, FormatVersionError


@dataclass(frozen=True)
class Finding:
    """Damage: what is wrong at byte `offset` of `file`."""

    file: str
    offset: int
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: byte {self.offset}: {self.problem}"


_VERSION_OFFSET = 8


@dataclass
class Findings:
    found: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Remarkable, and no damage."""

    def add(self, file: str, offset: int, problem: str) -> None:
        self.found.append(Finding(file, offset, problem))

    def add_error(self, error: Error, file: str, offset: int = 0) -> None:
        """What a reader refused. `offset` is where it was reading, when the error does not say."""
        if isinstance(error, CorruptionError):
            self.add(error.file, error.offset, problem_of(error))
            return
        if isinstance(error, FormatVersionError) and not offset:
            offset = _VERSION_OFFSET
        self.add(file, offset, error.message)

    def note(self, text: str) -> None:
        self.notes.append(text)


def problem_of(error: CorruptionError) -> str:
    """The message without file and offset, which a finding says in its own way."""
    return error.message.removesuffix(f" ({error.file}, byte {error.offset})")
