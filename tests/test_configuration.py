"""Options from Python, YAML and a run folder are checked before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import crosscue
from crosscue.backbones.loading import load_backbone
from crosscue.bench.grid import Grid, Row
from crosscue.configuration import configured
from crosscue.errors import CrosscueError, OptionError
from crosscue.methods.dcar.config import DcarConfig
from crosscue.methods.registry import build, config_of, method_class, method_names
from crosscue.retrieval.options import Inference
from crosscue.training.config import TrainingConfig
from tests import tiny

WRONG = [
    ({"weights": "typo"}, "method 'dcar': weights is typo; it must be one of abs, relu, flipped."),
    ({"alpha": "much"}, "method 'dcar': alpha is much; it must be a number."),
    ({"alpha": None}, "method 'dcar': alpha is null. Leave it out for its default."),
    ({"context_words": 3}, "method 'dcar': context_words is 3; it must be a text or null."),
    ({"depth": 1.5}, "method 'dcar': depth is 1.5; it must be an integer."),
    ({"weight": "abs"}, "method 'dcar' has no option 'weight'. Did you mean 'weights'?"),
    (DcarConfig(blank="grey"), "method 'dcar': blank is grey; it must be one of white, black, mean, noise, "),  # type: ignore[arg-type]
    (3, "method 'dcar' is 3; it must be a mapping or a DcarConfig."),
]


@pytest.fixture
def pairs(tmp_path: Path) -> crosscue.Pairs:
    """Eight images with one caption each."""
    for index in range(8):
        Image.new("RGB", (32, 32), (30 * index, 0, 0)).save(tmp_path / f"{index}.png")
        (tmp_path / f"{index}.txt").write_text(f"a red thing {index}")
    return crosscue.read_pairs(tmp_path)


@pytest.fixture
def no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a backbone fails the test."""
    for module in ("backbones.loading", "training.runs"):
        monkeypatch.setattr(f"crosscue.{module}.load_backbone", lambda *_, **__: pytest.fail("a backbone was loaded"))


@pytest.mark.parametrize(("options", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_a_wrong_option_is_one_line_before_the_backbone_loads(
    options: object, message: str, pairs: crosscue.Pairs, no_backbone: None
) -> None:
    with pytest.raises(OptionError) as caught:
        crosscue.adapt(pairs, "dcar", options=options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"epochs": 0}, "training.epochs is 0; it must be at least 1"),
        ({"batch_size": 1}, "training.batch_size is 1; it must be at least 2"),
        ({"lr": 0}, "training.lr is 0.0; it must be above 0"),
        ({"lr": float("nan")}, "training.lr is nan; it must be above 0"),
        ({"momentum": 1}, "training.momentum is 1.0; it must be below 1"),
        ({"seed": -1}, "training.seed is -1; it must be at least 0"),
        ({"patience": 0}, "training.patience is 0; it must be at least 1"),
        ({"clip_grad": -1}, "training.clip_grad is -1.0; it must be above 0"),
        ({"optimizer": "adam"}, "training: optimizer is adam; it must be one of sgd, adamw"),
        ({"epoch": 3}, "training has no option 'epoch'. Did you mean 'epochs'?"),
        ({"trackers": ["mlflow"]}, "training: trackers is mlflow; it must be one of tensorboard, wandb, trackio"),
    ],
    ids=str,
)
def test_a_wrong_training_value_is_refused(
    training: dict[str, object], message: str, pairs: crosscue.Pairs, no_backbone: None
) -> None:
    with pytest.raises(CrosscueError, match=message.replace("?", r"\?")):
        crosscue.adapt(pairs, "coop", training=training)


def test_shots_below_one_are_refused(pairs: crosscue.Pairs, no_backbone: None) -> None:
    with pytest.raises(CrosscueError, match="shots is 0; it must be at least 1"):
        crosscue.adapt(pairs, "coop", shots=0, validation=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": 3}, "there is no method '3'"),
        ({"shots": "two"}, "shots is 'two'; it must be an integer or null"),
        ({"validation": "half"}, "validation is 'half'; it must be a share such as 0.1"),
        ({"validation": 1}, "validation is 1; it must be a share such as 0.1"),
        ({"image_size": "large"}, "image_size is 'large'; it must be an integer"),
        ({"device": "gpu"}, "there is no device 'gpu'. Give cpu, cuda"),
        pytest.param(
            {"device": "cuda"},
            "device is cuda, and PyTorch finds no GPU on this machine. Leave --device out",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU"),
        ),
        ({"precision": "fp8"}, "there is no precision 'fp8'"),
    ],
    ids=str,
)
def test_a_wrong_argument_of_adapt_is_refused(given: dict[str, Any], message: str, pairs: crosscue.Pairs) -> None:
    with pytest.raises(CrosscueError, match=message):
        crosscue.adapt(pairs, **{"method": "coop", "backbone": str(tiny.clip_folder()), "validation": False, **given})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Row("dcar", options={"weights": "typo"}), "row 'dcar': method 'dcar': weights is typo; it must be one of"),
        (Row("dcar", training={"lr": "fast"}), "row 'dcar': training: lr is fast; it must be a number"),
        (Row("dcar", training={"rate": 1}), "row 'dcar': training has no option 'rate'"),
    ],
    ids=["choice", "type", "name"],
)
def test_a_grid_is_checked_before_it_runs(row: Row, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Grid(rows=[row]).lines()


def test_a_loaded_run_is_checked_before_the_backbone_loads(tmp_path: Path, no_backbone: None) -> None:
    (tmp_path / "config.yaml").write_text("method: dcar\noptions: {weights: typo}\n")
    (tmp_path / "backbone.json").write_text('{"format": 1}')
    with pytest.raises(CrosscueError, match=r"config.yaml: method 'dcar': weights is typo; it must be one of abs"):
        crosscue.load(tmp_path)


def test_inference_may_be_a_mapping_and_is_checked(pairs: crosscue.Pairs) -> None:
    run = crosscue.Run(build("zero_shot", load_backbone(str(tiny.clip_folder()), device="cpu")))
    with pytest.raises(OptionError, match="inference: preselect is best; it must be one of tuned, clip or null"):
        run.evaluate(pairs, {"preselect": "best"})  # type: ignore[arg-type]
    given = run.evaluate(pairs, {"centre": True})
    assert given.metrics() == run.evaluate(pairs, Inference(centre=True)).metrics()


def test_texts_that_yaml_does_not_read_as_numbers_become_numbers() -> None:
    read = configured(TrainingConfig, {"lr": "1e-3", "trackers": ["tensorboard"]}, "training")
    assert read == replace(TrainingConfig(), lr=0.001, trackers=("tensorboard",))
    assert type(config_of(method_class("dcar"), {"alpha": 1}).alpha) is float


@pytest.mark.parametrize("name", method_names())
def test_the_defaults_of_every_method_are_accepted(name: str) -> None:
    found: Callable[..., object] = method_class(name).config_class
    assert config_of(method_class(name), found()) == found() == config_of(method_class(name), None)
