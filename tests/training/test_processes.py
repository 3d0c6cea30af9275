"""Runs of several processes: the gradients, the learned tensors and the ends of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crosscue.testing.backbones import FOLDERS
from tests.grid import CASES
from tests.training.ranks import trained

pytestmark = pytest.mark.processes
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]


def started(count: int, folder: Path, *parts: str) -> subprocess.Popen[str]:
    """Starts the parts of `tests.training.ranks` in processes of their own."""
    tiny = json.dumps({family: str(make()) for family, make in FOLDERS.items()})
    command = [*TORCHRUN, f"--nproc_per_node={count}", "-m", "tests.training.ranks", str(folder / "found.json"), *parts]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, cwd=root, env={**os.environ, "TINY": tiny}, text=True, stderr=subprocess.PIPE)


def results(running: subprocess.Popen[str], folder: Path) -> dict[str, dict[str, float]]:
    """Returns what the parts found."""
    _, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors[-3000:]
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("count", [2, 3])
def test_the_gradients_are_those_of_one_process(tmp_path: Path, count: int) -> None:
    part, families = {2: ("gradients_of_two", ["clip"]), 3: ("gradients_of_three", ["dual", "siglip2"])}[count]
    found = results(started(count, tmp_path, part), tmp_path)[part]
    assert len(found) == 2 * sum(trained(case, family) for case in CASES for family in families)
    worst = max(found, key=lambda name: found[name])
    assert found[worst] <= 1e-5, f"{worst}: {found[worst]}"
