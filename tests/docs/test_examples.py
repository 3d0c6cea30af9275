"""Every script of examples/ runs as its reader would run it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import crosscue
from crosscue.search.labels import Label, add_labels

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str, *arguments: object) -> str:
    """Returns what the script prints, as the main module of this process."""
    out = io.StringIO()
    with patch.object(sys, "argv", [name, *map(str, arguments)]), contextlib.redirect_stdout(out):
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return out.getvalue()


def test_every_example_has_a_test_and_is_short() -> None:
    here = Path(__file__).read_text()
    tutorial = (EXAMPLES.parent / "docs" / "tutorials" / "emoji_loop.md").read_text()  # test_tutorial.py runs it
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert len(scripts) == 7
    for script in scripts:
        assert re.search(rf'(example\(\s*|/ )"{script.name}"', here) or f"python examples/{script.name}" in tutorial
        code = [line for line in script.read_text().split('"""', 2)[2].splitlines() if line.strip()]
        assert 10 <= len(code) <= 30, f"{script.name} has {len(code)} lines"


def test_adapt_own_images(source: Path, backbone: str, tmp_path: Path) -> None:
    shown = example("adapt_own_images.py", source, tmp_path / "run", "--backbone", backbone, "--epochs", 2)
    assert re.search(r"^\d+ steps in \d+ s: ", shown)
    assert crosscue.load(tmp_path / "run").encode_text(["a red thing"]).shape == (1, 32)


def test_before_and_after(source: Path, run_folder: Path) -> None:
    shown = example("before_and_after.py", run_folder, source)
    assert len(re.findall(r"R@1 [\d.]+ -> [\d.]+ \([+-][\d.]+ to [+-][\d.]+\)", shown)) == 2


def test_rank_folder(source: Path, run_folder: Path) -> None:
    shown = example("rank_folder.py", run_folder, source, "a red thing", "--top", 4).splitlines()
    scores = [float(line.split()[0]) for line in shown]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)


def test_small_grid(source: Path, backbone: str, tmp_path: Path) -> None:
    shown = example(
        "small_grid.py", source, tmp_path, "--backbone", backbone, "--methods", "linear_probe", "--seeds", 1, 2
    )
    assert re.search(r"zero_shot +Rsum [\d.]+\nlinear_probe +Rsum [\d.]+", shown)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["linear_probe-1", "linear_probe-2"]


def test_marks_to_model(source: Path, backbone: str, tmp_path: Path) -> None:
    shutil.copytree(source, tmp_path / "images")
    collection = crosscue.open(tmp_path / "images" / ".crosscue", run="zero_shot", name="before", backbone=backbone)
    collection.add(tmp_path / "images")
    hits = collection.search("a thing", k=24, all=True, group=False, text="off")
    add_labels(collection.collection, [Label(f"text {number}", hit.id, True) for number, hit in enumerate(hits)])
    shown = example("marks_to_model.py", tmp_path / "images", tmp_path / "marked", "--method", "linear_probe")
    assert re.search(r"recall@10 of 12 held-out texts: .*Below 20 held-out texts the gain cannot be known", shown)
    assert list(crosscue.open(tmp_path / "images").collection.spaces) == ["before", "marked"]


def test_own_method(source: Path, backbone: str, tmp_path: Path) -> None:
    """In a process of its own, as a reader would run it: its method is a class of the main module."""
    command = [sys.executable, EXAMPLES / "own_method.py", source, tmp_path / "run", "--backbone", backbone]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env={**os.environ})
    assert "64 parameters" in done.stdout, done.stderr
