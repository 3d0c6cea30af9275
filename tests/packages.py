"""Installation of packages into a folder, without any download."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def install(source: Path, target: Path) -> Path:
    """Builds the package in `source` with the build backend at hand, installs it into `target`, and returns that."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    command += ["--no-compile", "--disable-pip-version-check", "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target
