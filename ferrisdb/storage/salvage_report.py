"""What a salvage has to tell: what was damaged, what of it is lost, what was saved.

A damage is a place in a file. It is a *loss* when versions or commits may be gone with it: a
damaged bloom filter is none, as all that it knew stands in the blocks. Where it cannot be told
whether something is gone, it is called a loss.

The keys of a loss are a range with both ends included, and None is no end: nobody knows. Its
commits are a range of timestamps in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Damage:
    """From byte `offset` to byte `end` (not included) of `file`."""

    file: str
    offset: int
    end: int
    problem: str
    is_loss: bool
    smallest_key: bytes | None = None
    largest_key: bytes | None = None
    first_commit: int | None = None
    last_commit: int | None = None
    versions: int | None = None
    """How many are gone, where that is known."""

    def may_concern(self, key: bytes) -> bool:
        """Whether a version of `key` may be among what is lost."""
        return (
            self.is_loss
            and (self.smallest_key is None or self.smallest_key <= key)
            and (self.largest_key is None or key <= self.largest_key)
        )


@dataclass(frozen=True)
class SalvageReport:
    """Of a salvage into a new database."""

    damages: tuple[Damage, ...]
    notes: tuple[str, ...]
    """Remarkable, and no damage."""
    used_manifest: bool
    """Whether it was sound. Without it every file counts, also one that was about to be removed,
    and a row that had been deleted may be back."""
    tables: int
    versions: int
    """That could be read, of tables and log."""
    commits: int
    """That could be read, of the log."""
    saved_keys: int
    """That have a value in the new database."""
    suspect_keys: int
    """Of the saved: they may have had a newer value, or been deleted, in what is lost."""

    @property
    def losses(self) -> tuple[Damage, ...]:
        return tuple(damage for damage in self.damages if damage.is_loss)

    @property
    def has_lost(self) -> bool:
        """Whether anything is lost, or may be."""
        return bool(self.losses) or not self.used_manifest


@dataclass(frozen=True)
class RecoveryReport:
    """Of an opening in `RecoveryMode.SALVAGE` that met a damaged log."""

    damages: tuple[Damage, ...]
    commits: int
    """That were in the log and are in the database now."""
    kept_aside: tuple[str, ...]
    """Copies of the segments as they were found."""
