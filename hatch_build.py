"""Building a wheel also builds the SQL parse tables, so that no program has to.

Runs for wheels, editable ones included, and writes `sql_tables.msgpack` into the package;
pyproject.toml declares that file as an artifact. The modules are loaded by their paths,
because the build environment has lark and msgpack but not what `import ferrisdb` needs.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ParseTablesHook(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        parse = root / "ferrisdb" / "query" / "parse"
        builder, table_file = (_load(parse / f"{name}.py") for name in ("table_builder", "table_file"))
        grammar = (root / "grammar" / "sql.lark").read_text(encoding="utf-8")
        path = parse / table_file.FILE_NAME
        table_file.write(path, builder.build(grammar), grammar)
        build_data["artifacts"].append(f"/{path.relative_to(root).as_posix()}")


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"ferrisdb_build_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
