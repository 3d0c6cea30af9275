"""Every configuration of ACT from its YAML to its report, on a checkpoint shaped like CLIP and images in Karpathy's format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from crosscue.commands import adapt, evaluate
from tests import tiny
from tests.images import draw_noise

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "action").glob("*.yaml"))
DOERS, DEEDS = ("man", "woman", "dog", "child"), ("jumping", "running", "sitting", "riding", "eating")


@pytest.fixture(scope="module")
def karpathy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 images with two captions each, 12 of them for training and 4 each for validation and test."""
    folder = tmp_path_factory.mktemp("karpathy")
    records = []
    for number in range(20):
        draw_noise(folder / f"{number}.jpg", number, 40, 44)
        doer, deed = DOERS[number % 4], DEEDS[number % 5]
        texts = (f"A {doer} is {deed} in the park.", f"A {doer} {deed} on a street.")
        split = ("restval" if number % 2 else "train") if number < 12 else "val" if number < 16 else "test"
        records.append({"filename": f"{number}.jpg", "split": split, "sentences": [{"raw": text} for text in texts]})
    (folder / "dataset_coco.json").write_text(json.dumps({"dataset": "coco", "images": records}))
    return folder / "dataset_coco.json"


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_config_runs_to_its_report(
    config: Path, karpathy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CROSSCUE_CACHE", str(karpathy.parent / "cache"))
    options = yaml.safe_load(config.read_text())["options"]
    small = ["--backbone", str(tiny.clip_folder()), "--image_size", "32", "--precision", "fp32"]
    short = ["--training.epochs", "2", "--options.second_stage_epochs", "1"]
    if options.get("aim_layer"):
        short += ["--options.aim_layer", "1", "--options.deep_start", "2"]
    out = tmp_path / "run"
    common = ["--data", str(karpathy)]
    assert adapt.run(["--config", str(config), *common, *small, *short, "--out", str(out)]) == 0
    written = yaml.safe_load((out / "config.yaml").read_text())
    assert written["options"]["knowledge"] == "spacy"
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert next(line for line in lines if line["kind"] == "train")["contrastive_loss"] > 0
    assert evaluate.run([str(out), *common, "--precision", "fp32", "--top", "3", "--diagnostics", "4"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "first 3 re-ranked, pre-selected by the untouched backbone: at most" in printed
    assert "copy index" in printed
    report = json.loads((out / "report" / "report.json").read_text())["after"]
    assert report["protocol"]["pooled"] is True
    assert set(report["protocol"]["ceiling"]) == {"i2t", "t2i"}
    assert {one["name"] for one in report["diagnostics"]} >= {"copy index", "text to image, blank image"}
    for name in ("report.md", "report.html"):
        assert "swapped knowledge" in (out / "report" / name).read_text()


def test_both_ways_to_read_and_the_control(
    karpathy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CROSSCUE_CACHE", str(karpathy.parent / "cache"))
    given = [
        "--method",
        "action",
        "--data",
        str(karpathy),
        "--backbone",
        str(tiny.clip_folder()),
        "--precision",
        "fp32",
    ]
    given += ["--training.epochs", "2", "--options.second_stage_epochs", "1", "--validation", "false"]
    control = ["--options.triplets", "false", "--options.states", "false"]
    assert adapt.run([*given, *control, "--out", str(tmp_path / "control")]) == 0
    evaluation = ["--data", str(karpathy), "--precision", "fp32"]
    each = ["--rerank", "--no-pooled", "--preselect", "tuned", "--top", "100"]
    for more in (each, ["--rerank"], ["--no-rerank"]):
        assert evaluate.run([str(tmp_path / "control"), *evaluation, *more]) == 0
        assert ("that is all candidates" in " ".join(capsys.readouterr().out.split())) == ("--rerank" in more)
