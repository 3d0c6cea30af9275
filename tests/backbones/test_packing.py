"""Packed texts of a bidirectional tower: what padding saves changes no feature and no gradient."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from crosscue.backbones import dual
from crosscue.backbones.packing import Grid, pack, spread
from crosscue.backbones.prompting import run
from crosscue.backbones.protocol import Backbone, Prompts
from crosscue.backbones.token_weights import TokenWeights
from crosscue.testing.backbones import WORDS, tiny_backbone

TEXT_LISTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=30).map(" ".join), min_size=2, max_size=9)
PLACES = st.sampled_from([None, "pooling", "input", "attention"])


@functools.cache
def backbone() -> Backbone:
    return tiny_backbone("dual")


def encoded(
    texts: list[str], layers: dict[int, tuple[int, ...]], leading: int | None, place: str | None
) -> list[Tensor]:
    """Returns pooled, hidden and token features, and the gradients of the prompts and the weights."""
    generator = torch.Generator().manual_seed(0)
    given = {i: (torch.randn(*shape, 96, generator=generator) / 9).requires_grad_() for i, shape in layers.items()}
    tokens = backbone().tokenize(texts, 2 if layers else 0)
    values = (0.5 + torch.rand(tokens.ids.shape, generator=generator)).requires_grad_()
    weights = TokenWeights(values, place) if place else None  # type: ignore[arg-type]
    features = backbone().encode_text(tokens, Prompts(given, leading) if layers else None, weights)
    found = [features.pooled, features.hidden, features.tokens * tokens.content[..., None]]
    ramp = torch.arange(features.pooled.numel()).view_as(features.pooled).cos()
    total = (features.pooled * ramp).sum() / len(texts) + found[2].square().mean()
    learned = [*given.values(), *([values] if place else [])]
    return [*found, *(torch.autograd.grad(total, learned) if learned else [])]


@settings(max_examples=40, deadline=None)
@given(TEXT_LISTS, st.sampled_from(["none", "shared", "deep", "of each text", "around"]), PLACES)
def test_features_and_gradients_are_those_of_padded_texts(texts: list[str], kind: str, place: str | None) -> None:
    each = (len(texts), 2)
    layers = {"none": {}, "shared": {0: (2,)}, "deep": {0: (2,), 2: (2,)}, "of each text": {0: each, 1: each}}
    given = (texts, layers.get(kind, {0: (2,)}), 1 if kind == "around" else None, place)
    packed = encoded(*given)

    def plain(
        self: dual.SentenceTower, hidden: Tensor, lengths: Tensor, prompts: Prompts | None, mask: Tensor
    ) -> Tensor:
        return run(hidden, [lambda rows, layer=layer: layer(rows, mask) for layer in self.layers], prompts, 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dual.SentenceTower, "_packed", plain)
        for one, other in zip(packed, encoded(*given), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_rows_return_from_their_places_and_gradients_with_them() -> None:
    grid = Grid.of_lengths(torch.tensor([2, 1, 3]), 3)
    rows = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    padded = spread(rows, grid)
    assert padded.shape == (3, 3, 4)
    assert padded[1, 1:].abs().sum() == 0
    assert torch.equal(pack(padded, grid), rows)
    assert torch.autograd.gradcheck(lambda given: spread(given, grid), (rows,))
    assert torch.autograd.gradcheck(lambda given: pack(given, grid), (padded.detach().requires_grad_(),))
