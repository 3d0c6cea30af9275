"""Check the words of the project against the glossary (docs/glossary.md), and the length of sentences in Markdown and docstrings.

    python scripts/check_words.py    # fails with file, line and the better word

A line that ends in `words: ok` is exempt, in any kind of comment.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECKED = (
    "*.md",
    "docs/**/*.md",
    "src/**/*.py",
    "src/**/*.yaml",
    "src/**/*.j2",
    "configs/**/*.yaml",
    "examples/*.py",
    "scripts/*.py",
    "benchmarks/*.py",
    "tests/**/*.py",
)
"""Every text a reader meets. The help of the command line is written in src."""
GENERATED = {"docs/reference.md"}
EXEMPT = {"scripts/check_words.py", "tests/docs/test_words.py"}
WORDS = (
    (r"(?i)picture", "image"),
    (r"(?i)(?<![\"'`])\bsentences?\b(?! encoder|-transformers|[\"'`])", "caption (of the dataset) or text (any input)"),
    (r"(?i)\blearned numbers?\b", "parameter"),
    (r"(?i)\bnumber formats?\b", "dtype"),
    (r"(?i)\bprocessors?\b", "CPU"),
    (r"(?i)\b(is|are|was|were) told\b", "receives, contains or is configured with"),
    (r"(?i)\b(is|are|was|were) asked\b", "is evaluated, is queried or is called"),
)
"""Pattern -> the word of the glossary. A quoted `"sentences"` is a column name and stays."""
LONGEST = 25
"""Words from one full stop to the next, in the prose of Markdown and docstrings."""
OPENINGS = re.compile(r"(What|How|Who|Where|Says|Whether|Asks|Told)\b")
TABLE = re.compile(r"^.*\S {2,}\S.*$", re.M)
"""A line of a table or a diagram in a docstring."""
MARK = re.compile(r"words: ok\W*$")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def findings(path: Path) -> list[str]:
    """Return `line: what, better` for one file."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    found = []
    for index, line in enumerate(lines, 1):
        if MARK.search(line):
            continue
        for pattern, better in WORDS:
            found += [f"{index}: '{match.group()}', better: {better}" for match in re.finditer(pattern, line)]
    prose = []
    if path.suffix == ".md" and path.parent.name != "results":
        prose = [(1, text)]
    if path.suffix == ".py":
        prose = [(line, TABLE.sub("", inspect.cleandoc(docstring))) for line, docstring in docstrings(text)]
        found += [
            f"{index}: a docstring starts with '{match.group()}', better: a noun phrase, an imperative, or Returns"
            for index, docstring in docstrings(text)
            if (match := OPENINGS.match(docstring)) and not MARK.search(lines[index - 1])
        ]
    return found + [
        f"{first + line - 1}: {words} words in '{start} ...', better: sentences of at most {LONGEST}"
        for first, part in prose
        for line, words, start in long_sentences(part)
    ]


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Yield the first line and the words of every paragraph and list item; code, tables, headings and tables of results are left out."""
    masked = re.sub(
        r"^```.*?^```|<!-- (?!end)[^>]*-->(?:(?!<!-- ).)*<!-- end[^>]*-->|<!--.*?-->",
        lambda m: "\n" * m[0].count("\n"),
        text,
        flags=re.M | re.S,
    )
    start, words = 0, []
    for index, line in enumerate([*masked.splitlines(), ""], 1):
        item = re.match(r"\s*([-*]|\d+\.) ", line)
        if (not line.strip() or item or line.startswith(("|", "#", "    ", "!["))) and words:
            yield start, " ".join(words)
            words = []
        if line.strip() and not line.startswith(("|", "#", "    ", "![")):
            start = start if words else index
            words.append(line[item.end() :] if item else line.strip())


def long_sentences(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield the line of its paragraph, the number of words and the beginning of every sentence that is too long."""
    for line, paragraph in paragraphs(text):
        plain = re.sub(r"`[^`]*`", "code", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", paragraph)).replace("**", "")
        for sentence in re.split(r"(?<=[.!?:])[)\"]?\s+(?=[A-Z0-9(\"`c])", plain):
            words = [word for word in sentence.split() if re.search(r"[A-Za-z]", word)]
            if len(words) > LONGEST:
                yield line, len(words), " ".join(words[:5])


def docstrings(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of every docstring, attribute docstrings included."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, DOCUMENTED):
            continue
        strings = node.body if isinstance(node, ast.ClassDef | ast.Module) else node.body[:1]
        for statement in strings:
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield statement.lineno, value.value


def complaints(root: Path) -> list[str]:
    """Return `file:line: what, better` for every finding."""
    paths = {path for pattern in CHECKED for path in root.glob(pattern) if path.is_file()}
    names = {path.relative_to(root).as_posix() for path in paths} - GENERATED - EXEMPT
    return [f"{name}:{line}" for name in sorted(names) for line in findings(root / name)]


def main() -> int:
    lines = complaints(ROOT)
    ending = f"{len(lines)} finding(s). The words are in docs/glossary.md." if lines else "words: ok"
    print("\n".join([*lines, ending]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
