"""Every script of examples/ runs as its reader would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import crosscue

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str, *arguments: object) -> str:
    """Returns what the script printed."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)], capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_has_a_test_and_is_short() -> None:
    here = Path(__file__).read_text()
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert len(scripts) == 5
    for script in scripts:
        assert re.search(rf'example\(\s*"{script.name}"', here), script.name
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


def test_own_method(source: Path, backbone: str, tmp_path: Path) -> None:
    assert "64 parameters" in example("own_method.py", source, tmp_path / "run", "--backbone", backbone)
