"""Prefix trees: what common beginnings save changes no feature and no gradient."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from crosscue.backbones import clip_towers
from crosscue.backbones.prefix_trees import TEXTS, token_trees
from crosscue.backbones.protocol import Backbone, Prompts
from crosscue.testing.backbones import WORDS, tiny_backbone

TEXT_LISTS = st.lists(
    st.lists(st.sampled_from(WORDS[:5]), min_size=1, max_size=30).map(" ".join), min_size=2, max_size=20
)
"""Few words, so that many begin alike, and lengths above the 24 positions of the tower."""
LAYERS = st.sampled_from([(), (0,), (0, 1), (0, 2), (0, 1, 2)])


@functools.cache
def backbone() -> Backbone:
    return tiny_backbone("clip")


def encoded(texts: list[str], layers: tuple[int, ...], shared: bool) -> list[Tensor]:
    """Returns pooled, hidden and token features, and the gradients of the prompts."""
    generator = torch.Generator().manual_seed(0)
    given = {layer: (torch.randn(2, 96, generator=generator) / 9).requires_grad_() for layer in layers}
    with pytest.MonkeyPatch.context() as patch:
        if not shared:
            patch.setattr(clip_towers, "shareable", lambda tokens, prompts: False)
        tokens = backbone().tokenize(texts, 2 if layers else 0)
        features = backbone().encode_text(tokens, Prompts(given) if layers else None)
    found = [features.pooled, features.hidden, features.tokens * tokens.content[..., None]]
    weights = torch.arange(features.pooled.numel()).view_as(features.pooled).cos()
    total = (features.pooled * weights).sum() / len(texts) + found[2].square().mean()
    return [*found, *(torch.autograd.grad(total, list(given.values())) if layers else [])]


@settings(max_examples=40, deadline=None)
@given(TEXT_LISTS, LAYERS)
@example(["a the red"] * 9, (0, 1))
@example([" ".join(WORDS[:n]) for n in range(1, 12)], (0,))
@example(["a " * 30, "a " * 29, "a " * 31 + "the"], (0, 2))
def test_features_and_gradients_are_those_of_padded_texts(texts: list[str], layers: tuple[int, ...]) -> None:
    """Equal texts, nested ones and truncated ones among them; 9 and more texts are several groups."""
    for one, other in zip(encoded(texts, layers, shared=True), encoded(texts, layers, shared=False), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@given(TEXT_LISTS, st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_a_tree_has_a_node_for_each_beginning_of_its_group(texts: list[str], prompts: int) -> None:
    tokens = backbone().tokenize(texts, prompts)
    trees = token_trees(tokens, prompts)
    own = sorted(ids[:length] for ids, length in zip(tokens.ids.tolist(), tokens.lengths.tolist(), strict=True))
    groups = [own[start : start + TEXTS] for start in range(0, len(own), TEXTS)]
    beginnings = [{tuple(ids[:end]) for ids in group for end in range(1, len(ids) + 1)} for group in groups]
    assert len(trees.ids) == sum(map(len, beginnings)) + prompts * len(groups)
    assert trees.grid.size == max(map(len, beginnings)) + prompts
    places = np.arange(len(texts))
    np.testing.assert_array_equal(
        trees.column[trees.ends[trees.texts]].numpy(), tokens.lengths.numpy()[places] - 1 + prompts
    )
