"""Normalisation by a bank of queries against the formula, computed one pair at a time."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from crosscue.errors import MethodError
from crosscue.evaluation.ranks import rank_scores
from crosscue.methods.registry import method_class
from crosscue.retrieval import normalising
from crosscue.retrieval.bank import SIZE, spread
from crosscue.retrieval.normalising import Normalised, bias_of_captions, bias_of_images, normalised
from crosscue.retrieval.options import Inference
from crosscue.retrieval.scores import Cosines

BETA = 7.0


def rows(count: int, seed: int) -> Tensor:
    """Returns (count, 6) unit vectors with a common part, so that hubs exist."""
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(count, 6, generator=generator) + torch.tensor([1.5, 0, 0, -0.7, 0, 0]), dim=-1)


IMAGES, CAPTIONS = rows(23, 1), rows(31, 2)
BANK_IMAGES, BANK_CAPTIONS = rows(17, 3), rows(11, 4)
BANK = Cosines(BANK_IMAGES, BANK_CAPTIONS)


def corrected(mode: normalising.Correction = "bank") -> Normalised:
    return normalised(Cosines(IMAGES, CAPTIONS), BANK, BETA, mode)


def by_hand(query: Tensor, candidate: Tensor, bank: Tensor) -> float:
    """Returns s - log mean exp(beta s_b) / beta of one pair, in Python floats."""
    mean = sum(math.exp(BETA * float(entry @ candidate)) for entry in bank) / len(bank)
    return float(query @ candidate) - math.log(mean) / BETA


def test_scores_equal_the_formula_in_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalising, "BLOCK", 5)
    i2t, t2i = corrected().block(slice(2, 23), slice(1, 31))
    for image in range(2, 23):
        for caption in range(1, 31):
            own = i2t[image - 2, caption - 1], t2i[image - 2, caption - 1]
            assert own[0] == pytest.approx(by_hand(IMAGES[image], CAPTIONS[caption], BANK_IMAGES), abs=2e-6)
            assert own[1] == pytest.approx(by_hand(CAPTIONS[caption], IMAGES[image], BANK_CAPTIONS), abs=2e-6)


@pytest.mark.parametrize("mode", ["bank", "dynamic"])
def test_own_block_and_chosen_agree(mode: normalising.Correction) -> None:
    scores = corrected(mode)
    order = torch.tensor([30, 4, 4, 0, 17])
    i2t, t2i = scores.block(slice(0, 23), slice(0, 31))
    part = scores.chosen(order)
    for whole, chosen in zip((i2t, t2i), part.block(slice(0, 23), slice(0, 5)), strict=True):
        torch.testing.assert_close(chosen, whole[:, order])
    image, caption = torch.tensor([22, 0, 9]), torch.tensor([1, 3, 2])
    for whole, own in zip((i2t, t2i), part.own(image, caption), strict=True):
        torch.testing.assert_close(own, whole[image, order[caption]])


def test_dynamic_corrects_only_queries_that_meet_a_hub_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalising, "BLOCK", 4)
    plain, full, scores = IMAGES @ CAPTIONS.T, corrected(), corrected("dynamic")
    hubs = {int((entry @ CAPTIONS.T).argmax()) for entry in BANK_IMAGES}
    touched = [int(row.argmax()) in hubs for row in plain]
    assert 0 < sum(touched) < len(touched), "the test needs queries of both kinds"
    found, corrected_rows = scores.block(slice(0, 23), slice(0, 31))[0], full.block(slice(0, 23), slice(0, 31))[0]
    for image, met in enumerate(touched):
        torch.testing.assert_close(found[image], corrected_rows[image] if met else plain[image])
    hub_images = {int((entry @ IMAGES.T).argmax()) for entry in BANK_CAPTIONS}
    met_images = [int(column.argmax()) in hub_images for column in plain.T]
    assert 0 < sum(met_images) < len(met_images)
    assert scores.from_caption.tolist() == [float(met) for met in met_images]


def test_the_correction_of_a_candidate_does_not_depend_on_the_queries() -> None:
    other = bias_of_captions(Cosines(BANK_IMAGES, CAPTIONS[:9]), BETA)
    torch.testing.assert_close(other, bias_of_captions(Cosines(BANK_IMAGES, CAPTIONS), BETA)[:9])
    scores = normalised(Cosines(IMAGES[5:6], CAPTIONS), BANK, BETA, "bank")
    alone, among = scores.block(slice(0, 1), slice(0, 31)), corrected().block(slice(5, 6), slice(0, 31))
    torch.testing.assert_close(alone, among)


def test_equal_candidates_stay_tied() -> None:
    images = torch.cat([IMAGES, IMAGES[:1]])
    captions = torch.cat([CAPTIONS[:23], CAPTIONS[:1]])
    scores = normalised(Cosines(images, captions), BANK, BETA, "bank")
    i2t, t2i = rank_scores(scores, torch.arange(24))
    assert i2t.tied[0] == i2t.tied[23] == 2
    assert t2i.tied[0] == t2i.tied[23] == 2


@pytest.mark.parametrize("beta", [0.0, -3.0, float("nan")])
def test_beta_must_be_positive(beta: float) -> None:
    with pytest.raises(MethodError, match="above 0"):
        bias_of_images(Cosines(IMAGES, BANK_CAPTIONS), beta)
    with pytest.raises(MethodError, match="above 0"):
        Inference(beta=beta).check(method_class("zero_shot"))


def test_a_flat_correction_is_accepted() -> None:
    assert bias_of_images(Cosines(IMAGES, BANK_CAPTIONS), 0.5).std() > 0
    Inference(beta=0.5).check(method_class("zero_shot"))


def test_a_large_bank_is_spread_evenly_from_the_first_to_the_last() -> None:
    assert spread(SIZE) == list(range(SIZE))
    places = spread(3 * SIZE)
    assert (len(places), places[0], places[-1]) == (SIZE, 0, 3 * SIZE - 1)
    assert {after - before for before, after in itertools.pairwise(places)} == {3, 4}


def test_an_empty_bank_names_the_direction() -> None:
    with pytest.raises(MethodError, match="no images, so image to text"):
        bias_of_captions(Cosines(torch.zeros(0, 6), CAPTIONS), BETA)
    with pytest.raises(MethodError, match="no captions, so text to image"):
        bias_of_images(Cosines(IMAGES, torch.zeros(0, 6)), BETA)
