"""The tutorial of marks from end to end, with the starter and emoji: fewer and smaller ones than a reader has."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from crosscue.storage import cache_dir
from tests.cli import succeeds
from tests.docs.snippets import ROOT, blocks

PAGE = "docs/tutorials/emoji_loop.md"
SMALLER = {"1500": "700", "400": "240", "160": "64"}
"""Numbers of the tutorial -> those of the test: emoji, marked texts, side of an image."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, with what tests fetch, convert and draw once."""
    for name in ("wheels", "starter", "demo"):
        (cache_dir() / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "cache").mkdir(exist_ok=True)
        (tmp_path / "cache" / name).symlink_to(cache_dir() / name)
    monkeypatch.setenv("CROSSCUE_CACHE", str(tmp_path / "cache"))


@pytest.mark.slow
@pytest.mark.starter
@pytest.mark.timeout(1800)
def test_marked_texts_raise_the_recall_of_held_out_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("texts.txt").write_text("a bird\na woman\na building\n")
    shown, replaced = [], set()
    for block in blocks(PAGE):
        for words in block.commands if block.language == "bash" else ():
            replaced |= {word for word in words if word in SMALLER}
            smaller = [SMALLER.get(word, word) for word in words]
            if words[0] == "python":
                monkeypatch.setattr("sys.argv", smaller[1:])
                runpy.run_path(str(ROOT / words[1]), run_name="__main__")
                shown.append(capsys.readouterr().out)
            elif words[0] == "crosscue":
                shown.append(succeeds(*smaller[1:]))
    assert replaced == set(SMALLER)
    marked, pairs, _, _, gain, following = shown
    assert "240 texts are marked in emoji/.crosscue" in marked and "240 pairs: test" in pairs
    found = re.search(r"recall@10 of (\d+) held-out texts: .*, \+[\d.]+ points \(\+.* p ([\d.]+)\): higher\.", gain)
    assert found and int(found[1]) >= 60 and float(found[2]) < 0.05, gain[-500:]
    assert len(following.splitlines()) == 3  # texts to mark next
