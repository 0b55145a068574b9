"""Each article, and the pages on backups and on the laboratory, is a session in the system's shell: its
commands are run, its output compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_blocks import ROOT, blocks_of, same_shape
from test_pages import definitions_in

ARTICLES = [
    *sorted((ROOT / "docs" / "internals").glob("*.md")),
    ROOT / "docs" / "backup.md",
    *(
        ROOT / "docs" / "isolation" / f"{name}.md"
        for name in ("mvcc", "snapshot-isolation", "serializable", "locks-and-deadlocks", "laboratory")
    ),
]
HOME = "/home/ada"
"""Where the reader of an article works."""

_NAMED = re.compile(r"`(ferrisdb/[\w/]+\.py)(?::([\w.]+))?`")


@pytest.mark.parametrize("article", ARTICLES, ids=lambda article: article.stem)
def test_what_an_article_shows_is_what_happens(article: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    ran = 0
    for block in blocks_of(article):
        if block.language != "console":
            continue
        for command, expected in commands_and_answers(block.text):
            done = subprocess.run(
                command,
                shell=True,
                check=False,
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
            )
            answer = done.stdout.replace(str(tmp_path), HOME)
            assert without_chance(answer) == without_chance(expected), f"{article.name}: $ {command}"
            ran += 1
    assert ran >= 5


def commands_and_answers(text: str) -> list[tuple[str, str]]:
    """Each `$ ` line and what stands under it; a here-document belongs to its command."""
    found = []
    for chunk in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, answer = chunk.partition("\n")
        document = re.search(r"<<'(\w+)'", command)
        if document is not None:
            body, _, answer = answer.partition(f"\n{document[1]}\n")
            command = f"{command}\n{body}\n{document[1]}\n"
        found.append((command, answer))
    return found


def without_chance(text: str) -> str:
    """Without what differs from run to run: process ids, times, the random version of the catalog,
    random parts of names."""
    text = re.sub(r"process \d+", "process _", text)
    text = re.sub(r"(catalog version  )0x[0-9a-f]{32}", r"\1_", text)
    # The checksum of the record with the random version; that it is right is what counts.
    text = re.sub(r"(commit 1, \d+ bytes, crc32) [0-9a-f]{8}", r"\1 _", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "_", text)
    text = re.sub(r"(\d{6}-\d+)-[0-9a-f]{8}\.sst", r"\1-_.sst", text)
    text = re.sub(r"(\d{6}\.sst)\.[0-9a-f]{8}", r"\1._", text)
    return same_shape(text)


@pytest.mark.parametrize("article", ARTICLES, ids=lambda article: article.stem)
def test_files_and_functions_named_in_an_article_exist(article: Path) -> None:
    named = _NAMED.findall(article.read_text(encoding="utf-8"))
    assert named
    for path, definition in named:
        assert (ROOT / path).exists(), path
        assert not definition or definition in definitions_in(ROOT / path), f"{path}:{definition}"
