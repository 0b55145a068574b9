"""What the README shows is what happens: each block is run, and its output compared."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from markdown_blocks import ROOT, Block, Command, blocks_of, commands_of, same_shape
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

import ferrisdb
from ferrisdb.cli.main import main

README = ROOT / "README.md"


@pytest.fixture
def at_a_fresh_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the example data where the README has it, and `ferrisdb` on the path."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def test_every_block_of_the_readme_does_what_it_says(
    at_a_fresh_checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The page is one session: later blocks use what earlier ones made. It is a module, because
    # a dataclass looks for the one it is defined in.
    page = ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", page)
    tried = 0
    for block in blocks_of(README):
        if block.language == "python":
            run_python(block, page)
            tried += 1
        elif block.language == "console":
            for command in commands_of(block):
                run_command(block, command)
                tried += 1
    print(f"ran {tried} blocks and commands")
    assert tried >= 8


def test_every_block_says_its_language() -> None:
    for block in blocks_of(README):
        assert block.language in {"python", "console", "text", "sh"}, f"README.md:{block.line}"


def run_python(block: Block, page: ModuleType) -> None:
    # The line numbers of the page, so that a traceback points into it.
    code = compile("\n" * block.line + block.text, str(README), "exec", dont_inherit=True)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, page.__dict__)
    assert same_shape(printed.getvalue()) == same_shape(block.expected), f"README.md:{block.line}"


def run_command(block: Block, command: Command) -> None:
    answer = typed_into_shell(command) if command.typed else run_in_system_shell(command)
    assert same_shape(answer) == same_shape(command.expected), (
        f"README.md:{block.line}: $ {command.shell_line}"
    )


def run_in_system_shell(command: Command) -> str:
    return subprocess.run(
        command.shell_line,
        shell=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=60,
    ).stdout


def typed_into_shell(command: Command) -> str:
    """What FerrisDB's shell prints, on both streams, when a user types these lines."""
    program, *arguments = command.shell_line.split()
    assert program == "ferrisdb"
    printed = io.StringIO()
    with (
        create_pipe_input() as keyboard,
        create_app_session(input=keyboard, output=DummyOutput()),
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        patch.setattr("sys.stdin", Terminal())
        keyboard.send_text("".join(f"{line}\r" for line in command.typed))
        assert main(arguments) == 0
    return printed.getvalue()


class Terminal(io.StringIO):
    """Standard input that says it is a terminal; the keys come through prompt_toolkit."""

    def isatty(self) -> bool:
        return True


def test_the_version_in_the_changelog_is_the_version_of_the_package() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {ferrisdb.__version__}" in changelog
