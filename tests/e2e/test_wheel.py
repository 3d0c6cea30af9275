"""The wheel as a user gets it: built, installed into an empty folder, and used far from the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from crosscue import __version__
from tests import tiny
from tests.images import write_source
from tests.packages import install

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built with the build backend at hand."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel is installed into."""
    return install(wheel, tmp_path_factory.mktemp("site"))


def installed(site: Path, *arguments: object, cwd: Path) -> str:
    """Runs the installed command, with only the wheel's own folder before the other packages; returns its output."""
    environment = {**os.environ, "PYTHONPATH": str(site), "CROSSCUE_CACHE": str(cwd / "cache")}
    done = subprocess.run(
        [str(site / "bin" / "crosscue"), *map(str, arguments)], capture_output=True, text=True, cwd=cwd, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    kept = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / "crosscue").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {"crosscue/py.typed", "crosscue/bench/grids/few-shot.yaml", "crosscue/evaluation/report.html.j2"} <= kept
    assert not kept - inside
    others = inside - kept
    assert all(".dist-info/" in name for name in others), others


def test_the_installed_command_adapts_and_evaluates(site: Path, tmp_path: Path) -> None:
    code = "import crosscue, pathlib; print(pathlib.Path(crosscue.__file__).parents[1])"
    where = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    assert Path(where.stdout.strip()) == site
    assert installed(site, "--version", cwd=tmp_path).strip() == f"crosscue {__version__}"
    names = {method["name"] for method in json.loads(installed(site, "methods", "--json", cwd=tmp_path))}
    assert {"zero_shot", "dual_prompt", "acke"} <= names
    write_source(tmp_path / "images")
    given = [
        "--method",
        "dual_prompt",
        "--data",
        "images",
        "--backbone",
        tiny.clip_folder(),
        "--precision",
        "fp32",
        "--training.epochs",
        1,
    ]
    assert "finished after" in installed(site, "adapt", *given, "--out", "run", cwd=tmp_path)
    installed(site, "evaluate", "run", "--data", "images", "--json", "result.json", cwd=tmp_path)
    assert json.loads((tmp_path / "result.json").read_text())["t2i"]["r10"] > 0
    assert (tmp_path / "run" / "report" / "report.html").stat().st_size > 5_000
    grid = ["--data", "images", "--backbone", tiny.clip_folder(), "--dry_run", "--out", "grid"]
    assert "to do" in installed(site, "bench", "methods", "--methods", "zero_shot", *grid, cwd=tmp_path)


def test_crosscue_testing_needs_no_test_runner(site: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from crosscue.testing import Case, contract_checks\n"
        "checks = [check for check in contract_checks(Case('linear_probe')) if check.family == 'dual']\n"
        "[check() for check in checks]; print(len(checks), 'pytest' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.stdout.strip() == "6 False", done.stderr
