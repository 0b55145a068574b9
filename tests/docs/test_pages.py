"""The pages name files, functions and each other. What they name must be there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from markdown_blocks import ROOT, anchors_of

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PATH = re.compile(
    r"(?<![\w/.])((?:ferrisdb|grammar|tests|bench|docs|examples|\.ci)/[\w./-]*)(?::([A-Za-z_][\w.]*))?"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        file_name, _, anchor = target.partition("#")
        file = (page.parent / file_name).resolve() if file_name else page
        assert file.exists(), f"{page.name} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors_of(file), f"{page.name} links to {target}: no such heading"


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "README.md", "docs/architecture.md"])
def test_files_and_functions_named_in_a_page_exist(name: str) -> None:
    named = _PATH.findall((ROOT / name).read_text(encoding="utf-8"))
    assert named, f"{name} names no file at all"
    for path, definition in named:
        file = ROOT / path.rstrip(".")
        assert file.exists(), f"{name} names {path}, which is not there"
        if definition:
            assert definition.rstrip(".") in definitions_in(file), f"{path} defines no {definition}"


def definitions_in(file: Path) -> set[str]:
    """Functions and classes by their dotted names, and names bound at the top of the module."""
    found: set[str] = set()

    def collect(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found.add(prefix + node.name)
                collect(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.Assign):
                found.update(prefix + target.id for target in node.targets if isinstance(target, ast.Name))

    collect(ast.parse(file.read_text(encoding="utf-8")).body, "")
    return found
