"""Published numbers: printed beside the measured ones, and checked on rows without training before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from crosscue.bench import published
from crosscue.bench.grid import Grid, Published, Row
from crosscue.bench.named import named_grids
from crosscue.configuration import configured
from crosscue.errors import RunError
from crosscue.retrieval.options import Inference
from tests import tiny
from tests.bench.cells import cell, first
from tests.cli import crosscue
from tests.images import write_source

HALF = [50.0, None, None, 51.0, None, None]


def plan(label: str, domain: str, steps: int, grid: Grid, backbone: str = "b") -> SimpleNamespace:
    names = {"row": Row("zero_shot", label), "domain": SimpleNamespace(name=domain)}
    return SimpleNamespace(**names, steps=steps, grid=grid, towers=SimpleNamespace(backbone=backbone))


def test_measured_numbers_stand_beside_published_ones() -> None:
    grid = Grid(published=[Published("b", {"a": {"CLIP": HALF, "MGCA": HALF}}), Published("c", {})])
    (clip, own), (other, alone) = published.beside(grid, "b", "a", [cell("CLIP", first(20))])
    assert (clip, own) == ("CLIP", ["50.00 (50.00)", "50.00", "50.00", "50.00 (51.00)", "50.00", "50.00"])
    assert (other, alone) == ("MGCA", ["(50.00)", "", "", "(51.00)", "", ""])
    assert published.beside(grid, "c", "a", []) == published.beside(grid, "other", "a", []) == []


def test_a_row_without_training_that_is_off_stops_the_bench() -> None:
    grid = Grid(published=[Published("b", {"a": {"CLIP": HALF}}, check=["a"])])
    near, far = cell("CLIP", first(20)).first, cell("CLIP", first(21)).first  # 50.0 and 52.5 %
    published.require_published(plan("CLIP", "a", 0, grid), near)
    with pytest.raises(RunError, match=r"R@1 image → text is 52\.50, and 50\.00 is published"):
        published.require_published(plan("CLIP", "a", 0, grid), far)
    low = cell("CLIP", first(19)).first  # 47.5 %
    with pytest.raises(RunError, match=r"R@1 image → text is 47\.50, and 50\.00 is published"):
        published.require_published(plan("CLIP", "a", 0, grid), low)
    for other in (plan("CLIP", "a", 9, grid), plan("CLIP", "b", 0, grid), plan("CLIP", "a", 0, grid, "another")):
        published.require_published(other, far)
    normalised = plan("CLIP", "a", 0, grid)
    normalised.row = Row("zero_shot", "CLIP", inference=Inference(normalise="dual_dynamic"))
    published.require_published(normalised, far)
    trained, checked = plan("DCAR", "b", 9, grid), plan("CLIP", "a", 0, grid)
    assert published.first([trained, checked]) == [checked, trained]


@pytest.mark.parametrize("name", sorted(named_grids()))
def test_published_numbers_rise_with_k_and_belong_to_domains(name: str) -> None:
    content = yaml.safe_load(named_grids()[name].read_text())
    grid = configured(Grid, {key: content[key] for key in content if key in Grid.__dataclass_fields__}, name)
    labels = {row.label for row in grid.lines()} if grid.rows else set()
    if grid.rows:
        assert grid.deviations
    for one in grid.published:
        assert set(one.check) <= set(one.recalls)
        for domain, by_label in one.recalls.items():
            assert domain in grid.domains or name == "acke-table"
            assert "CLIP" in by_label.keys() & labels
            for values in by_label.values():
                for part in (values[:3], values[3:]):
                    known = [value for value in part if value is not None]
                    assert known == sorted(known)


def test_the_check_comes_first_and_the_page_has_both_numbers(tmp_path: Path) -> None:
    write_source(tmp_path / "pairs")
    folder = str(tiny.clip_folder())
    grid = {
        "title": "t",
        "rows": [
            {"label": "prompts", "method": "dual_prompt"},
            {"label": "CLIP", "method": "zero_shot"},
            {"label": "CLIP, normalised", "method": "zero_shot", "inference": {"normalise": "dynamic"}},
        ],
        "deviations": ["the data are tiny"],
        "shots": ["all"],
        "seeds": [1],
        "training": {"epochs": 1, "batch_size": 4},
        "published": [
            {"backbone": folder, "check": ["pairs"], "recalls": {"pairs": {"CLIP": [-50, None, None, 0, 0, 0]}}}
        ],
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(grid))
    command = ["bench", "mine.yaml", "--data", "pairs", "--backbone", folder, "--out", "out"]
    done = crosscue(*command, cwd=tmp_path)
    assert done.returncode == 2
    assert "-50.00 is published" in done.stderr
    assert len(list((tmp_path / "out" / "jobs").iterdir())) == 1  # zero-shot alone
    done = crosscue(*command, "--published", "[]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    grid["published"][0]["recalls"]["pairs"]["CLIP"] = [None, None, None, None, None, 7]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(grid))
    assert crosscue(*command, cwd=tmp_path).returncode == 0
    page = (tmp_path / "out" / "leaderboard.html").read_text()
    assert "(7.00)" in page
    assert "the data are tiny" in page
    cells = json.loads((tmp_path / "out" / "results.json").read_text())["cells"]
    assert [one["row"] for one in cells] == ["prompts", "CLIP", "CLIP, normalised"]
    assert cells[2]["normalised"] == {}
