"""Token weights at each of their places, against the same towers written out one text at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from crosscue.backbones.protocol import Backbone, Prompts
from crosscue.backbones.token_weights import TokenWeights
from tests.tiny import tiny_backbones

TEXTS = ["a red thing", "two dogs on a black cat in the white photo", "the blue cat"]
PLACES = [(family, place) for family in sorted(tiny_backbones) for place in tiny_backbones[family]().weights_places]


def attend(module: Any, names: tuple[str, str, str], heads: int, x: Tensor, seen: Tensor) -> Tensor:
    """(S, W) -> (S, W): attention whose probabilities are proportional to exp(score) * `seen` (S, S)."""
    query, key, value = (
        getattr(module, name)(x).unflatten(-1, (heads, -1)).transpose(0, 1) for name in names
    )  # (H, S, W / H)
    shares = (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5).exp() * seen  # (H, S, S)
    return (shares / shares.sum(-1, keepdim=True) @ value).transpose(0, 1).flatten(1)


def layer_output(layer: Any, x: Tensor, seen: Tensor) -> Tensor:
    """(S, W) -> (S, W): a layer of a text tower, from its weights."""
    if hasattr(layer, "self_attn"):  # CLIP and SigLIP
        own = layer.self_attn
        read = attend(own, ("q_proj", "k_proj", "v_proj"), own.num_heads, layer.layer_norm1(x), seen)
        x = x + own.out_proj(read)
        return x + layer.mlp(layer.layer_norm2(x))
    own = layer.attention.self
    x = layer.attention.output(attend(own, ("query", "key", "value"), own.num_attention_heads, x, seen), x)
    return layer.output(layer.intermediate(x), x)


def by_hand(backbone: Backbone, text: str, weights: Tensor, place: str, prompts: list[Tensor]) -> Tensor:
    """Encodes one text with `weights` (n,) of its content tokens and prompts at the first layers -> (D,)."""
    tower, tokens = backbone.text, backbone.tokenize([text], len(prompts[0]))
    length = tokens.ids.shape[1] if backbone.family.startswith("siglip") else int(tokens.lengths[0])
    weight = torch.ones(length)
    weight[tokens.content[0, :length]] = weights
    words = backbone.word_embedding(tokens.ids[0, :length])
    words = words * weight[:, None] if place == "input" else words
    at, count = 0 if backbone.family.startswith("siglip") else 1, len(prompts[0])
    x = torch.cat([words[:at], prompts[0], words[at:]])
    key = torch.cat([weight[:at], torch.ones(count), weight[at:]]) if place == "attention" else torch.ones(len(x))
    seen = key.expand(len(x), -1)
    if backbone.family == "dual":
        embeddings = tower.model.embeddings
        x = x + embeddings.token_type_embeddings.weight[0] + embeddings.position_embeddings.weight[: len(x)]
        x, layers = embeddings.LayerNorm(x), tower.model.encoder.layer
    else:
        x = x + tower.text_model.embeddings.position_embedding.weight[: len(x)]
        layers = tower.text_model.encoder.layers
        seen = seen.tril() if backbone.family == "clip" else seen
    for index, layer in enumerate(layers):
        if 0 < index < len(prompts):
            x = torch.cat([x[:at], prompts[index], x[at + count :]])
        x = layer_output(layer, x, seen)
    if backbone.family == "dual":
        x = torch.cat([x[:1], x[1 + count :]])
        mean = weight if place == "pooling" else torch.ones(length)
        return tower.bridge.text((x * mean[:, None]).sum(0, keepdim=True) / mean.sum())[0]
    x = tower.text_model.final_layer_norm(x[-1])
    return tower.projection(x) if backbone.family == "clip" else tower.text_model.head(x)


@pytest.mark.parametrize(("family", "place"), PLACES)
@torch.no_grad()
def test_weights_act_at_their_place_as_written_out(family: str, place: Any) -> None:
    backbone = tiny_backbones[family]()
    torch.manual_seed(1)
    prompts = [torch.randn(2, backbone.text_width) for _ in range(2)]
    tokens = backbone.tokenize(TEXTS, 2)
    weights = torch.ones(tokens.ids.shape)
    weights[tokens.content] = torch.rand(int(tokens.content.sum())) * 2 + 0.1
    weights[1, 3] = 0.0  # weights=relu gives zeros
    encoded = backbone.encode_text(tokens, Prompts.of(prompts), TokenWeights(weights, place)).pooled
    expected = [
        by_hand(backbone, text, weights[row, tokens.content[row]], place, prompts) for row, text in enumerate(TEXTS)
    ]
    torch.testing.assert_close(encoded, torch.stack(expected), rtol=1e-4, atol=1e-5)
    others = {other for other in backbone.weights_places if other != place}
    for other in others:
        elsewhere = backbone.encode_text(tokens, Prompts.of(prompts), TokenWeights(weights, other)).pooled
        assert not torch.allclose(elsewhere, encoded, atol=1e-4)


@pytest.mark.parametrize("family", sorted(tiny_backbones))
@torch.no_grad()
def test_weights_in_the_attention_follow_words_between_prompts(family: str) -> None:
    """Prompts around the words move the words, and the weights move with them."""
    backbone = tiny_backbones[family]()
    torch.manual_seed(1)
    around = Prompts({0: torch.randn(4, backbone.text_width)}, leading=1)
    tokens = backbone.tokenize(TEXTS, 4)
    weights = torch.ones(tokens.ids.shape)
    weights[tokens.content] = torch.rand(int(tokens.content.sum())) + 0.1
    together = backbone.encode_text(tokens, around, TokenWeights(weights, "attention")).pooled
    alone = []
    for row, text in enumerate(TEXTS):
        own = backbone.tokenize([text], 4)
        values = torch.ones(own.ids.shape)
        values[own.content] = weights[row, tokens.content[row]]
        alone.append(backbone.encode_text(own, around, TokenWeights(values, "attention")).pooled[0])
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-5)
    values = weights.clone()
    values[0, tokens.content[0]] = weights[0, tokens.content[0]].flip(0)
    changed = backbone.encode_text(tokens, around, TokenWeights(values, "attention")).pooled
    assert not torch.allclose(changed[0], together[0], atol=1e-4)
    torch.testing.assert_close(changed[1:], together[1:])


@torch.no_grad()
def test_token_features_see_weights_in_the_attention() -> None:
    """The last layer of CLIP is read twice: at the end token alone, and at every word."""
    backbone = tiny_backbones["clip"]()
    tokens = backbone.tokenize(TEXTS)
    weights = torch.ones(tokens.ids.shape)
    weights[:, 2] = 0.2
    features = backbone.encode_text(tokens, token_weights=TokenWeights(weights, "attention"))
    ends = features.tokens[torch.arange(len(TEXTS)), tokens.lengths - 1]
    torch.testing.assert_close(ends, features.pooled, rtol=1e-4, atol=1e-5)
