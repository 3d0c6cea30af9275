"""The whole loss of DCAR (eq. 11-19) computed a second time, caption by caption, from the encoders alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.backbones.token_weights import TokenWeights
from crosscue.data.pairs import Negative
from crosscue.methods.contract import Batch
from crosscue.methods.dcar.model import Dcar
from crosscue.methods.registry import build
from tests import tiny
from tests.methods.formulas import pair_cross_entropies, shared
from tests.tiny import tiny_backbones

ALPHA, ETA, Q = 1.5, 0.3, 2
TEXTS = ["a red thing", "two dogs on a black cat in the white photo", "pink", "the blue dog is on the grey cat", "pink"]
IDS = ["0", "1", "2", "3", "1"]
"""Captions 2 and 4 are equal, and rows 1 and 4 show one image: neither are negatives of each other."""
SAME = shared(TEXTS, IDS)
NEGATIVES = [
    [Negative("a red cat", "category"), Negative("a green thing", "attribute"), Negative("a pink thing", "attribute")],
    [Negative("two dogs on a red cat", "attribute"), Negative("two things", "category"), Negative("a dog", "category")],
    [Negative("a yellow photo", "category")],
    [
        Negative("the red dog is on the cat", "attribute"),
        Negative("the dog is in", "attribute"),
        Negative("a", "category"),
    ],
    [Negative("grey", "attribute"), Negative("a yellow thing", "category")],
]
WHITE = torch.full((1, 3, tiny.SIZE, tiny.SIZE), 255, dtype=torch.uint8)


def dcar(family: str, **chosen: Any) -> Dcar:
    """Return DCAR in the middle of training: prompts of a visible size, and a head that is not at zero."""
    torch.manual_seed(0)
    options: dict[str, Any] = {"context_tokens": 2, "category_width": 16, "alpha": ALPHA, "negatives": Q, "eta": ETA}
    made = build("dcar", tiny_backbones[family](), options | {"token_features_from": "prompted"} | chosen)
    assert isinstance(made, Dcar)
    for context in made.prompts.context:
        torch.nn.init.normal_(context)
    assert made.category is not None
    torch.nn.init.normal_(made.category.second.weight, std=0.3)
    return made.train()


@pytest.fixture(params=["clip", "dual"])
def method(request: pytest.FixtureRequest) -> Dcar:
    return dcar(request.param)


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (5, 3, tiny.SIZE, tiny.SIZE), generator=generator)
    colours = torch.tensor([[1, 8, 2], [8, 1, 8], [2, 2, 1], [1, 1, 8], [8, 2, 1]])
    return Batch((pixels // colours[:, :, None, None]).to(torch.uint8), TEXTS, IDS, list("abcdc"), NEGATIVES)


def head(method: Dcar, text: Tensor) -> Tensor:
    """F_CAA (D,) -> (D,) unit vector, from the weights of its two layers."""
    first, second = method.category.first, method.category.second
    hidden = (first.weight @ text + first.bias).clamp(min=0)
    return normalize(text + second.weight @ hidden + second.bias, dim=-1)


def weighted(method: Dcar, text: str, image: Tensor) -> Tensor:
    """T'_w (D,) of one caption: its words weighted by |S(u, I'_blank) - S(u, I')|, which is a constant."""
    backbone, tokens = method.backbone, method.tokenize([text])
    place = "input" if backbone.family == "clip" else "pooling"
    with torch.no_grad():
        blank = method.encode_image(WHITE)[0]
        read = backbone.encode_text(tokens, method.text_prompts()).tokens[0]  # (N, D)
        words = [index for index, word in enumerate(tokens.content[0].tolist()) if word]
        units = {index: read[index] / read[index].norm() for index in words}
        change = {index: abs(float(units[index] @ blank) - float(units[index] @ image)) for index in words}
        rho = torch.ones(tokens.ids.shape)
        for index in words:
            rho[0, index] = len(words) * change[index] / sum(change.values())
    weights = TokenWeights(rho, place)
    return normalize(backbone.encode_text(tokens, method.text_prompts(), weights).pooled[0], dim=-1)


def losses_by_hand(method: Dcar, given: Batch, scale: Tensor, directions: str = "both") -> dict[str, Tensor]:
    """0.8 L_con (eq. 15) and 0.2 L_cate (eq. 16-18), with one softmax for every row; `scale` is 1 / tau."""
    images, texts = method.encode_image(given.images), method.encode_text(TEXTS)  # I', T' (B, D)
    read = torch.stack([weighted(method, text, image) for text, image in zip(TEXTS, images, strict=True)])
    logits = scale * images @ read.T
    halves = {"i2t": pair_cross_entropies(logits, SAME), "t2i": pair_cross_entropies(logits.T, SAME)}
    contrast = halves["i2t"] + halves["t2i"] if directions == "both" else halves[directions]
    category = torch.zeros(())
    for row in range(len(TEXTS)):
        right = (1 + ALPHA) * (scale * head(method, texts[row]) @ images[row]).exp()
        wrong = torch.zeros(())
        for negative in NEGATIVES[row][:Q]:
            similarity = scale * head(method, method.encode_text([negative.text])[0]) @ images[row]
            wrong = wrong + (1 if negative.type == "category" else 1 + ALPHA) * similarity.exp()
        category = category - (right / (right + wrong)).log()
    return {"contrastive_loss": 0.8 * contrast.mean(), "category_loss": 0.2 * category / len(TEXTS)}


def test_losses_and_gradients_are_those_of_the_paper(method: Dcar) -> None:
    given = batch()
    with torch.no_grad():
        similarities = method.encode_image(given.images) @ method.encode_text(TEXTS).T
    assert similarities.min() < 0
    learned = {name: tensor for name, tensor in method.named_parameters() if tensor.requires_grad}
    found, expected = method.losses(given), losses_by_hand(method, given, method.backbone.logit_scale)
    assert found.keys() == expected.keys()
    assert not method.mean_image.mean.requires_grad, "the mean image would keep the graph of every step"
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)
    one, other = (torch.autograd.grad(sum(losses.values()), list(learned.values())) for losses in (found, expected))
    for name, first, second in zip(learned, one, other, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@torch.no_grad()
@pytest.mark.parametrize("directions", ["i2t", "t2i"])
def test_the_contrast_of_one_direction(directions: str) -> None:
    method = dcar("clip", directions=directions)
    wanted = losses_by_hand(method, batch(), method.backbone.logit_scale, directions)
    torch.testing.assert_close(method.losses(batch()), wanted, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_literal_temperature_is_one_in_both_losses() -> None:
    method = dcar("clip", temperature="literal")
    assert method.backbone.logit_scale > 2
    wanted = losses_by_hand(method, batch(), torch.ones(()))
    torch.testing.assert_close(method.losses(batch()), wanted, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_pair_is_scored_by_a_share_eta_of_the_weighted_caption(method: Dcar) -> None:
    images = method.encode_image(batch().images)
    plain = torch.tensor([0.4, -0.2, 0.1, -0.6, 0.3])
    read = torch.stack([weighted(method, text, image) for text, image in zip(TEXTS, images, strict=True)])
    expected = 0.7 * plain + 0.3 * (images * read).sum(-1)
    torch.testing.assert_close(method.pair_scores(images, plain, TEXTS), expected, rtol=1e-4, atol=1e-5)
