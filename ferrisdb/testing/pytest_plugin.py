"""Fixtures for pytest: a fresh database for each test, and functions run side by side.

    def test_nobody_is_overdrawn(ferris_db, interleave):
        ferris_db.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER)")
        ...
        interleave(ferris_db, [withdraw, withdraw], check=nobody_is_overdrawn)

pytest finds this module by its entry point, wherever FerrisDB is installed. Nothing of FerrisDB
is imported before a test asks for a fixture.

`@pytest.mark.ferrisdb(path=True, ...)` has the database in a folder, which is the test's own and
goes with it; all else that the marker names is given to `ferrisdb.open`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ferrisdb.api.database import Database


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "ferrisdb(path=False, **options): how the fixture ferris_db opens its database: in a folder"
        " with path=True; options are those of ferrisdb.open",
    )


@pytest.fixture
def ferris_db(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A fresh ferrisdb.Database, in memory or as @pytest.mark.ferrisdb says; closed after the test."""
    import ferrisdb  # noqa: PLC0415

    options: dict[str, Any] = {}
    # The marker that is nearest to the test has the last word.
    for marker in reversed(list(request.node.iter_markers("ferrisdb"))):
        if marker.args:
            raise pytest.UsageError(f"the marker ferrisdb takes named arguments only, not {marker.args!r}")
        options |= marker.kwargs
    path = ":memory:"
    if options.pop("path", False):
        folder: Path = request.getfixturevalue("tmp_path")
        path = str(folder / "test.ferris")
    with ferrisdb.open(path, **options) as db:
        yield db


@pytest.fixture
def interleave() -> Callable[..., Any]:
    """`ferrisdb.testing.interleave`: run functions side by side in many schedules, and check."""
    from ferrisdb.testing.interleaving import interleave  # noqa: PLC0415

    return interleave
