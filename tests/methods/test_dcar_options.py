"""Options of DCAR that are off by default, against their definition: limits, controls, dropout and remembered features."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from crosscue.data.pairs import Negative
from crosscue.methods.contract import Batch
from crosscue.methods.dcar import weighting
from crosscue.methods.dcar.category import CategoryHead
from crosscue.methods.dcar.model import Dcar
from crosscue.methods.dcar.reference_images import blank_pixels
from crosscue.methods.registry import build
from tests import tiny
from tests.tiny import tiny_backbones

TEXTS = ["a red thing", "two dogs on a black cat in the white photo", "pink", "the blue dog is on the grey cat"]


def dcar(**options: Any) -> Dcar:
    torch.manual_seed(0)
    method = build("dcar", tiny_backbones["clip"](), {"context_tokens": 2, "category_width": 16, **options})
    assert isinstance(method, Dcar)
    return method


def batch(negatives: list[list[Negative]] | None = None) -> Batch:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (4, 3, tiny.SIZE, tiny.SIZE), dtype=torch.uint8, generator=generator)
    return Batch(pixels, TEXTS, list("0123"), list("abcd"), negatives or [[]] * 4)


def by_hand(shares: list[float], blend: float, smallest: float, largest: float) -> list[float]:
    """Returns the weights of one caption: blended, limited, and scaled to average 1."""
    count = len(shares)
    limited = [min(max(1 + blend * (count * share - 1), smallest), largest) for share in shares]
    return [count * weight / sum(limited) for weight in limited]


def test_weights_are_blended_first_and_limited_on_both_sides() -> None:
    content = torch.tensor([[False, True, True, True, True, False], [False, True, True, False, False, False]])
    shares = torch.tensor([[0, 0.7, 0.2, 0.1, 0, 0], [0, 0.9, 0.1, 0, 0, 0]])
    found = weighting.mean_one(shares, content, blend=0.6, smallest=0.5, largest=1.9)
    for row, limits in enumerate(content):
        wanted = by_hand(shares[row, limits].tolist(), 0.6, 0.5, 1.9)
        torch.testing.assert_close(found[row, limits], torch.tensor(wanted))
        assert (found[row, ~limits] == 0).all()


def test_differences_are_those_of_the_similarity() -> None:
    features, images = torch.randn(2, 3, 4) / 2, torch.randn(2, 4) / 2
    blank = torch.randn(4) / 2
    for exponential in (True, False):
        found = weighting.similarity_difference(features, images, blank, exponential=exponential)
        for row in range(2):
            for token in range(3):
                empty, near = (float(features[row, token] @ of) for of in (blank, images[row]))
                wanted = math.exp(empty) - math.exp(near) if exponential else empty - near
                assert float(found[row, token]) == pytest.approx(wanted, abs=1e-6)


@torch.no_grad()
def test_similarity_and_the_limits_reach_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """One caption at a time: exponentials of cosines, blended, limited on both sides, and scaled to average 1."""
    draw = torch.Generator().manual_seed(0)
    method = dcar(similarity="exp", blend=0.6, smallest=0.85, largest=1.1)
    tokens = method.tokenize(TEXTS)
    features = normalize(torch.randn(*tokens.content.shape, 32, generator=draw), dim=-1)  # u (B, N, D)
    images, blank = normalize(torch.randn(5, 32, generator=draw), dim=-1).split([4, 1])
    monkeypatch.setattr(method, "token_features", lambda texts, tokens: features)
    found = method.token_weights(TEXTS, tokens, images, blank[0])
    raw = []
    for row, words in enumerate(tokens.content):
        own = features[row, words]
        change = ((own @ blank[0]).exp() - (own @ images[row]).exp()).abs()
        wanted = by_hand((change / change.sum()).tolist(), 0.6, 0.85, 1.1)
        torch.testing.assert_close(found[row, words], torch.tensor(wanted))
        raw += (1 + 0.6 * (len(own) * change / change.sum() - 1)).tolist()
    assert min(raw) < 0.8
    assert max(raw) > 1.15


@torch.no_grad()
@pytest.mark.parametrize("kind", ["plain_relu", "plain_linear", "residual_zero"])
def test_heads_by_their_two_layers(kind: str) -> None:
    torch.manual_seed(0)
    head, texts = CategoryHead(6, 5, kind), torch.randn(4, 6)
    torch.nn.init.normal_(head.second.weight)
    hidden = texts @ head.first.weight.T + head.first.bias
    assert hidden.min() < 0
    out = (hidden if kind == "plain_linear" else hidden.clamp(min=0)) @ head.second.weight.T + head.second.bias
    torch.testing.assert_close(head(texts), out + texts if kind == "residual_zero" else out)


def test_pixels_of_images_without_content() -> None:
    """A mean image is 0 behind the normalisation; the others are pixels."""
    backbone = tiny_backbones["clip"]()
    for kind, value in (("white", 255), ("black", 0), ("mean", 0.0)):
        pixels = blank_pixels(backbone, kind)
        assert pixels.shape == (1, 3, tiny.SIZE, tiny.SIZE)
        assert pixels.dtype == (torch.float32 if kind == "mean" else torch.uint8)
        assert (pixels == value).all()
    noise = blank_pixels(backbone, "noise")
    assert noise.dtype == torch.uint8
    assert noise.float().std() > 50


@torch.no_grad()
def test_prior_weights_words_by_the_mean_image_as_a_unit_vector() -> None:
    method = dcar(ca=False).train()
    method.losses(batch())
    mean = method.eval().encode_image(batch().images).mean(0)
    assert mean.norm() < 0.99
    wanted = method.weighted(TEXTS, (mean / mean.norm()).expand(4, -1))
    torch.testing.assert_close(method.encode_text(TEXTS, "prior"), wanted, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(method.weighted(TEXTS, mean.expand(4, -1)), wanted, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("tower", ["frozen", "prompted"])
def test_the_feature_of_a_word_is_that_of_the_word_alone(tower: str) -> None:
    method = dcar(token_feature="word", token_features_from=tower)
    torch.nn.init.normal_(method.prompts.context[0])
    tokens = method.tokenize(TEXTS)
    found, prompts = method.token_features(TEXTS, tokens), method.text_prompts() if tower == "prompted" else None
    for row, text in enumerate(TEXTS):
        alone = [method.backbone.encode_text(method.tokenize([word]), prompts).pooled[0] for word in text.split()]
        counts = [method.backbone.token_count(word) for word in text.split()]
        wanted = [word / word.norm() for word, count in zip(alone, counts, strict=True) for _ in range(count)]
        torch.testing.assert_close(found[row, tokens.content[row]], torch.stack(wanted), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_wrong_image_is_that_of_another_pair() -> None:
    method = dcar(weight_control="wrong_image", ca=False, lambda1=1.0)
    images = method.encode_image(batch().images)
    others = torch.stack([images[row - 1] for row in range(4)])
    scores = method.scale * images @ method.weighted(TEXTS, others).T
    wanted = -(scores.log_softmax(1).diag().mean() + scores.log_softmax(0).diag().mean())
    torch.testing.assert_close(method.losses(batch())["contrastive_loss"], wanted)


def test_weights_are_dropped_for_whole_captions() -> None:
    torch.manual_seed(0)
    rho = torch.rand(400, 5) + 2
    found = weighting.dropped(rho, 0.3)
    plain = (found == 1).all(1)
    assert torch.equal(found[~plain], rho[~plain])
    assert 80 < int(plain.sum()) < 160


@torch.no_grad()
def test_no_weights_are_dropped_at_test_time() -> None:
    dropping, usual = dcar(weight_dropout=1.0).eval(), dcar().eval()
    images = usual.pair_features(batch().images)
    torch.testing.assert_close(dropping.text_given_image(TEXTS, images), usual.text_given_image(TEXTS, images))
    assert not torch.allclose(usual.text_given_image(TEXTS, images), usual.encode_text(TEXTS), atol=1e-4)


@torch.no_grad()
def test_token_features_with_prompts_follow_the_prompts() -> None:
    """They change in every step, so remembered ones would be those of the untrained prompts."""
    method = dcar(token_features_from="prompted")
    tokens = method.tokenize(TEXTS)
    method.remember(TEXTS)
    before = method.token_features(TEXTS, tokens)
    method.prompts.context[0].add_(torch.randn_like(method.prompts.context[0]))
    assert not torch.allclose(method.token_features(TEXTS, tokens), before, atol=1e-3)


def test_captions_without_negatives_are_in_the_mean() -> None:
    """L_cate of a batch is a fourth of that of its only caption with negatives."""
    own = [Negative("a red dog", "category"), Negative("a blue thing", "attribute")]
    method, whole = dcar(lambda2=1.0), batch([own, [], [], []])
    alone = Batch(whole.images[:1], TEXTS[:1], ["0"], ["a"], [own])
    found, wanted = (method.losses(part)["category_loss"] for part in (whole, alone))
    torch.testing.assert_close(4 * found, wanted)
