"""The parameters of each carrier, which start where the backbone is."""

from __future__ import annotations

import pytest
import torch

from crosscue.errors import OptionError
from crosscue.methods.registry import build
from crosscue.testing import eight_pairs
from crosscue.training.optimisers import select_trainable
from tests.tiny import tiny_backbones

WHAT = {"dual_prompt": {"prompts"}, "heads_only": {"image_head", "text_head"}, "full_ft": {"tuned"}}


@pytest.mark.parametrize("carrier", sorted(WHAT))
def test_only_what_the_carrier_says_learns(carrier: str) -> None:
    method = build("alip", tiny_backbones["clip"](), {"carrier": carrier})
    assert {name.split(".")[0] for name, _ in select_trainable(method)} == WHAT[carrier]
    assert {name.split(".")[0] for name in method.learned_state()} == WHAT[carrier] | {"means", "seen"}


@pytest.mark.parametrize("carrier", ["heads_only", "full_ft"])
def test_without_prompts_the_untrained_method_is_the_backbone(carrier: str) -> None:
    backbone = tiny_backbones["clip"]()
    method, plain = build("fineclip", backbone, {"carrier": carrier}), build("zero_shot", backbone)
    batch = eight_pairs(backbone)
    with torch.no_grad():
        torch.testing.assert_close(method.encode_image(batch.images), plain.encode_image(batch.images))
        torch.testing.assert_close(method.encode_text(batch.captions), plain.encode_text(batch.captions))


def test_images_are_cached_as_far_as_nothing_learns() -> None:
    backbone = tiny_backbones["clip"]()

    def frozen(name: str, **options: object) -> int:
        return build(name, backbone, options).image_use.layers(backbone)

    assert frozen("filip", carrier="heads_only") == backbone.image_layers
    assert frozen("filip", image_start_layer=2) == 2
    assert frozen("alip", carrier="full_ft", image_start_layer=2) == 0
    assert frozen("fineclip", carrier="heads_only") == 0, "regions are cut out of pixels"


def test_towers_stay_without_dropout_and_learn_more_slowly() -> None:
    method = build("alip", tiny_backbones["dual"](), {"carrier": "full_ft", "tower_lr_scale": 0.1}).train()
    assert method.training
    assert not any(module.training for module in method.tuned.modules())
    assert {method.learns(name).lr for name, _ in select_trainable(method)} == {0.1}


def test_an_unknown_carrier_is_refused() -> None:
    with pytest.raises(OptionError, match="carrier is prompts; it must be one of dual_prompt, heads_only, full_ft"):
        build("filip", tiny_backbones["clip"](), {"carrier": "prompts"})


def test_the_prompts_of_a_carrier_have_its_options() -> None:
    backbone = tiny_backbones["clip"]()
    options = {"context_tokens": 2, "depth": 2, "context_words": "a photo of a"}
    tokens = backbone.tokenize(["a photo of a"])
    words = backbone.word_embedding(tokens.ids[0, tokens.content[0]][:2]).float()
    for text, image in ((0, 1), (1, 0)):
        method = build("filip", backbone, options | {"text_start_layer": text, "image_start_layer": image})
        prompts = method.prompts.text_prompts()
        assert sorted(prompts.layers) == [text, text + 1]
        assert sorted(method.prompts.image_prompts().layers) == [image, image + 1]
        torch.testing.assert_close(prompts.layers[text].detach(), words)
