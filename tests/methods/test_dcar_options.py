"""Options of DCAR that are off by default, against their definition: limits, controls, dropout and remembered features."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from crosscue.data.pairs import Negative
from crosscue.methods.contract import Batch
from crosscue.methods.dcar import weighting
from crosscue.methods.dcar.model import Dcar
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
