"""Reads a Markdown page as a program: its fenced blocks, in order, with what each should print.

```python            run in one namespace for the whole page; the `text` block right
print(1 + 1)         after it, if there is one, is what it prints; without one it must
```                  print nothing
```text
2
```

```console           each `$ ` line is a command for the shell of the system; what
$ ferrisdb -c ...    stands under it is its output, both streams
```

```console           a command that opens FerrisDB's own shell: the lines after a
$ ferrisdb x.ferris  prompt are typed, all others are what the shell answers
ferris> SELECT 1;
```
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"^(?:[a-z_]\w*(?:[*!]| waits| runs)?> | {3}\.\.\.> ?)")


@dataclass(frozen=True)
class Block:
    """`line` is where it begins in the page, from 1. `expected` is only a python block's."""

    language: str
    text: str
    line: int
    expected: str = ""


@dataclass(frozen=True)
class Command:
    """`typed` is what goes into FerrisDB's shell; empty for a command that ends by itself."""

    shell_line: str
    typed: tuple[str, ...]
    expected: str


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    blocks: list[Block] = []
    end_of_last = -1
    for match in _FENCE.finditer(text):
        language, body = match[1], match[2]
        line = text.count("\n", 0, match.start()) + 1
        is_output = (
            language == "text"
            and blocks
            and blocks[-1].language == "python"
            and not text[end_of_last : match.start()].strip()
        )
        if is_output:
            blocks[-1] = Block("python", blocks[-1].text, blocks[-1].line, body)
        else:
            blocks.append(Block(language, body, line))
        end_of_last = match.end()
    return blocks


def commands_of(block: Block) -> list[Command]:
    commands: list[Command] = []
    for chunk in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        shell_line, _, answer = chunk.partition("\n")
        lines = answer.splitlines()
        typed = tuple(_PROMPT.sub("", line) for line in lines if _PROMPT.match(line))
        expected = [line for line in lines if not _PROMPT.match(line)]
        commands.append(Command(shell_line, typed, "\n".join(expected)))
    return commands


def same_shape(text: str) -> str:
    """Without what differs from run to run: measured times, blanks at the ends of lines."""
    text = re.sub(r"in [\d.]+ s \([\d,]+ rows/s\)", "in _ s (_ rows/s)", text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def anchors_of(page: Path) -> set[str]:
    """The names that `#...` can point at, made as code hosts make them from headings."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
