"""The glossary, and the check that keeps the project to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from scripts import check_words

ROOT = Path(__file__).parents[2]


def project(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_the_glossary_has_25_words_of_one_short_sentence_each() -> None:
    lines = (ROOT / "docs" / "glossary.md").read_text().splitlines()
    rows = [line.strip("|").split("|", 1) for line in lines if line.startswith("| ") and "| word |" not in line]
    rows = [row for row in rows if row[0].strip() != "word"]
    assert len(rows) == 25
    assert len({word.strip() for word, _ in rows}) == 25
    for word, meaning in rows:
        assert len(meaning.split()) <= 25, word
        assert meaning.strip().endswith("."), word


@pytest.mark.parametrize(
    "line",
    [
        "Two pictures of a dog.",
        "def embed_pictures():",
        "It reads a sentence.",
        "The learned numbers are saved.",
        "in another number format",
        "on one processor",
        "The method is told all captions.",
        "Modes that are asked for.",
    ],
)
def test_a_refused_word_is_found_with_its_line(tmp_path: Path, line: str) -> None:
    root = project(tmp_path, {"docs/page.md": f"# Title\n\n{line}\n"})
    assert [each.split(": '")[0] for each in check_words.complaints(root)] == ["docs/page.md:3"]


@pytest.mark.parametrize(
    "line",
    [
        "An image and its caption.",
        'record["sentences"]',
        "a sentence encoder",
        "image_processor_type",
        "Each sentence of a text.  # words: ok",
        "<!-- picture words: ok -->",
    ],
)
def test_an_allowed_line_passes(tmp_path: Path, line: str) -> None:
    assert check_words.complaints(project(tmp_path, {"README.md": line})) == []


@pytest.mark.parametrize("word", ["What", "How", "Who", "Where", "Says", "Whether", "Asks", "Told"])
def test_a_docstring_with_a_refused_opening_is_found(tmp_path: Path, word: str) -> None:
    function = f'def f():\n    """{word} it does."""\n'
    attribute = f'class A:\n    x = 1\n    """{word} x is."""\n'
    root = project(tmp_path, {"src/p/a.py": function, "src/p/b.py": attribute, "src/p/c.py": f'"""{word}ever."""\n'})
    lines = check_words.complaints(root)
    assert [line.split(": ")[0] for line in lines] == ["src/p/a.py:2", "src/p/b.py:3"]


LONG = "This line of words " + "goes on and on " * 6 + "to its end."


@pytest.mark.parametrize("before", ["", "# Title\n\n", "- ", "A short one. ", "**Bold.** "])
def test_a_long_sentence_is_found(tmp_path: Path, before: str) -> None:
    found = check_words.complaints(project(tmp_path, {"docs/page.md": before + LONG}))
    assert len(found) == 1
    assert "31 words in 'This line of words goes ...'" in found[0]


def test_a_long_sentence_of_a_docstring_is_found_and_a_table_is_not(tmp_path: Path) -> None:
    attribute = f'class A:\n    """Class."""\n\n    x = 1\n    """Short.\n\n    {LONG}\n    """\n'
    table = f'"""Module.\n\nname    {LONG}\n"""\n'
    found = check_words.complaints(project(tmp_path, {"src/p/a.py": attribute, "src/p/b.py": table}))
    assert [line.split(" words")[0] for line in found] == ["src/p/a.py:7: 31"]


@pytest.mark.parametrize(
    "text",
    [
        LONG.replace("on and on goes", "on. And on goes", 3),
        f"| a | {LONG} |",
        f"    {LONG}",
        f"```text\n{LONG}\n```",
        f"<!-- table -->\n{LONG}\n<!-- end table -->",
        "- a line\n- of words\n" * 20,
        f"`{LONG}` is code.",
    ],
    ids=["two", "table", "indented", "fenced", "generated", "list", "code"],
)
def test_text_without_a_long_sentence_passes(tmp_path: Path, text: str) -> None:
    assert check_words.complaints(project(tmp_path, {"docs/page.md": text})) == []


def test_every_word_of_the_glossary_is_used() -> None:
    pages = [path for path in (ROOT / "docs").rglob("*.md") if path.name not in ("glossary.md", "reference.md")]
    prose = " ".join(path.read_text().lower() for path in [ROOT / "README.md", *pages])
    rows = [
        line.split("|")[1].strip() for line in (ROOT / "docs" / "glossary.md").read_text().splitlines() if "|" in line
    ]
    for word in rows[2:]:
        assert re.search(rf"\b{word.lower()}", prose), word


def test_the_project_keeps_to_its_words() -> None:
    assert check_words.complaints(ROOT) == []
