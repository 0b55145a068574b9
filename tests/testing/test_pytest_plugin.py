"""The fixtures, in test runs of their own."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
PLUGIN = "ferrisdb.testing.pytest_plugin"


def run(pytester: pytest.Pytester, source: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(source)
    return pytester.runpytest_inprocess("-p", PLUGIN, "--strict-markers", *options)


def test_each_test_gets_a_fresh_database_that_is_closed_after_it(pytester: pytest.Pytester) -> None:
    source = """
        import ferrisdb
        import pytest

        seen = []

        @pytest.mark.parametrize("number", [1, 2])
        def test_fresh(ferris_db, number):
            assert ferris_db.path == ":memory:"
            assert ferris_db.tables() == ()
            ferris_db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
            seen.append(ferris_db)

        def test_closed():
            assert len(seen) == 2
            for db in seen:
                with pytest.raises(ferrisdb.InterfaceError):
                    db.tables()
        """
    run(pytester, source).assert_outcomes(passed=3)


def test_the_marker_says_how_it_is_opened(pytester: pytest.Pytester) -> None:
    source = """
        import pytest

        pytestmark = pytest.mark.ferrisdb(durability="off", max_open_transactions=7)

        @pytest.mark.ferrisdb(path=True, max_open_transactions=5)
        def test_in_a_folder(ferris_db, tmp_path):
            assert ferris_db.path == str(tmp_path / "test.ferris")
            assert (tmp_path / "test.ferris").is_dir()
            limits = ferris_db._lease.engine.store.limits()
            assert limits.open_transactions == 5

        def test_in_memory(ferris_db):
            limits = ferris_db._lease.engine.store.limits()
            assert ferris_db.path == ":memory:" and limits.open_transactions == 7

        @pytest.mark.ferrisdb("path")
        def test_wrong(ferris_db):
            pass
        """
    result = run(pytester, source)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*the marker ferrisdb takes named arguments only*"])


def test_interleave_shows_the_schedule_that_breaks_an_assertion(pytester: pytest.Pytester) -> None:
    source = """
        def add(db):
            with db.transaction("read committed") as tx:
                n = tx.query("SELECT n FROM counter").scalar()
                tx.execute("UPDATE counter SET n = ?", (n + 1,))

        def test_counter(ferris_db, interleave):
            ferris_db.execute("CREATE TABLE counter (n INTEGER)")
            ferris_db.execute("INSERT INTO counter VALUES (0)")

            def both_are_counted(db):
                assert db.query("SELECT n FROM counter").scalar() == 2

            interleave(ferris_db, [add, add], check=both_are_counted)
        """
    result = run(pytester, source)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*assert 1 == 2*",
            "*InterleavingFailed: assert 1 == 2*",
            "*after this schedule (again: interleave(..., choices=[[]*]*",
            "*add-1 statement SELECT n FROM counter",
            "*add-2 start",
            "*add-2 end",
            "*add-1 lock counter(row 1)",
        ]
    )


def test_pytest_finds_the_plugin_by_its_entry_point() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    ((name, value),) = project["project"]["entry-points"]["pytest11"].items()
    assert name == PLUGIN, "pytest does not load what it knows by this name a second time"
    module = EntryPoint(name, value, "pytest11").load()
    assert {"ferris_db", "interleave", "pytest_configure"} <= set(vars(module))


def test_the_plugin_costs_no_import_before_a_fixture_is_asked_for() -> None:
    script = f"""
import sys
import {PLUGIN}
loaded = {{name for name in sys.modules if name.startswith("ferrisdb.")}}
assert loaded == {{"ferrisdb.testing", "{PLUGIN}"}}, loaded
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_database_does_not_need_pytest() -> None:
    script = """
import sys
sys.modules["pytest"] = None
import ferrisdb.testing
for name in ferrisdb.testing.__all__:
    getattr(ferrisdb.testing, name)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
