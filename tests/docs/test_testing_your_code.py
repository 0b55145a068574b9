"""The page on testing one's own code: each of its files is written, and its tests are run."""

from __future__ import annotations

import pytest
from markdown_blocks import ROOT, Block, blocks_of

PAGE = ROOT / "docs" / "isolation" / "testing-your-code.md"
FILES = {
    block.text.split()[1]: block
    for block in blocks_of(PAGE)
    if block.language == "python" and block.text.startswith("# ")
}

pytest_plugins = ["pytester"]


@pytest.fixture
def written(pytester: pytest.Pytester) -> pytest.Pytester:
    for name, block in FILES.items():
        (pytester.path / name).write_text(block.text, encoding="utf-8")
    return pytester


def test_every_block_is_a_file() -> None:
    assert len(FILES) == sum(block.language == "python" for block in blocks_of(PAGE)) == 7


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("test_")])
def test_the_tests_of_the_page(written: pytest.Pytester, name: str) -> None:
    block: Block = FILES[name]
    result = written.runpytest_subprocess("-p", "ferrisdb.testing.pytest_plugin", "--strict-markers", name)
    outcomes = result.parseoutcomes()
    if not block.expected:
        assert set(outcomes) == {"passed"}
        return
    assert set(outcomes) == {"failed"}
    # The page leaves some lines out; those that it shows come in this order.
    lines = iter(result.outlines)
    for shown in block.expected.splitlines():
        assert any(shown in line for line in lines), f"the output has no more {shown!r}"
