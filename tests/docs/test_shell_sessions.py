"""docs/isolation/shell-sessions.md is one evening at the shell: it is typed again, and every line of
it compared, the prompts included."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
from markdown_blocks import ROOT, blocks_of, commands_of
from prompt_toolkit import PromptSession
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from test_pages import definitions_in
from test_readme import Terminal

from ferrisdb.cli.main import main

PAGE = ROOT / "docs" / "isolation" / "shell-sessions.md"
_NAMED = re.compile(r"`(ferrisdb/[\w/]+\.py)(?::([\w.]+))?`")


@pytest.fixture
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.usefixtures("at_home")
def test_what_the_page_shows_is_what_the_shell_does() -> None:
    played = 0
    for block in blocks_of(PAGE):
        if block.language != "console":
            continue
        shown = block.text.partition("\n")[2]
        for command in commands_of(block):
            assert transcript_of(command.shell_line, command.typed) == shown, f"line {block.line}"
            played += 1
    assert played >= 2


def test_files_and_functions_that_the_page_names_exist() -> None:
    named = _NAMED.findall(PAGE.read_text(encoding="utf-8"))
    assert named
    for path, definition in named:
        assert (ROOT / path).exists(), path
        assert not definition or definition in definitions_in(ROOT / path), f"{path}:{definition}"


def transcript_of(shell_line: str, typed: tuple[str, ...]) -> str:
    """All that stands at the terminal when a user types these lines."""
    program, *arguments = shell_line.split()
    assert program == "ferrisdb"
    printed = io.StringIO()
    ask = PromptSession.prompt

    def ask_and_show(session: PromptSession[str], message: Any, **options: Any) -> str:
        prompt = message()
        try:
            text = ask(session, message, **options)
        except EOFError:
            print(prompt.rstrip())
            raise
        print(prompt + text.replace("\n", "\n   ...> "))
        return text

    with (
        create_pipe_input() as keyboard,
        create_app_session(input=keyboard, output=DummyOutput()),
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        patch.setattr("sys.stdin", Terminal())
        patch.setattr(PromptSession, "prompt", ask_and_show)
        keyboard.send_text("".join(f"{line}\r" for line in typed))
        assert main(arguments) == 0
    return printed.getvalue()
