"""What a process that asks one question does not load: its time is mostly spent on imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

OF_OTHER_WORK = {
    "lark": "the parse tables are ready-made",
    "tabulate": "csv is written without it",
    "prompt_toolkit": "nobody types",
    "pygments": "nobody types",
    "tqdm": "nothing takes long",
    "hashlib": "nothing is hashed",
    "difflib": "nothing was mistyped",
    "json": "the format is csv",
    "ferrisdb.isolation": "nobody is in the laboratory",
    "ferrisdb.cli.shell": "nobody types",
    "ferrisdb.cli.csv_import": "nothing is imported",
    "ferrisdb.query.change.insert": "no row changes",
    "ferrisdb.query.change.update": "no row changes",
    "ferrisdb.query.change.delete": "no row changes",
    "ferrisdb.query.many_runs": "no row changes",
    "ferrisdb.query.define.create_table": "the schema stays",
    "ferrisdb.query.define.create_index": "the schema stays",
    "ferrisdb.query.define.drop": "the schema stays",
    "ferrisdb.storage.table_copy": "nothing is copied",
    "ferrisdb.query.parse.syntax_errors": "the text is right",
    "ferrisdb.query.parse.table_builder": "the parse tables are ready-made",
}


def loaded_by(sql: str) -> set[str]:
    """The modules that `ferrisdb --format csv -c SQL` has loaded when it ends."""
    code = (
        "import sys; from ferrisdb.cli.main import main\n"
        f"status = main(['--format', 'csv', '-c', {sql!r}])\n"
        "print(*sys.modules, file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    return set(done.stderr.split())


def test_a_question_loads_nothing_of_what_defines_and_changes() -> None:
    loaded = loaded_by("SELECT 1")
    assert "ferrisdb.query.session" in loaded
    assert {name: why for name, why in OF_OTHER_WORK.items() if name in loaded} == {}


@pytest.mark.parametrize(
    ("sql", "module"),
    [
        ("CREATE TABLE t (a INTEGER)", "ferrisdb.query.define.create_table"),
        ("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1)", "ferrisdb.query.change.insert"),
    ],
)
def test_a_statement_loads_what_it_needs(sql: str, module: str) -> None:
    # Also that the names in the test above are names of modules.
    assert module in loaded_by(sql)
