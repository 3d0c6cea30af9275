"""The documentation builds without a warning, and its API page has every public name."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from scripts import render_reference

import crosscue
from crosscue.cli import VERBS
from crosscue.methods.registry import METHODS

ROOT = Path(__file__).parents[2]


def pages(nav: object) -> list[str]:
    """Returns the files of a navigation."""
    if isinstance(nav, str):
        return [nav]
    items = nav.values() if isinstance(nav, dict) else nav
    return [page for item in items for page in pages(item)]


def test_the_navigation_has_every_page() -> None:
    nav = pages(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    written = {name for name in written if not name.startswith("results/")} | {"reference.md"}
    assert len(nav) == len(set(nav))
    assert set(nav) == written


def test_the_readme_lists_every_method() -> None:
    readme = (ROOT / "README.md").read_text()
    table = readme.split("## Methods")[1].split("\n\n")[1]
    first = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert sorted(name for cell in first for name in re.findall(r"`(\w+)`", cell)) == sorted(METHODS)


@pytest.mark.parametrize("page", ["README.md", "AGENTS.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_the_links_of_a_page_outside_the_site_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    assert text.startswith("# ")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the site is made of."""
    if importlib.util.find_spec("zensical") is None:
        pytest.skip("zensical is not installed: pip install 'crosscue[docs]'")
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "zensical.toml", folder)
    (folder / "docs" / "reference.md").write_text(render_reference.page())
    return folder


def build(project: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_has_every_public_name(project: Path) -> None:
    done = build(project)
    assert done.returncode == 0, done.stdout + done.stderr
    api = (project / "site" / "api" / "index.html").read_text()
    shown = set(re.findall(r'id="crosscue\.(\w+)"', api))
    assert set(crosscue.__all__) - {"__version__"} <= shown
    reference = (project / "site" / "reference" / "index.html").read_text()
    for verb in VERBS.table:
        assert f'id="crosscue-{verb}"' in reference
    for method in METHODS:
        assert f'id="method-{method}"' in reference


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", ["[gone](gone.md)", "[gone](bench.md#gone)", "::: crosscue.gone"], ids=["page", "anchor", "name"]
)
def test_a_broken_reference_fails_the_build(project: Path, line: str) -> None:
    page = project / "docs" / "training.md"
    before = page.read_text()
    page.write_text(f"{before}\n{line}\n")
    try:
        assert build(project).returncode != 0
    finally:
        page.write_text(before)
