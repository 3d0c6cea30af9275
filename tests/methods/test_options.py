"""Options of methods: their defaults, the limits of numbers, and that nothing changes them later."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from crosscue import evaluation, losses, methods, retrieval
from crosscue.errors import MethodError
from crosscue.methods.images import check_images
from crosscue.methods.registry import METHODS, build, method_class
from crosscue.retrieval.options import Inference
from crosscue.testing import eight_pairs
from crosscue.testing.steps import total_loss
from tests.tiny import colour_knowledge, tiny_backbones


def defaults(config: type) -> dict[str, Any]:
    values = {field.name: getattr(config(), field.name) for field in dataclasses.fields(config)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def test_defaults_are_those_of_the_published_numbers() -> None:
    """A default that changes on purpose changes in the file too, and the results of docs/results.md are computed again."""
    kept = yaml.safe_load((Path(__file__).parent / "defaults.yaml").read_text())
    found = {name: defaults(method_class(name).config_class) for name in METHODS} | {"inference": defaults(Inference)}
    assert found == kept


ROOMS = (methods, losses, retrieval, evaluation)
MODULES = [found.name for room in ROOMS for found in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")]


def test_options_and_results_cannot_be_changed_by_accident() -> None:
    classes = [
        found
        for name in MODULES
        for found in vars(importlib.import_module(name)).values()
        if inspect.isclass(found) and dataclasses.is_dataclass(found) and found.__module__ == name
    ]
    assert len(classes) > 40
    for found in classes:
        assert found.__dataclass_params__.frozen, found  # type: ignore[attr-defined]


KNOWN = {"knowledge": str(colour_knowledge())}
ACKE = {"pool_size": 6, "top_k": 2}
LIMITS = [
    ("action", KNOWN, "aim_layer", (0, 2), (-1, 3)),
    ("action", KNOWN, "mixing", (0, 1), (-0.1, 1.1)),
    ("action", KNOWN, "eta", (0, 1), (-0.1, 1.1)),
    ("action", KNOWN, "max_triplets", (1, 2), (0,)),
    ("action", KNOWN, "candidates", (1, 2), (0,)),
    ("acke", ACKE, "views_per_step", (1, 3), (0, 4)),
    ("acke", ACKE, "image_start_layer", (0, 2), (-1, 3)),
    ("acke", ACKE, "text_start_layer", (0, 2), (-1, 3)),
    ("acke", ACKE, "depth", (1, 3), (4,)),
    ("acke", ACKE, "top_k", (1, 6), (0, 7)),
    ("acke", ACKE, "prompt_length", (1, 2), (0,)),
    ("acke", ACKE, "gate_temperature", (0.1, 2.0), (0.0, -0.1)),
    ("clip_adapter", {}, "reduction", (1, 32), (0, 33)),
    ("clip_adapter", {}, "image_ratio", (0, 1), (-0.1, 1.1)),
    ("clip_adapter", {}, "text_ratio", (0, 1), (-0.1, 1.1)),
    ("coop", {}, "context_tokens", (0, 1), (-1,)),
    ("dual_prompt", {}, "context_tokens", (1, 2), (0, -1)),
    ("dual_prompt", {}, "image_start_layer", (0, 2), (-1, 3)),
    ("dual_prompt", {}, "text_start_layer", (0, 2), (-1, 3)),
    ("dual_prompt", {}, "depth", (1, 3), (0, 4)),
    ("fineclip", {}, "centre_side", (0.1, 1), (0, -0.1, 1.1)),
    ("fineclip", {}, "smallest_side", (0.1, 0.8), (0, -0.1, 0.9)),
    ("fineclip", {}, "largest_side", (0.3, 1), (0.2, 1.1)),
    ("fineclip", {}, "boxes", (0, 1), (-1,)),
    ("full_ft", {}, "alpha", (0, 1), (-0.1, 1.1)),
    ("full_ft", {}, "image_start_layer", (0, 2), (-1, 3)),
    ("full_ft", {}, "text_start_layer", (0, 2), (-1, 3)),
    ("lora", {}, "rank", (1, 2), (0, -1)),
    ("lora", {}, "image_start_layer", (0, 2), (-1, 3)),
    ("lora", {}, "text_start_layer", (0, 2), (-1, 3)),
]
"""Method, other options, option, values at the limits, and values just beyond them. The towers have three layers."""


@pytest.mark.parametrize(
    ("name", "others", "option", "inside", "beyond"), LIMITS, ids=[f"{row[0]}-{row[2]}" for row in LIMITS]
)
def test_numbers_at_the_limits_are_accepted_and_those_beyond_are_refused(
    name: str, others: dict[str, Any], option: str, inside: tuple[float, ...], beyond: tuple[float, ...]
) -> None:
    backbone = tiny_backbones["clip"]()
    for value in inside:
        build(name, backbone, others | {option: value})
    for value in beyond:
        with pytest.raises(MethodError, match=r"\d") as error:
            build(name, backbone, others | {option: value})
        if option.endswith("layer"):
            assert "layers 0 to 2" in str(error.value)


def test_a_method_that_reads_pixels_names_those_that_read_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosscue.methods.images.feature_rows", lambda images, origin: images)
    pairs: Any = SimpleNamespace(images=[SimpleNamespace(name="0.jpg")], origin="bank")
    with pytest.raises(MethodError, match=r"Methods that read features: ([\w, ]+)\. E\.g\.") as error:
        check_images(pairs, build("lora", tiny_backbones["clip"]()))
    named = str(error.value).split("features: ")[1].split(". E.g.")[0].split(", ")
    assert {"zero_shot", "linear_probe", "clip_adapter"} <= set(named)
    assert not {"lora", "full_ft", "dual_prompt", "maple", "action"} & set(named)
    check_images(pairs, build("linear_probe", tiny_backbones["clip"]()))
    with pytest.raises(MethodError, match="augmentation 'crop' changes pixels"):
        check_images(pairs, build("linear_probe", tiny_backbones["clip"]()), "crop")


MASKS = [
    ("crosscue.methods.parts.contrastive", "linear_probe", {}),
    ("crosscue.methods.parts.carrier", "filip", {"carrier": "heads_only"}),
    ("crosscue.methods.dcar.model", "dcar", {"ca": False, "context_tokens": 2}),
    ("crosscue.methods.acke.model", "acke", ACKE | {"weights": "none"}),
    ("crosscue.methods.action.model", "action", KNOWN | {"conditioning": "own"}),
]
"""Module that finds the pairs that are alike, a method, and its options."""


@torch.no_grad()
@pytest.mark.parametrize(("module", "name", "options"), MASKS, ids=[row[1] for row in MASKS])
def test_equal_captions_are_negatives_without_mask_duplicates(
    module: str, name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss without the mask is that of a batch in which no two pairs are alike."""
    backbone = tiny_backbones["clip"]()
    whole = eight_pairs(backbone)
    batch = dataclasses.replace(whole, captions=[*whole.captions[:7], whole.captions[2]])

    def loss(mask: bool) -> torch.Tensor:
        torch.manual_seed(0)
        return total_loss(build(name, backbone, options | {"mask_duplicates": mask}), batch)

    masked, plain = loss(True), loss(False)
    assert abs(float(masked - plain)) > 1e-3
    monkeypatch.setattr(f"{module}.same_meaning", lambda *given: None)
    torch.testing.assert_close(loss(True), plain)
