"""Temperatures against a fine grid, and the queries they are fitted on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from crosscue.evaluation import temperature
from crosscue.evaluation.measuring import Ranked
from crosscue.evaluation.ranks import rank_scores
from crosscue.evaluation.recall import hits
from crosscue.evaluation.temperature import fitted, validation_temperatures
from crosscue.retrieval.scores import Cosines


def test_the_fitted_temperature_has_the_least_log_loss() -> None:
    torch.manual_seed(3)
    scores = torch.randn(300, 5).double()
    right = (torch.rand(300) < (scores / 0.7).softmax(1).amax(1)).double()
    losses = {}
    for step in range(-400, 400):
        t = 2 ** (step / 100)
        p = (scores / t).softmax(1).amax(1).clamp(1e-6, 1 - 1e-6)
        losses[t] = -float((right * p.log() + (1 - right) * (1 - p).log()).mean())
    best = min(losses, key=lambda t: losses[t])
    assert 0.2 < best < 3
    for start in (best * 4.1, best / 17):
        assert fitted(scores, right, start) == pytest.approx(best, rel=0.004)


@pytest.mark.parametrize("cells", [None, 36])
def test_validation_fits_both_directions_on_the_first_queries(
    cells: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    images, texts = normalize(torch.randn(8, 6), dim=-1), normalize(torch.randn(12, 6), dim=-1)
    owner = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3])
    texts = normalize(texts + images[owner], dim=-1)
    scores = Cosines(images, texts)
    i2t, t2i = rank_scores(scores, owner)
    method: Any = SimpleNamespace(backbone=SimpleNamespace(logit_scale=torch.tensor(20.0)))
    if cells:
        monkeypatch.setattr(temperature, "CELLS", cells)  # 3 images with 12 captions, 4 captions with 8 images
    found = validation_temperatures(method, Ranked(scores, (i2t, t2i)))
    rows, columns = (3, 4) if cells else (8, 12)
    cosines = images @ texts.T
    of_images = fitted(cosines[:rows], torch.from_numpy(hits(i2t, 1))[:rows], 1 / 20)
    of_texts = fitted(cosines.T[:columns], torch.from_numpy(hits(t2i, 1))[:columns], 1 / 20)
    assert (found.i2t, found.t2i) == pytest.approx((of_images, of_texts), rel=1e-4)
    assert of_images != pytest.approx(of_texts, rel=1e-2)
