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
from crosscue.retrieval import scores as scoring
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


def bias(candidate: Tensor, bank: Tensor) -> float:
    """Returns log mean exp(beta s_b) / beta of one candidate, in Python floats."""
    mean = sum(math.exp(BETA * float(entry @ candidate)) for entry in bank) / len(bank)
    return math.log(mean) / BETA


def by_hand(query: Tensor, candidate: Tensor, bank: Tensor) -> float:
    """Returns s - log mean exp(beta s_b) / beta of one pair."""
    return float(query @ candidate) - bias(candidate, bank)


def test_scores_equal_the_formula_in_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalising, "BLOCK", 5)
    i2t, t2i = corrected().block(slice(2, 23), slice(1, 31))
    for image in range(2, 23):
        for caption in range(1, 31):
            own = i2t[image - 2, caption - 1], t2i[image - 2, caption - 1]
            assert own[0] == pytest.approx(by_hand(IMAGES[image], CAPTIONS[caption], BANK_IMAGES), abs=2e-6)
            assert own[1] == pytest.approx(by_hand(CAPTIONS[caption], IMAGES[image], BANK_CAPTIONS), abs=2e-6)


def test_two_banks_rank_as_the_product_of_two_softmaxes() -> None:
    """DualIS: softmax over the query bank times softmax over the gallery bank, to the power of 1 / (2 beta)."""
    i2t, t2i = corrected("dual").block(slice(0, 23), slice(0, 31))
    for image in range(23):
        for caption in range(31):
            likeness = math.exp(BETA * float(IMAGES[image] @ CAPTIONS[caption]))
            for found, candidate, banks in (
                (i2t, CAPTIONS[caption], (BANK_IMAGES, BANK_CAPTIONS)),
                (t2i, IMAGES[image], (BANK_CAPTIONS, BANK_IMAGES)),
            ):
                shares = [
                    likeness * len(bank) / sum(math.exp(BETA * float(entry @ candidate)) for entry in bank)
                    for bank in banks
                ]
                wanted = math.log(math.prod(shares)) / (2 * BETA)
                assert float(found[image, caption]) == pytest.approx(wanted, abs=2e-6)


def test_each_of_two_dynamic_banks_corrects_the_queries_that_meet_its_hubs() -> None:
    """DualDIS, in both directions."""
    found = corrected("dual_dynamic").block(slice(0, 23), slice(0, 31))
    kinds = set()
    for scores, queries, candidates, banks in (
        (found[0], IMAGES, CAPTIONS, (BANK_IMAGES, BANK_CAPTIONS)),
        (found[1].T, CAPTIONS, IMAGES, (BANK_CAPTIONS, BANK_IMAGES)),
    ):
        hubs = [{int((candidates @ entry).argmax()) for entry in bank} for bank in banks]
        for row, query in zip(scores, queries, strict=True):
            plain = candidates @ query
            met = [int(plain.argmax()) in of_bank for of_bank in hubs]
            kinds.add(tuple(met))
            amount = [
                sum(bias(one, bank) / 2 for one_met, bank in zip(met, banks, strict=True) if one_met)
                for one in candidates
            ]
            torch.testing.assert_close(row, plain - torch.tensor(amount), atol=2e-6, rtol=0)
    assert len(kinds) == 4, "the test needs queries of all kinds"


@pytest.mark.parametrize("mode", ["bank", "dynamic", "dual", "dual_dynamic"])
def test_own_and_blocks_agree(mode: normalising.Correction) -> None:
    scores = corrected(mode)
    whole = [one.clone() for one in scores.block(slice(0, 23), slice(0, 31))]
    for table, part in zip(whole, scores.block(slice(4, 23), slice(9, 30)), strict=True):
        torch.testing.assert_close(part, table[4:, 9:30])
    image, caption = torch.tensor([22, 0, 9]), torch.tensor([4, 0, 17])
    for table, own in zip(whole, scores.own(image, caption), strict=True):
        torch.testing.assert_close(own, table[image, caption])


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


@pytest.mark.parametrize("mode", ["bank", "dual"])
def test_the_correction_of_a_candidate_does_not_depend_on_the_queries(mode: normalising.Correction) -> None:
    other = bias_of_captions(Cosines(BANK_IMAGES, CAPTIONS[:9]), BETA)
    torch.testing.assert_close(other, bias_of_captions(Cosines(BANK_IMAGES, CAPTIONS), BETA)[:9])
    scores = normalised(Cosines(IMAGES[5:6], CAPTIONS), BANK, BETA, mode)
    alone, among = scores.block(slice(0, 1), slice(0, 31)), corrected(mode).block(slice(5, 6), slice(0, 31))
    torch.testing.assert_close(alone, among)


def test_equal_candidates_stay_tied() -> None:
    images = torch.cat([IMAGES, IMAGES[:1]])
    captions = torch.cat([CAPTIONS[:23], CAPTIONS[:1]])
    scores = normalised(Cosines(images, captions), BANK, BETA, "bank")
    i2t, t2i = rank_scores(scores, torch.arange(24))
    assert i2t.tied[0] == i2t.tied[23] == 2
    assert t2i.tied[0] == t2i.tied[23] == 2


def test_held_scores_are_the_same_and_large_ones_are_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "HELD_ROWS", 5)
    plain = corrected()
    kept = scoring.held(plain)
    assert isinstance(kept, scoring.Held)
    assert (kept.image_count, kept.caption_count, kept.kind) == (23, 31, plain.kind)
    for found, wanted in zip(
        kept.block(slice(3, 19), slice(2, 30)), plain.block(slice(3, 19), slice(2, 30)), strict=True
    ):
        torch.testing.assert_close(found, wanted)
    monkeypatch.setattr(scoring, "MOST_HELD", 23 * 31)
    assert isinstance(scoring.held(plain), scoring.Held)
    monkeypatch.setattr(scoring, "MOST_HELD", 23 * 31 - 1)
    assert scoring.held(plain) is plain


@pytest.mark.parametrize("beta", [0.0, -3.0, float("nan"), float("inf")])
def test_beta_must_be_positive(beta: float) -> None:
    with pytest.raises(MethodError, match="above 0"):
        bias_of_images(Cosines(IMAGES, BANK_CAPTIONS), beta)
    with pytest.raises(MethodError, match="above 0"):
        Inference(beta=beta).check(method_class("zero_shot"))


def test_a_flat_correction_is_accepted() -> None:
    assert bias_of_images(Cosines(IMAGES, BANK_CAPTIONS), 0.5).std() > 0
    Inference(beta=0.5).check(method_class("zero_shot"))


def test_two_banks_need_vectors() -> None:
    with pytest.raises(MethodError, match="Use --normalise bank"):
        Inference(normalise="dual_dynamic").check(method_class("filip"))
    with pytest.raises(MethodError, match="Use --normalise bank"):
        normalising.gallery_banks(corrected(), BANK)


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
