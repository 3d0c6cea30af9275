"""Every grid that comes with the package is parsed, and lists its jobs or says which method is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from crosscue.bench.named import named_grids
from crosscue.cli import dispatch
from crosscue.data.readers.fdrd_folder import read_fdrd_folder
from crosscue.methods.registry import METHODS
from tests import tiny
from tests.bench.fdrd import LAYOUT, write_fdrd
from tests.cli import crosscue
from tests.images import write_source

JOBS = {
    "dcar-table1": 9 * (1 + 10 * 3),
    "dcar-table2": 2 * (1 + 4 * 3),
    "dcar-figure6": 25 * 9 * 3,
    "dcar-figure7": 1 + 7 * 15,
    "act-table1": 2 * 2,
    "act-table2": 1 + 5,
    "act-table3": 1 + 4,
    "act-table4": 1 + 4,
    "act-table5": 1 + 3,
    "acke-table": 1 + 8,
}


@pytest.fixture(scope="module")
def fdrd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fdrd(tmp_path_factory.mktemp("fdrd"))


@pytest.mark.parametrize("domain", LAYOUT)
def test_a_domain_is_read_where_coop_keeps_it(fdrd: Path, domain: str) -> None:
    pairs = read_fdrd_folder(fdrd, domain)
    assert [len(pairs.split(name)) for name in ("train", "val", "test")] == [8, 4, 8]
    assert pairs.categories == ["blue", "green", "red", "white"]
    assert all(pair.image.path.exists() for pair in pairs)


@pytest.mark.parametrize("name", sorted(named_grids()))
def test_a_named_grid_lists_its_jobs(fdrd: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    content = yaml.safe_load(named_grids()[name].read_text())
    named = [domain for domain in content.get("domains", []) if domain not in LAYOUT]
    data = [f"{domain}={fdrd / domain}" for domain in named] or [str(fdrd)]
    for domain in named:
        write_source(fdrd / domain)
    command = ["bench", name, "--data", *data, "--dry_run", "true", "--out", str(fdrd / "out")]
    if "rows" not in content:
        command += ["--methods", "zero_shot", "dcar", "--domains", "pets"]
    code = dispatch(command)
    printed = capsys.readouterr()
    missing = [row["method"] for row in content.get("rows", []) if row["method"] not in METHODS]
    if missing:
        assert code == 2
        assert printed.err.startswith(f"crosscue bench: there is no method '{missing[0]}'.")
        return
    assert code == 0, printed.err
    if name in JOBS:
        assert f"{JOBS[name]:,} jobs, 0 done" in printed.out
    assert "steps to do" in printed.out


def test_table1_from_the_released_files_to_the_leaderboard(fdrd: Path, tmp_path: Path) -> None:
    """The grid as shipped, its rows of two methods and two domains; negatives are FDRD's own, or written where there are none."""
    command = ["bench", "dcar-table1", "--methods", "zero_shot", "dcar", "--domains", "caltech-101", "pets"]
    small = [
        "--data",
        fdrd,
        "--backbone",
        tiny.clip_folder(),
        "--training.epochs",
        1,
        "--seeds",
        1,
        2,
        "--out",
        "table1",
    ]
    done = crosscue(*command, *small, cwd=tmp_path, CROSSCUE_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "table1" / "results.json").read_text())
    assert [(c["row"], c["domain"]) for c in results["cells"]] == [
        ("CLIP", "caltech-101"),
        ("DCAR", "caltech-101"),
        ("CLIP", "pets"),
        ("DCAR", "pets"),
    ]
    assert results["protocol"]["scale"] == "full"
    assert results["galleries"]["pets"]["gallery"] == 8
    assert all(cell["learned_parameters"] > 0 for cell in results["cells"] if cell["row"] == "DCAR")
    page = (tmp_path / "table1" / "leaderboard.html").read_text()
    assert "All domains, 16 shots" in page
    assert "<small>" in page
    assert "DCAR" in done.stdout


def test_a_missing_release_names_the_file(fdrd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["bench", "dcar-table2", "--data", str(tmp_path)]) == 2
    assert "no pets_train.json, here or in train/" in capsys.readouterr().err
    assert dispatch(["bench", "dcar-table2", "--data", str(fdrd), "--domains", "birds"]) == 2
    assert "FDRD has no domain 'birds'" in capsys.readouterr().err


def test_the_grid_in_the_documentation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "bench.md").read_text()
    (tmp_path / "mine.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    source = write_source(tmp_path / "a", train=40, val=0)
    given = ["--data", str(source), "--out", str(tmp_path / "out"), "--dry_run", "true"]
    assert dispatch(["bench", str(tmp_path / "mine.yaml"), *given]) == 0
    listed = capsys.readouterr().out
    assert "prompts depth=2 on a, 4 shots, seed 1, lr 0.003" in listed
    assert f"{1 + 2 * 3 * 5} jobs, 0 done" in listed
    assert dispatch(["bench", str(tmp_path / "mine.yaml"), *given, "--validation", "false"]) == 2
    assert "candidates are chosen on validation pairs, and there are none" in capsys.readouterr().err
