"""Uncertainty against errors, by hand and through the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from crosscue.data.pairs import ImageFile, Pair, Pairs
from crosscue.evaluation.calibration import calibrate, calibration, uncertainties
from crosscue.evaluation.figures import calibration_curves
from crosscue.evaluation.measuring import score
from crosscue.methods.registry import build
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
    """Pictures and captions that fit in the first half and are unrelated in the second."""
    generator = torch.Generator().manual_seed(0)
    pictures = normalize(torch.randn(N, 32, generator=generator), dim=-1)
    noise = torch.randn(N, 32, generator=generator)
    captions = normalize(torch.where(torch.arange(N)[:, None] < N // 2, pictures + 0.05 * noise, noise), dim=-1)
    return Pairs([Pair(ImageFile(Path(f"{i}.png")), (f"c {i}",), str(i)) for i in range(N)]), pictures, captions


def test_a_method_that_knows_when_it_is_wrong(half_blurred: tuple[Pairs, torch.Tensor, torch.Tensor]) -> None:
    pairs, pictures, captions = half_blurred
    method = build("acke", tiny_backbones["clip"](), {"evidence_scale": 20.0})
    found = calibration(method, score(method, pairs, pictures, captions))
    for direction in ("i2t", "t2i"):
        assert found[direction].auroc > 0.9
        errors = [group.error for group in found[direction].bins]
        assert errors[0] < 0.1
        assert errors[-1] > 0.5
    assert json.dumps(found["i2t"].bins[0].error)
    figure = calibration_curves(found)
    assert figure is not None
    assert "uncertainty of the query" in figure


def test_uncertainty_does_not_depend_on_the_other_queries(
    half_blurred: tuple[Pairs, torch.Tensor, torch.Tensor],
) -> None:
    _, pictures, captions = half_blurred
    method = build("acke", tiny_backbones["clip"]())
    together = uncertainties(method, Cosines(pictures, captions), "t2i")
    np.testing.assert_allclose(together[5:6], uncertainties(method, Cosines(pictures, captions[5:6]), "t2i"), rtol=1e-4)


def test_methods_without_uncertainty_have_no_calibration(
    half_blurred: tuple[Pairs, torch.Tensor, torch.Tensor],
) -> None:
    pairs, pictures, captions = half_blurred
    method = build("zero_shot", tiny_backbones["clip"]())
    assert calibration(method, score(method, pairs, pictures, captions)) == {}
    assert calibration_curves({}) is None
