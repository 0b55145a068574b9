"""Which moments of the past can be read, and what is said of those that can't.

    versions   0 ............... 3900 .. 4100 ................ 9000 .........
               kept no more      |       retained              newest     still to come
                                 an open transaction reads here

A version is the token of a commit. It can be read from the oldest one on that is kept for its age
(`retention_s`), and below that where a transaction reads already, for as long as that one is
open. It does not depend on whether a compaction has come by: what works today works tomorrow.

A time stands for the version that was the newest one then.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from ferrisdb.errors import InvalidParameterValue, PastNotKept


def check_readable(version: int, *, oldest: int, newest: int, in_use: Collection[int]) -> None:
    """Raises PastNotKept, InvalidParameterValue."""
    if version > newest:
        raise InvalidParameterValue(
            f"version {version} is still to come: the newest is {newest}",
            hint="SHOW current_version gives the newest",
        )
    if version < 0:
        raise InvalidParameterValue(f"there is no version {version}: they are counted from 0")
    if version < oldest and version not in in_use:
        raise PastNotKept(
            f"version {version} is no longer kept: the oldest that can be read is {oldest}",
            hint="to keep more of the past, open the database with retention_s=...",
            oldest_version=oldest,
        )


def check_past(second: float, now_s: float) -> None:
    """InvalidParameterValue for a time that is still to come."""
    if second > now_s:
        raise InvalidParameterValue(
            f"{spelled(second)} is still to come: it is {spelled(now_s)} now",
            hint="times are UTC",
        )


def not_known(second: float, oldest: int) -> PastNotKept:
    return PastNotKept(
        f"which version was the newest at {spelled(second)} is not known",
        detail="Times are noted while a database is open to write, and lost when it is not closed.",
        hint=f"ask for AS OF VERSION: the oldest that can be read is {oldest}",
        oldest_version=oldest,
    )


def spelled(second: float) -> str:
    """As a TIMESTAMP is written, in UTC."""
    try:
        return str(datetime.fromtimestamp(second, UTC).replace(tzinfo=None))
    except (ValueError, OverflowError, OSError):
        return f"{second:.0f} seconds after 1970"
