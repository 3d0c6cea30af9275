"""Commands and code blocks of the documentation, with the page and line of each."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "docs/contributing/*.md", "docs/tutorials/*.md")
    for path in ROOT.glob(pattern)
    if path.name != "reference.md"
)
CONFIGS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml"))
PROGRAMS = ("crosscue", "make", "python", "pytest", "pip")
LANGUAGES = ("bash", "python", "yaml", "text")


@dataclass(frozen=True)
class Block:
    """A code block of a page."""

    page: str
    line: int
    language: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """The commands of a bash block, split into words."""
        joined = self.text.replace("\\\n", " ")
        return [words for line in joined.splitlines() if (words := shlex.split(line, comments=True))]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    """Returns the fenced blocks of a page, and the indented ones that begin with a program (as bash)."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    found: list[Block] = []
    index = 0
    while index < len(lines):
        start = index
        if fence := re.match(r"```(\w*)", lines[index]):
            index = next(i for i in range(start + 1, len(lines)) if lines[i] == "```")
            found.append(Block(page, start + 1, fence[1], "\n".join(lines[start + 1 : index]) + "\n"))
        elif lines[index].startswith("    ") and (index == 0 or not lines[index - 1].strip()):
            while index + 1 < len(lines) and lines[index + 1].startswith("    "):
                index += 1
            text = "\n".join(line[4:] for line in lines[start : index + 1]) + "\n"
            found.append(Block(page, start + 1, "bash" if text.startswith(PROGRAMS) else "text", text))
        index += 1
    return found


def inline(page: str) -> Iterator[tuple[str, list[str]]]:
    """Yields the place and the words of every command with an option that stands inside a line, or in a comment of YAML."""
    text = (ROOT / page).read_text(encoding="utf-8")
    pattern = r"^#\s+(crosscue .*)$" if page.endswith(".yaml") else r"`((?:crosscue|python) [^`\n]*--[^`\n]*)`"
    for match in re.finditer(pattern, text, re.M):
        yield f"{page}:{text.count(chr(10), 0, match.start()) + 1}", shlex.split(match[1])
