"""Options without effect and values out of range are refused where they enter."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import crosscue
from crosscue.backbones.device import usable_device
from crosscue.backbones.loading import load_backbone
from crosscue.errors import BackboneError, CrosscueError, DataError, MethodError
from crosscue.methods.registry import build
from crosscue.retrieval.options import Inference
from crosscue.training.config import TrainingConfig
from tests import tiny
from tests.cli import refused
from tests.images import draw_noise, write_source


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"momentum": 0.5, "optimizer": "adamw"}, "momentum belongs to sgd"),
        ({"warmup_steps": 5}, "warmup_steps belongs to cosine, and training.schedule is coop"),
        ({"lr": float("inf")}, "lr is inf; it must be above 0 and finite"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"weight_decay": float("inf")}, "weight_decay is inf"),
    ],
)
def test_options_of_training(given: dict[str, Any], message: str) -> None:
    with pytest.raises(CrosscueError, match=message):
        TrainingConfig(**given)
    TrainingConfig(optimizer="adamw", schedule="cosine", warmup_steps=5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"top": 5}, "top has no effect without --rerank"),
        ({"pooled": False, "rerank": False}, "pooled has no effect without --rerank"),
        ({"preselect": "clip"}, "preselect has no effect without --rerank"),
        ({"enrichment": 0.5}, "enrichment has no effect without --views FILE"),
        ({"beta": 10.0}, "beta has no effect without --normalise bank"),
        ({"knowledge": "facts.jsonl"}, "uses no knowledge of captions"),
    ],
)
def test_options_of_inference(given: dict[str, Any], message: str) -> None:
    method = build("zero_shot", tiny.tiny_backbone("clip"))
    with pytest.raises(MethodError, match=message):
        Inference(**given).effective(method)
    Inference().of(method).effective(method)  # resolved defaults are no options


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"clean": "full"}, "--clean has no effect on it (reader csv). Leave --clean out."),
        ({"domain": "pets"}, "--domain has no effect"),
        ({"split_file": Path("split.json")}, "--split_file has no effect"),
        ({"unverified": True}, "--unverified has no effect, because no image is a row of features"),
        ({"images": Path("nowhere")}, "--images nowhere: there is no such folder"),
    ],
)
def test_options_of_reading(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    draw_noise(tmp_path / "a.png", 1, 5, 5)
    (tmp_path / "t.csv").write_text("image,caption\na.png,one\n")
    with pytest.raises(DataError, match=re.escape(message)):
        crosscue.read_pairs(tmp_path / "t.csv", reading=crosscue.Reading(**given))
    assert len(crosscue.read_pairs(tmp_path / "t.csv", reading=crosscue.Reading(images=tmp_path))) == 1


def test_options_of_reading_that_belong_to_one_form_of_a_source(tmp_path: Path) -> None:
    draw_noise(tmp_path / "a.png", 1, 5, 5)
    (tmp_path / "a.txt").write_text("one")
    with pytest.raises(DataError, match=r"--images has no effect on it \(reader folder\)"):
        crosscue.read_pairs(tmp_path, reading=crosscue.Reading(images=tmp_path))
    for name in ("pets_test.json", "dtd_test.json"):
        (tmp_path / name).write_text('{"0": {"file_name": "0", "class_name": "a", "positive": "one", "negative": []}}')
    file = tmp_path / "pets_test.json"
    with pytest.raises(DataError, match="--domain has no effect on a file of FDRD"):
        crosscue.read_pairs(file, reading=crosscue.Reading(domain="pets"))
    with pytest.raises(DataError, match="--images has no effect on a folder of FDRD"):
        crosscue.read_pairs(tmp_path, reading=crosscue.Reading(images=tmp_path))
    with pytest.raises(DataError, match=r"--split_file belongs to one domain.*Add --domain pets"):
        crosscue.read_pairs(tmp_path, reading=crosscue.Reading(split_file=file))


def test_they_are_refused_before_anything_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_source(tmp_path / "images", train=4, val=2, test=4)
    given = ("--data", "images", "--backbone", tiny.clip_folder())
    assert "top has no effect" in refused("evaluate", "zero_shot", *given, "--top", 3)
    assert "a bank has no effect" in refused("evaluate", "zero_shot", *given, "--bank", "images")
    assert "image_size is 0" in refused("evaluate", "zero_shot", *given, "--image_size", 0)
    assert "captions_per_image is -1" in refused("adapt", *given, "--captions_per_image", -1)
    assert "patience" in refused("adapt", *given, "--validation", "false", "--training.patience", 3, "--out", "run")
    for empty in (("--out", ""), ("--out=",), ("--images", "")):
        assert f"{empty[0].removesuffix('=')} is empty" in refused("adapt", *given, *empty)
    assert "training.seed is 9223372036854775808" in refused("adapt", *given, "--training.seed", 1 << 63)
    assert "image_size is 100000; it must be an integer from 1 to 4,096" in refused(
        "adapt", *given, "--image_size", 100000
    )
    assert "/proc/x: cannot be written" in refused("adapt", *given, "--out", "/proc/x", "--method", "linear_probe")
    assert "no option --training.epoch" in refused("adapt", *given, "--training.epoch", 3)  # no abbreviations
    assert not (tmp_path / "run").exists()
    (tmp_path / "images" / "README.md").write_text("mine")
    taken = refused("adapt", *given, "--out", "images", "--method", "linear_probe")
    assert re.search(r"images: there are other files in this folder, such as \S+. Choose another --out", taken)
    assert (tmp_path / "images" / "README.md").read_text() == "mine"
    with pytest.raises(CrosscueError, match="captions_per_image is 0"):
        crosscue.Reading(captions_per_image=0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TrainingConfig(epochs="3"), "training.epochs is '3'; it must be a number"),
        (lambda: TrainingConfig(seed=None), "training.seed is None"),
        (lambda: crosscue.Reading(captions_per_image="2"), "captions_per_image is '2'"),
        (
            lambda: crosscue.read_pairs("images", reading=crosscue.Reading(missing="drop")),
            "missing is drop; it must be one of",
        ),
        (lambda: crosscue.read_pairs("images", reading={"mising": "skip"}), "reading has no option 'mising'"),
        (lambda: crosscue.adapt("images", "coop", resume="no"), "resume is 'no'"),
        (lambda: crosscue.adapt("images", "coop", out=5), "out is 5"),
        (lambda: crosscue.adapt("images", "coop", folds="3"), "folds is '3'"),
        (lambda: crosscue.adapt("images", "coop", folds=2.0), "folds is 2.0"),
        (lambda: load_backbone(tiny.clip_folder(), precision=None), "there is no precision 'None'"),
    ],
)
def test_values_from_python(call: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_source(tmp_path / "images", train=4, val=2, test=2)
    with pytest.raises(CrosscueError, match=re.escape(message)):
        call()
    assert len(crosscue.read_pairs("images", reading={"missing": "skip"})) == 8


def test_suggestions_stay_within_a_group_of_options(tmp_path: Path) -> None:
    assert "Did you mean '--training.warmup_steps'?" in refused("adapt", "--data", ".", "--training.warmup_step", 3)
    method = ("--method", "linear_probe")
    assert "Choose from: --options.directions, --options.mask" in refused(
        "adapt", "--data", ".", *method, "--options.q", 3
    )
    assert "Write --data" not in refused("data", "check", "one", "two")
    assert "Write --data two" in refused("adapt", "two")


@pytest.mark.parametrize("device", ["meta", "cuda:99", "nowhere", "cpu:x"])
def test_a_device_that_does_not_compute_is_refused(device: str) -> None:
    with pytest.raises(BackboneError, match="device"):
        usable_device(device)
    assert usable_device("cpu").type == "cpu"


def test_a_backbone_in_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "clip").symlink_to(tiny.clip_folder())
    assert load_backbone("~/clip", device="cpu").source == "~/clip"
