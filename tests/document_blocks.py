# This file is part of meas_blendid.
#
# See the COPYRIGHT file at the top-level directory of this distribution
# for details of code ownership.
#
# Use of this source code is governed by a 3-clause BSD-style
# license that can be found in the LICENSE file.

"""Blocks of code in the documents, and how a test may run them.

A block runs as it stands unless comments right before it say otherwise, ``.. test: WHAT`` in a page and
``<!-- test: WHAT -->`` in a Markdown file, which readers do not see:

``skip, REASON``
    It is not run.
``given NAME, NAME``
    It needs these files or variables, which are made before.
``replace OLD => NEW``
    NEW is run instead of OLD, such as a small number of scenes instead of a large one.
``needs PACKAGE``
    It is run only where this optional package is installed.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, field
from pathlib import Path

RUNNABLE = ("bash", "python")


@dataclass
class Block:
    """A block of code: what it says, where, and how to run it."""

    path: Path
    line: int
    language: str
    code: str
    caption: str = ""
    skip: str = ""
    given: list[str] = field(default_factory=list)
    replacements: list[tuple[str, str]] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)

    @property
    def lacks(self) -> list[str]:
        """Packages that it needs and that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    @property
    def runs(self) -> bool:
        """Whether it is to be run, and not only shown or written to the file that it is the text of."""
        return self.language in RUNNABLE and not self.skip and not self.caption

    def to_run(self) -> str:
        """What is run instead of what is shown."""
        code = self.code
        for old, new in self.replacements:
            if old not in code:
                raise ValueError(f"{self.path}, line {self.line}: there is no {old!r} to replace")
            code = code.replace(old, new)
        return code


def _take_instruction(block: Block, text: str) -> None:
    """Note one instruction to the test."""
    verb, _, rest = text.strip().partition(" ")
    if verb == "skip," and len(rest) > 10:
        block.skip = rest
    elif verb == "given" and rest:
        block.given += [name.strip() for name in rest.split(",")]
    elif verb == "needs" and rest.isidentifier():
        block.needs.append(rest)
    elif verb == "replace" and " => " in rest:
        old, _, new = rest.partition(" => ")
        block.replacements.append((old, new))
    else:
        raise ValueError(f"{block.path}, line {block.line}: {text!r} is no instruction to a test")


def _dedent(lines: list[str]) -> str:
    """Text of a block without the indentation that all its lines share."""
    indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    return "\n".join(line[min(indents, default=0) :] for line in lines).strip("\n") + "\n"


def read_blocks(path: Path) -> list[Block]:
    """All blocks of code of a page (.rst) or a Markdown file, in order."""
    markdown = path.suffix == ".md"
    start = re.compile(r"()```(\w*)" if markdown else r"(\s*)\.\. code-block:: *(\w*)")
    instruction = re.compile(r"<!-- test: (.*) -->" if markdown else r"\s*\.\. test: (.*)")
    lines = path.read_text(encoding="utf-8").splitlines()
    blocks: list[Block] = []
    waiting: list[str] = []
    i = 0
    while i < len(lines):
        line = lines[i]
        i += 1
        if found := instruction.fullmatch(line):
            waiting.append(found[1])
            continue
        opened = start.fullmatch(line)
        if opened is None:
            if waiting and line.strip():
                raise ValueError(f"{path}, line {i}: an instruction to a test has no block of code after it")
            continue
        block = Block(path, i, opened[2], "")
        body: list[str] = []
        if markdown:
            while lines[i] != "```":
                body.append(lines[i])
                i += 1
            i += 1
        else:
            while i < len(lines) and (not lines[i].strip() or lines[i].startswith(opened[1] + "   ")):
                body.append(lines[i])
                i += 1
            while body and (option := re.fullmatch(r"\s*:(\w+): *(.*)", body[0])):
                block.caption = option[2] if option[1] == "caption" else block.caption
                body.pop(0)
        block.code = _dedent(body)
        for text in waiting:
            _take_instruction(block, text)
        waiting = []
        blocks.append(block)
    return blocks
