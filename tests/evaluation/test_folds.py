"""Folds of a gallery: each is ranked as a gallery of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from crosscue.errors import MethodError
from crosscue.evaluation import fold_ranks
from crosscue.evaluation.folds import fold_recalls, usual_folds
from crosscue.evaluation.ranks import rank_scores, ranks
from crosscue.evaluation.recall import recall
from crosscue.evaluation.result import Retrieval
from crosscue.retrieval.normalising import Normalised
from crosscue.retrieval.scores import Cosines, Scores

IMAGES, EACH, FOLDS = 12, 3, 4


def unit(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(shape[0])
    return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1)


def result_of(scores: Scores) -> Retrieval:
    owner = torch.arange(IMAGES).repeat_interleave(EACH)
    i2t, t2i = rank_scores(scores, owner)
    protocol = {"gallery": IMAGES}
    return Retrieval(recall(i2t), recall(t2i), {"i2t": i2t, "t2i": t2i}, owner.numpy(), protocol, scores=scores)


def test_a_fold_is_a_gallery_of_its_own() -> None:
    images, texts = unit(IMAGES, 8), unit(IMAGES * EACH, 8)
    found = fold_recalls(result_of(Cosines(images, texts)), FOLDS)
    size = IMAGES // FOLDS
    parts = [
        ranks(images[i : i + size], texts[EACH * i : EACH * (i + size)], torch.arange(size).repeat_interleave(EACH))
        for i in range(0, IMAGES, size)
    ]
    for place, direction in enumerate(("i2t", "t2i")):
        own = getattr(found, direction)
        assert own.r1 == pytest.approx(np.mean([recall(part[place]).r1 for part in parts]))
        assert own.mdr == pytest.approx(np.mean([recall(part[place]).mdr for part in parts]))
    assert found.i2t.r10 == found.t2i.r10 == 100  # three images in each
    assert found.rsum > result_of(Cosines(images, texts)).rsum
    assert (found.count, found.images, found.to_dict()["rsum"]) == (FOLDS, size, found.rsum)


def test_folds_keep_the_correction_of_the_whole_gallery() -> None:
    images, texts = unit(IMAGES, 8), unit(IMAGES * EACH, 8)
    shift = torch.linspace(0, 2, IMAGES), torch.linspace(1, 0, IMAGES * EACH)
    every = torch.ones(IMAGES), torch.ones(IMAGES * EACH)
    found = fold_recalls(result_of(Normalised(Cosines(images, texts), *shift, *every, "normalised")), FOLDS)
    assert found.t2i.r1 != fold_recalls(result_of(Cosines(images, texts)), FOLDS).t2i.r1


def test_a_part_counts_from_its_start() -> None:
    images, texts = unit(IMAGES, 8), unit(IMAGES * EACH, 8)
    part = fold_ranks.Part(Cosines(images, texts), slice(3, 6), slice(9, 18))
    torch.testing.assert_close(part.block(slice(1, 3), slice(2, 9))[0], images[4:6] @ texts[11:18].T)
    torch.testing.assert_close(part.own(torch.tensor([2]), torch.tensor([4]))[0], (images[5] * texts[13]).sum()[None])


def test_mscoco_is_folded_and_re_ranked_results_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    result = result_of(Cosines(unit(IMAGES, 8), unit(IMAGES * EACH, 8)))
    assert usual_folds(result) is None
    monkeypatch.setattr(fold_ranks, "COCO_IMAGES", IMAGES)
    assert usual_folds(result) == 5
    again = replace(result, again=(None, None))
    assert usual_folds(again) is None
    with pytest.raises(MethodError, match="re-ranked in the whole gallery"):
        fold_recalls(again, 2)
    with pytest.raises(MethodError, match="give from 2 to 12 folds"):
        fold_recalls(result, 13)
