"""Repositories of runs and exports: a local folder, and a server with the Hub's interface."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import crosscue
from crosscue.api import adapt
from crosscue.errors import CrosscueError, NetworkError, OptionError, RunError
from crosscue.exporting.hub import MANIFEST, pull, push
from crosscue.run import Run
from tests import tiny
from tests.cli import refused, succeeds
from tests.exporting.hub_server import hub
from tests.images import write_source


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a linear probe."""
    root = tmp_path_factory.mktemp("pushed")
    source = write_source(root / "images")
    return adapt(str(source), "linear_probe", str(tiny.clip_folder()), out=root / "run", training={"epochs": 1})


def test_a_run_is_pushed_to_a_folder_and_pulled(run: Run, tmp_path: Path) -> None:
    assert run.folder is not None
    (run.folder / "report").mkdir(exist_ok=True)
    (run.folder / "report" / "report.html").write_text("my images")
    printed = succeeds("push", run.folder, tmp_path / "birds")
    assert printed.splitlines()[-1] == f"get it: crosscue pull {tmp_path / 'birds'} --out FOLDER"
    pushed = {path.name for path in (tmp_path / "birds").iterdir()}
    assert {"README.md", "adapter.safetensors", "config.yaml", MANIFEST} <= pushed
    assert not {"report", "checkpoints"} & pushed
    again = succeeds("pull", tmp_path / "birds", cwd=tmp_path).strip()
    assert again == "runs/birds"
    pulled = crosscue.load(tmp_path / again)
    assert pulled.fingerprint == run.fingerprint
    assert not (tmp_path / again / MANIFEST).exists()
    succeeds("push", run.folder, tmp_path / "birds")  # an earlier push is replaced


def test_a_run_goes_to_a_hub_and_comes_back(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run.folder is not None
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with hub() as repository:
        with pytest.raises(NetworkError, match="the Hub has no 'me/birds'"):
            pull("me/birds", tmp_path / "early", endpoint=repository.endpoint)
        assert push(run.folder, "me/birds", endpoint=repository.endpoint) == f"{repository.endpoint}/me/birds"
        assert repository.private is True
        assert repository.files["adapter.safetensors"] == (run.folder / "adapter.safetensors").read_bytes()
        pulled = crosscue.load(pull("me/birds@main", tmp_path / "run", endpoint=repository.endpoint))
        assert pulled.fingerprint == run.fingerprint
        del repository.files[MANIFEST]
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "other cache"))
        with pytest.raises(RunError, match="no repository of crosscue"):
            pull("me/birds", tmp_path / "another", endpoint=repository.endpoint)
    with pytest.raises(NetworkError, match="refuses or cannot be reached"):
        push(run.folder, "me/birds", endpoint="http://127.0.0.1:1")
    with pytest.raises(OptionError, match="'not/an/id' is no id of a repository"):
        push(run.folder, "not/an/id", endpoint=repository.endpoint)


@pytest.mark.parametrize(
    "name", ["../outside.json", "/tmp/outside.json", "weights.bin", "model.pkl", "a\\b.json", "run.py"]
)
def test_a_file_that_could_do_harm_is_not_pulled(run: Run, tmp_path: Path, name: str) -> None:
    assert run.folder is not None
    push(run.folder, str(tmp_path / "birds"))
    manifest = json.loads((tmp_path / "birds" / MANIFEST).read_text())
    (tmp_path / "birds" / MANIFEST).write_text(json.dumps({**manifest, name: "0" * 64}))
    with pytest.raises(RunError, match="which crosscue does not pull"):
        pull(str(tmp_path / "birds"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_changed_or_missing_file_is_refused(run: Run, tmp_path: Path) -> None:
    assert run.folder is not None
    push(run.folder, str(tmp_path / "birds"))
    config = tmp_path / "birds" / "config.yaml"
    config.write_text(config.read_text() + "\n")
    line = refused("pull", tmp_path / "birds", "--out", tmp_path / "run")
    assert line.endswith("the content of config.yaml is not that which was pushed. Push the folder again.")
    config.unlink()
    line = refused("pull", tmp_path / "birds", "--out", tmp_path / "run")
    assert "there is no config.yaml, so this is no whole repository of crosscue" in line
    assert not (tmp_path / "run").exists()


def test_only_finished_runs_and_exports_are_pushed_to_new_folders(run: Run, tmp_path: Path) -> None:
    assert run.folder is not None
    with pytest.raises(CrosscueError, match="this is not a run folder"):
        push(tmp_path, str(tmp_path / "birds"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(RunError, match="not empty, and no repository of crosscue"):
        push(run.folder, str(tmp_path / "mine"))
    push(run.folder, str(tmp_path / "birds"))
    with pytest.raises(RunError, match=r"not empty\. Choose another --out"):
        pull(str(tmp_path / "birds"), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
