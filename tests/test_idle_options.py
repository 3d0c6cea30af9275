"""Options without effect and values out of range are refused where they enter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import crosscue
from crosscue.backbones.device import usable_device
from crosscue.backbones.loading import load_backbone
from crosscue.errors import BackboneError, CrosscueError, MethodError
from crosscue.methods.registry import build
from crosscue.retrieval.options import Inference
from crosscue.training.config import TrainingConfig
from tests import tiny
from tests.cli import refused
from tests.images import write_source


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


def test_they_are_refused_before_anything_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_source(tmp_path / "images", train=4, val=2, test=4)
    given = ("--data", "images", "--backbone", tiny.clip_folder())
    assert "top has no effect" in refused("evaluate", "zero_shot", *given, "--top", 3)
    assert "a bank has no effect" in refused("evaluate", "zero_shot", *given, "--bank", "images")
    assert "image_size is 0" in refused("evaluate", "zero_shot", *given, "--image_size", 0)
    assert "captions_per_image is -1" in refused("adapt", *given, "--captions_per_image", -1)
    assert "patience" in refused("adapt", *given, "--validation", "false", "--training.patience", 3, "--out", "run")
    assert "no option --training.epoch" in refused("adapt", *given, "--training.epoch", 3)  # no abbreviations
    assert not (tmp_path / "run").exists()
    with pytest.raises(CrosscueError, match="captions_per_image is 0"):
        crosscue.Reading(captions_per_image=0)


@pytest.mark.parametrize("device", ["meta", "cuda:99", "nowhere", "cpu:x"])
def test_a_device_that_does_not_compute_is_refused(device: str) -> None:
    with pytest.raises(BackboneError, match="device"):
        usable_device(device)
    assert usable_device("cpu").type == "cpu"


def test_a_backbone_in_the_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "clip").symlink_to(tiny.clip_folder())
    assert load_backbone("~/clip", device="cpu").source == "~/clip"
