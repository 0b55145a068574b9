"""`import ferrisdb`: what it names, and what it does not drag in."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

import ferrisdb

HEAVY = {"lark", "tabulate", "prompt_toolkit", "pygments", "tqdm", "hypothesis", "sqlite3", "asyncio"}


def test_every_public_name_is_there() -> None:
    assert len(set(ferrisdb.__all__)) == len(ferrisdb.__all__)
    for name in ferrisdb.__all__:
        assert getattr(ferrisdb, name) is not None
    assert set(ferrisdb.__all__) == {*ferrisdb._HOME_OF, "__version__"}
    assert dir(ferrisdb) == sorted(ferrisdb.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ferrisdb.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_each_sqlstate_has_a_class_that_can_be_caught() -> None:
    code = "import ferrisdb; print(ferrisdb.errors.UniqueViolation.sqlstate)"  # nothing else imports it
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "23505\n"


def test_the_version_is_that_of_the_package() -> None:
    assert ferrisdb.__version__ == importlib.metadata.version("ferrisdb")


def test_a_query_from_python_needs_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys, ferrisdb\n"
        "assert ferrisdb.connect().execute('SELECT 1').fetchall() == [(1,)]\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & HEAVY == set()
