"""Uncertainty against errors, by hand and through the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.errors import RunError
from crosscue.evaluation.calibration import (
    calibrate,
    calibration,
    calibration_record,
    calibration_rows,
    divisors,
    shown,
    uncertainties,
)
from crosscue.evaluation.figures import calibration_curves
from crosscue.evaluation.measuring import score
from crosscue.evaluation.temperature import fitted
from crosscue.methods.registry import build
from crosscue.retrieval import readers
from crosscue.retrieval.confidence import Confidences, Temperatures, first_candidates, largest_probability, two_best
from crosscue.retrieval.scores import Cosines
from tests.tiny import tiny_backbones

N = 60


def test_bins_and_auroc_by_hand() -> None:
    uncertainty, error = np.array([0.9, 0.1, 0.5, 0.3]), np.array([1.0, 0.0, 0.0, 1.0])
    found = calibrate(uncertainty, error, bins=2)
    assert [(group.queries, group.error) for group in found.bins] == [(2, 0.5), (2, 0.5)]
    assert [group.uncertainty for group in found.bins] == pytest.approx([0.2, 0.7])
    assert found.auroc == 0.75  # (0.9 beats both, 0.3 beats one) of four
    assert calibrate(np.ones(4), error).auroc == 0.5, "ties count half"
    assert calibrate(uncertainty, np.zeros(4)).auroc is None
    assert sum(group.queries for group in calibrate(uncertainty, error, bins=10).bins) == 4


@pytest.fixture
def half_blurred() -> tuple[Pairs, torch.Tensor, torch.Tensor]:
    """Images and captions that fit in the first half and are unrelated in the second."""
    generator = torch.Generator().manual_seed(0)
    images = normalize(torch.randn(N, 32, generator=generator), dim=-1)
    noise = torch.randn(N, 32, generator=generator)
    captions = normalize(torch.where(torch.arange(N)[:, None] < N // 2, images + 0.05 * noise, noise), dim=-1)
    return Pairs([Pair(ImageFile(Path(f"{i}.png")), (f"c {i}",), str(i)) for i in range(N)]), images, captions


def test_a_method_that_knows_when_it_is_wrong(half_blurred: tuple[Pairs, torch.Tensor, torch.Tensor]) -> None:
    pairs, images, captions = half_blurred
    method = build("acke", tiny_backbones["clip"](), {"evidence_scale": 20.0})
    found = calibration(method, score(method, pairs, images, captions))
    for measures in found.values():
        assert set(measures) == {"largest_probability", "margin", "vacuity"}
        for one in measures.values():
            assert one.auroc > 0.9
            errors = [group.error for group in one.bins]
            assert errors[0] < 0.1
            assert errors[-1] > 0.5
    assert json.dumps(calibration_record(found))
    figure = calibration_curves({direction: shown(measures) for direction, measures in found.items()})
    assert figure is not None
    assert "uncertainty of the query" in figure


def test_every_method_has_probabilities_and_margins_by_hand() -> None:
    """Two images, three captions, and a temperature of 1 / logit scale; the fitted temperature is another one."""
    images = torch.eye(2)
    captions = normalize(torch.tensor([[1.0, 0.2], [0.9, -0.4], [-0.3, 1.0]]), dim=-1)
    pairs = Pairs(
        [Pair(ImageFile(Path("0.png")), ("a", "b"), "0"), Pair(ImageFile(Path("1.png")), ("c",), "1")], source="hand"
    )
    method = build("zero_shot", tiny_backbones["clip"]())
    result = score(method, pairs, images, captions)
    found = calibration(method, result, Temperatures(0.5, 0.2, 9, 9))
    cosines = images @ captions.T
    for direction, table, fitted_one in (("i2t", cosines, 0.5), ("t2i", cosines.T, 0.2)):
        for name, temperature in (
            ("largest_probability", 1 / float(method.backbone.logit_scale)),
            ("calibrated_probability", fitted_one),
        ):
            wanted = sorted(1 - max((row / temperature).softmax(0).tolist()) for row in table)
            assert [group.uncertainty for group in found[direction][name].bins] == pytest.approx(wanted, abs=1e-5)
        margins = sorted(1 - float(row.sort(descending=True).values[:2].diff().neg()) for row in table)
        assert [group.uncertainty for group in found[direction]["margin"].bins] == pytest.approx(margins, abs=1e-5)
        assert shown(found[direction]) is found[direction]["calibrated_probability"]
        assert found[direction]["largest_probability"].auroc is None, "all are right"
    rows = calibration_rows(found)
    assert [row[:2] for row in rows[:3]] == [
        ("image → text", name) for name in ("largest probability", "calibrated probability", "margin")
    ]
    assert rows[2][3] == "", "a margin is no probability"


def test_the_gap_is_the_mean_distance_to_the_errors() -> None:
    found = calibrate(np.array([0.1, 0.2, 0.8]), np.array([0.0, 1.0, 1.0]), bins=2)
    assert found.gap == pytest.approx((2 * (0.5 - 0.15) + 1 * (1 - 0.8)) / 3)


def test_the_first_candidates_of_blocks_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    images, captions = (normalize(torch.randn(n, 8, generator=generator), dim=-1) for n in (11, 17))
    whole = first_candidates(Cosines(images, captions), [0.1, 1.0], [0.3])
    parts = Confidences([0.1, 1.0], [0.3])
    monkeypatch.setattr(readers, "COLUMNS", 5)
    readers.read_scores(Cosines(images, captions), [parts], block=4)
    parts = parts.candidates()
    for one, other, table, temperature in zip(
        whole, parts, (images @ captions.T, captions @ images.T), (1.0, 0.3), strict=True
    ):
        torch.testing.assert_close(one.margin, other.margin)
        torch.testing.assert_close(one.probability, other.probability)
        torch.testing.assert_close(one.probability[-1], largest_probability(table, temperature))


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 15, 16, 31, 33, 100])
def test_the_two_best_are_those_of_sorting(count: int) -> None:
    scores = torch.randint(0, 60, (40, count), generator=torch.Generator().manual_seed(count)).float()
    wanted = torch.cat([scores, torch.full((40, 1), -torch.inf)], 1).sort(1, descending=True).values[:, :2]
    assert torch.equal(two_best(scores), wanted.T)


def test_a_single_candidate_is_certain() -> None:
    for one in first_candidates(Cosines(torch.eye(1), torch.eye(1)), [1.0], [1.0]):
        assert (float(one.margin), float(one.probability)) == (2.0, 1.0)


def test_a_temperature_is_fitted_to_the_share_of_hits() -> None:
    """Hits are drawn by the softmax at temperature 0.2: the fit finds it from a start that is 8 times too sharp."""
    generator = torch.Generator().manual_seed(2)
    scores = torch.rand(20_000, 6, generator=generator)
    right = (torch.rand(20_000, generator=generator) < largest_probability(scores, 0.2)).double()
    assert fitted(scores, right, 0.025) == pytest.approx(0.2, rel=0.05)
    assert fitted(scores, right, 1.6) == pytest.approx(0.2, rel=0.05)


def test_a_run_keeps_its_temperatures(tmp_path: Path) -> None:
    assert Temperatures.load(tmp_path) is None
    Temperatures(0.05, 0.07, 10, 50).save(tmp_path)
    assert Temperatures.load(tmp_path) == Temperatures(0.05, 0.07, 10, 50)
    (tmp_path / "calibration.json").write_text('{"i2t": 1}')
    with pytest.raises(RunError, match=r"calibration\.json: not as written"):
        Temperatures.load(tmp_path)


def test_uncertainty_does_not_depend_on_the_other_queries(
    half_blurred: tuple[Pairs, torch.Tensor, torch.Tensor],
) -> None:
    _, images, captions = half_blurred
    method = build("acke", tiny_backbones["clip"]())
    together = uncertainties(method, Cosines(images, captions), "t2i")
    np.testing.assert_allclose(together[5:6], uncertainties(method, Cosines(images, captions[5:6]), "t2i"), rtol=1e-4)
    whole, alone = (first_candidates(Cosines(images, part), [1.0], [0.1])[1] for part in (captions, captions[5:6]))
    torch.testing.assert_close(whole.probability[:, 5:6], alone.probability)


def test_a_result_without_scores_has_no_calibration(
    half_blurred: tuple[Pairs, torch.Tensor, torch.Tensor],
) -> None:
    pairs, images, captions = half_blurred
    method = build("zero_shot", tiny_backbones["clip"]())
    result = score(method, pairs, images, captions)
    assert calibration(method, replace(result, scores=None)) == {}
    assert calibration_curves({}) is None


def test_every_query_has_an_uncertainty_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    method = build("acke", tiny_backbones["clip"]())
    scores = Cosines(normalize(torch.randn(3, 32), dim=-1), normalize(torch.randn(7, 32), dim=-1))
    whole = {direction: uncertainties(method, scores, direction) for direction in ("i2t", "t2i")}
    assert {direction: len(found) for direction, found in whole.items()} == {"i2t": 3, "t2i": 7}
    monkeypatch.setattr("crosscue.evaluation.calibration.QUERIES_AT_ONCE", 2)
    for direction, found in whole.items():
        np.testing.assert_allclose(uncertainties(method, scores, direction), found, rtol=1e-5)


def test_fitted_temperatures_are_those_of_their_direction_and_of_plain_scores() -> None:
    method, chosen = build("zero_shot", tiny_backbones["clip"]()), Temperatures(0.5, 0.25, 8, 9)
    plain = 1 / float(method.backbone.logit_scale)
    assert divisors(method, "none", chosen) == ((plain, 0.5), (plain, 0.25))
    assert divisors(method, "bank", chosen) == divisors(method, "none") == ((plain,), (plain,))
