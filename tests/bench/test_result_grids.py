"""The grids of docs/results.md: each is accepted, and the pages contain the kept numbers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from crosscue.cli import dispatch
from tests.images import write_source

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "configs" / "grids").glob("*.yaml"))
MEASURED = [file for file in FILES if (ROOT / "docs" / "results" / f"{file.stem}.json").exists()]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("grids") / "a", train=160, val=0)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_grid_of_the_results_lists_its_jobs(file: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = yaml.safe_load(file.read_text())
    names = [*grid.get("domains", ["a"]), *{entry["data"] for entry in grid.get("evaluate", []) if "data" in entry}]
    data = [f"{name}={source}" for name in names]
    if grid.get("validation", True) is True:
        data = [f"{names[0]}={write_source(source.parent / 'with-val')}"]
    code = dispatch(["bench", str(file), "--data", *data, "--dry_run", "--out", str(source.parent / "out")])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "0 done" in printed.out


@pytest.mark.parametrize("file", MEASURED, ids=lambda file: file.stem)
def test_kept_numbers_are_those_of_the_rows(file: Path) -> None:
    grid = yaml.safe_load(file.read_text())
    kept = json.loads((ROOT / "docs" / "results" / f"{file.stem}.json").read_text())
    labels = {cell["row"] for cell in kept["cells"]}
    entries = [*kept.get("claims", []), *kept.get("evaluations", [])]
    assert {row.get("label") for row in grid["rows"] if "vary" not in row} <= labels
    assert {entry[key] for entry in entries for key in ("row", "over") if key in entry} <= labels
    assert {entry["label"] for entry in kept.get("evaluations", [])} <= {e["label"] for e in grid.get("evaluate", [])}
    for cell in kept["cells"]:
        assert f"| {cell['row']} " in (ROOT / "docs" / "results" / f"{file.stem}.md").read_text()


def test_the_pages_contain_the_kept_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.delitem(sys.modules, "results", raising=False)
    import results

    page = results.PAGE.read_text()
    assert results.GRIDS.keys() == {file.stem for file in FILES}
    assert results.filled_page() == page
    assert all(f"Not measured yet: `configs/grids/{file.stem}.yaml`" in page for file in FILES if file not in MEASURED)
    assert results.filled_methods() == results.METHODS.read_text()
    assert "methods_flickr8k: Evaluated again" in page
    with pytest.raises(SystemExit, match="has no table 'Claims'"):
        results.tables("methods_emoji", "Claims")
