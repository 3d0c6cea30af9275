"""Features in place of images: the same runs and results, and refusals where features are not enough."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import crosscue
from crosscue.backbones.banks import PooledFeatures
from crosscue.backbones.clip_towers import ClipImageTower
from crosscue.backbones.frozen import TowerOutputs, write_bank
from crosscue.backbones.loading import load_backbone
from crosscue.backbones.protocol import Backbone
from crosscue.data.sources import Reading
from crosscue.errors import BackboneError, DataError, MethodError, StorageError
from crosscue.evaluation.result import Retrieval
from crosscue.retrieval.scores import Cosines
from tests import tiny
from tests.cli import refused, succeeds
from tests.training.runs import adapt, config, learned

METHODS: dict[str, dict[str, Any]] = {"linear_probe": {}, "clip_adapter": {"adapters": "both"}, "coop": {}}
METHODS["dual_prompt"] = {"image_prompts": False}
METHODS["dcar"] = {"image_prompts": False, "ca": False, "weights_image": "frozen"}


@pytest.fixture
def backbone() -> Backbone:
    return load_backbone(str(tiny.dual_folder()), precision="fp32")


@pytest.fixture
def bank(folder: Path, backbone: Backbone) -> Path:
    """A folder of the features of `folder`."""
    write_bank(crosscue.read_pairs(folder), backbone, folder / "bank")
    return folder / "bank"


def embeddings(result: Retrieval) -> tuple[torch.Tensor, torch.Tensor]:
    assert isinstance(result.scores, Cosines)
    return result.scores.images, result.scores.texts


@pytest.mark.parametrize("family", sorted(tiny.tiny_backbones))
def test_zero_shot_on_features_is_zero_shot_on_images(family: str, folder: Path) -> None:
    tower = tiny.tiny_backbones[family]()
    write_bank(crosscue.read_pairs(folder), tower, folder / "bank")
    plain, banked = (crosscue.evaluate("zero_shot", source, tower) for source in (folder, folder / "bank"))
    for one, other in zip(embeddings(plain), embeddings(banked), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    assert plain.metrics() == banked.metrics()
    assert "image_features" not in plain.protocol
    assert banked.protocol["image_features"].endswith("tower verified")


@pytest.mark.parametrize("name", METHODS)
def test_a_run_on_features_is_the_run_on_images(name: str, folder: Path, bank: Path, backbone: Backbone) -> None:
    source = str(tiny.dual_folder())
    on_images = adapt(folder, "images", backbone=source, method=name, options=METHODS[name])
    on_features = adapt(bank, "features", backbone=source, method=name, options=METHODS[name])
    first, second = learned(folder / "images"), learned(bank / "features")
    assert first.keys() == second.keys()
    for tensor in first:
        torch.testing.assert_close(first[tensor], second[tensor], rtol=0, atol=1e-5)
    assert on_images.evaluate(folder).metrics() == on_features.evaluate(bank).metrics()
    assert on_images.evaluate(bank).metrics() == on_features.evaluate(folder).metrics()


def test_the_image_tower_does_not_run_on_features(
    folder: Path, bank: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(self: object, *arguments: object) -> None:
        raise AssertionError("the image tower runs")

    monkeypatch.setattr(ClipImageTower, "state", run)
    crosscue.evaluate("zero_shot", bank, backbone)


def test_another_bridge_reads_the_same_features(folder: Path, bank: Path, backbone: Backbone) -> None:
    backbone.image.bridge.image_mean.data += 0.5
    plain, banked = (crosscue.evaluate("zero_shot", source, backbone) for source in (folder, bank))
    torch.testing.assert_close(embeddings(plain)[0], embeddings(banked)[0], rtol=0, atol=1e-6)


def test_encoding_continues_after_an_interruption(
    folder: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, whole, calls = crosscue.read_pairs(folder), TowerOutputs.compute, Counter[str]()

    def compute(self: TowerOutputs, images: torch.Tensor) -> torch.Tensor:
        calls["images"] += len(images)
        if calls["images"] > 33 and not calls["again"]:  # one image for the width, then the first block of 32
            raise KeyboardInterrupt
        return whole(self, images)

    monkeypatch.setattr(TowerOutputs, "compute", compute)
    with pytest.raises(KeyboardInterrupt):
        write_bank(pairs, backbone, folder / "bank")
    assert not (folder / "bank").exists()
    calls.clear()
    calls["again"] = 1
    write_bank(pairs, backbone, folder / "bank")
    assert calls["images"] == 33  # one for the width, and the second block, which is filled up to 32
    with pytest.raises(StorageError, match="there is something here already"):
        write_bank(pairs, backbone, folder / "bank")


def test_the_command_line_goes_from_images_to_a_run_on_features(folder: Path) -> None:
    small = ["--backbone", tiny.dual_folder(), "--precision", "fp32"]
    succeeds("data", "embed", folder, "--out", folder / "bank", *small)
    assert "tower" in succeeds("data", "check", folder / "bank")
    training = ["--training.epochs", 3, "--training.lr", 0.1, "--out", folder / "run", *small]
    succeeds("adapt", "--method", "linear_probe", "--data", folder / "bank", *training)
    succeeds("evaluate", folder / "run", "--data", folder / "bank", "--json", folder / "result.json")
    assert "verified" in json.loads((folder / "result.json").read_text())["protocol"]["image_features"]
    page = (folder / "run" / "report" / "report.html").read_text()
    assert '<span class="features' in page
    assert "<img" not in page


def test_the_printed_command_evaluates_a_run_on_accepted_features(folder: Path, bank: Path) -> None:
    (bank / "features.safetensors.json").unlink()
    own = ["--data", folder, "--features", bank / "features.safetensors", "--unverified"]
    (folder / "captions.jsonl").write_text((folder / "captions.jsonl").read_text().replace(".jpg", ""))  # indices
    small = ["--backbone", tiny.dual_folder(), "--precision", "fp32", "--training.epochs", 1, "--out", folder / "run"]
    printed = succeeds("adapt", "--method", "linear_probe", *own, *small)
    command = printed.partition("measure it: crosscue ")[2].splitlines()[0]
    assert "linear_probe on" in succeeds(*shlex.split(command))


def test_features_beside_the_own_table_are_found_by_name(folder: Path, bank: Path, backbone: Backbone) -> None:
    listing = folder / "captions.jsonl"
    listing.write_text("\n".join(reversed(listing.read_text().splitlines())))
    pairs = crosscue.read_pairs(listing, reading=Reading(features=bank / "features.safetensors"))
    again = crosscue.evaluate("zero_shot", pairs, backbone)
    assert again.rsum == crosscue.evaluate("zero_shot", bank, backbone).rsum


@pytest.mark.parametrize("name", ["dual_prompt", "full_ft"])
def test_a_method_that_reads_more_than_features_names_those_that_do_not(name: str, bank: Path, tmp_path: Path) -> None:
    message = r"method '.*' reads images inside the tower, and .*features.safetensors row 0 has features alone. .*coop.*linear_probe"
    with pytest.raises(MethodError, match=message):
        crosscue.adapt(bank, name, str(tiny.dual_folder()), out=tmp_path / "run", precision="fp32")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("method", "options", "remedy"),
    [
        ("dual_prompt", {"image_prompts": False, "tune_projection": True}, " --options.tune_projection false. E.g."),
        ("acke", {"acp": "none", "tune": "projection"}, "linear_probe. E.g."),
    ],
)
def test_features_before_the_projection_are_in_no_bank(
    method: str, options: dict[str, Any], remedy: str, bank: Path
) -> None:
    with pytest.raises(MethodError, match=f"has features alone. .*{remedy}"):
        adapt(bank, "run", method=method, options=options, backbone=str(tiny.dual_folder()))
    with pytest.raises(MethodError, match="reads image features before their projection"):
        _ = PooledFeatures(torch.ones(2, 3)).hidden


def test_augmentation_is_refused(bank: Path) -> None:
    with pytest.raises(MethodError, match="augmentation 'crop' changes pixels"):
        adapt(
            bank, "run", method="linear_probe", backbone=str(tiny.dual_folder()), training=config(augmentation="crop")
        )


def test_features_of_another_tower_are_refused(bank: Path) -> None:
    other = tiny.tiny_backbones["clip"]()
    with pytest.raises(
        BackboneError,
        match=f"tower .* made these features, and that of '.*' at 32 px is {other.feature_checkpoint[:12]}",
    ):
        crosscue.evaluate("zero_shot", bank, other)


def test_another_projection_is_another_tower(backbone: Backbone) -> None:
    backbone.freeze()  # of the weights as they are now: loading has folded QuickGELU
    before, tower = backbone.feature_checkpoint, backbone.image_checkpoint
    backbone.image.projection.weight.data += 1
    backbone.freeze()
    assert backbone.image_checkpoint == tower
    assert backbone.feature_checkpoint != before


def test_features_without_a_tower_need_consent_and_stamp_the_result(bank: Path, backbone: Backbone) -> None:
    origin = bank / "features.safetensors.json"
    origin.unlink()
    with pytest.raises(BackboneError, match="does not name the tower of these features") as raised:
        crosscue.evaluate("zero_shot", bank, backbone)
    accepted = crosscue.read_pairs(bank, reading=Reading(unverified=True))
    stamped = crosscue.evaluate("zero_shot", accepted, backbone)
    assert stamped.protocol["image_features"].endswith("tower NOT verified")
    line = str(raised.value).partition("write ")[2].partition(" there;")[0]
    origin.write_text(line)  # as the message has it
    assert crosscue.evaluate("zero_shot", bank, backbone).protocol["image_features"].endswith("tower verified")


def test_consent_does_not_extend_to_another_tower(bank: Path) -> None:
    accepted = crosscue.read_pairs(bank, reading=Reading(unverified=True))
    with pytest.raises(BackboneError, match="made these features"):
        crosscue.evaluate("zero_shot", accepted, tiny.tiny_backbones["clip"]())


def change(bank: Path, **changes: Any) -> None:
    file = bank / "features.safetensors"
    values = load_file(file)["image_features"]
    save_file({"image_features": changes["to"](values)}, file)


def test_unusable_rows_are_refused_before_training(bank: Path) -> None:
    def poison(values: torch.Tensor) -> torch.Tensor:
        values[35, 1] = np.nan
        return values

    change(bank, to=poison)
    with pytest.raises(DataError, match=r"features.safetensors row 35: a number is NaN or infinite"):
        adapt(bank, "run", method="linear_probe", backbone=str(tiny.dual_folder()))
    change(bank, to=lambda values: values[:, :-1].nan_to_num())
    message = refused("evaluate", "zero_shot", "--data", bank, "--backbone", tiny.dual_folder())
    assert "features.safetensors: its rows have" in message
