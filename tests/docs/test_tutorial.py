"""The tutorial of marks from end to end, with the starter and emoji, at a smaller image size than a reader has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.snippets import ROOT, blocks

PAGE = "docs/tutorials/emoji_loop.md"
SIZE = "64"


def run(words: list[str], place: Path) -> str:
    """Runs a command of the tutorial as a process of its own; returns its output."""
    program = ["-c", "from crosscue.cli import main; main()"] if words[0] == "crosscue" else [str(ROOT / words[1])]
    rest = words[1:] if words[0] == "crosscue" else words[2:]
    done = subprocess.run(
        [sys.executable, *program, *rest], cwd=place, capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 0, f"{words}: {done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.starter
def test_400_marked_texts_raise_the_recall_of_held_out_texts(tmp_path: Path) -> None:
    shown = ""
    (tmp_path / "texts.txt").write_text("a bird\na woman\na building\n")
    for block in blocks(PAGE):
        for words in block.commands if block.language == "bash" else ():
            if words[0] != "pip":
                assert "160" in words or words[1] in ("labels", "index")
                shown += run([SIZE if word == "160" else word for word in words], tmp_path)
    assert "400 texts are marked in emoji/.crosscue" in shown
    found = re.search(r"recall@10 of (\d+) held-out texts: .*, \+([\d.]+) points \(\+.* p ([\d.]+)\): higher\.", shown)
    assert found and int(found[1]) > 100 and float(found[3]) < 0.05, shown[-1000:]
    assert len(shown.split(found[0])[1].strip().splitlines()) == 3  # texts to mark next
